"""A notification, and channels to receivers on this machine."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from export_operator.domain.channels import ENDS, Channel, Event
from export_operator.domain.notifications import Notification

NOW = datetime.now(UTC).replace(microsecond=0)
RUN = "0123456789abcdef0123"
FOUND = Notification(
    f"{RUN}-succeeded",
    Event.SUCCEEDED,
    NOW,
    NOW,
    {
        "event": "Succeeded",
        "id": f"{RUN}-succeeded",
        "namespace": "team-a",
        "name": "users-2026-11",
        "run": RUN,
        "requester": "zoë@example.com",
        "message": "delivered 100 rows (2048 bytes) to <s3://exports/prod>",
        "source": "app-db",
        "dataset": "users",
        "rows": 1000,
        "uri": "s3://exports/prod/team-a/users-2026-11/users.csv",
    },
)
HERE = ("127.0.0.0/8", "::1/128")


def channel(kind: str = "Webhook", **changes: Any) -> Channel:
    fields: dict[str, Any] = {"networks": HERE, "plain": True} | changes
    return Channel(policy="default", name="ops", type=kind, secret="ops", events=frozenset(ENDS), **fields)
