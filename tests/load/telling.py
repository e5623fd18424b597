"""What notifications cost: python -m tests.load.telling. Prints a table."""

from __future__ import annotations

import asyncio
import base64
import gzip
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from statistics import median
from typing import Any

from export_operator.adapters.notify import Messenger, Webhook
from export_operator.domain.channels import Channel, Event
from export_operator.domain.model import Named
from export_operator.domain.notifications import Notification, due
from export_operator.domain.outbox import Box, Outbox
from tests.services.receivers import hook, mailbox

NOW = datetime.now(UTC).replace(microsecond=0)
WAITING, LOOKS, CALLS, MAILS = 500, 10_000, 500, 5
KEY = f"whsec_{base64.b64encode(bytes(32)).decode()}"


def document(number: int) -> dict[str, Any]:
    """A request that has ended, and asks for a channel."""
    run = f"{number:020x}"
    return {
        "metadata": {"namespace": "team-a", "name": f"users-{number}", "uid": run, "resourceVersion": "1"},
        "spec": {"source": {"name": "app-db"}, "requester": {"username": "alice"}, "notify": ["ops"]},
        "status": {
            "run": run,
            "phase": "Succeeded",
            "reason": "Delivered",
            "message": f"delivered 100000 rows (2048000 bytes) to s3://exports/prod/team-a/users-{number}/{run}/u.csv",
            "completionTime": NOW.isoformat(),
            "effective": {"policy": "default", "source": "app-db", "dataset": "users", "destination": "bucket"},
            "result": {"uri": f"s3://exports/prod/team-a/users-{number}/{run}/u.csv", "rows": 100_000, "bytes": 2048},
        },
    }


def policies() -> dict[str, Named]:
    channel = {"name": "ops", "type": "Webhook", "secretRef": {"name": "ops"}}
    return {"default": Named("default", {"notifications": {"channels": [channel]}})}


async def timed(work: Callable[[], Awaitable[None]], times: int) -> float:
    """The median, in seconds."""
    found = []
    for _ in range(times):
        began = time.perf_counter()
        await work()
        found.append(time.perf_counter() - began)
    return median(found)


async def main() -> None:
    """Measures one after the other, against receivers of this process."""
    documents, rules = [document(number) for number in range(LOOKS)], policies()
    began = time.process_time()
    found: list[Notification] = [each for one in documents for each, _ in due(one, rules, NOW)]
    looking = (time.process_time() - began) / LOOKS
    outbox = Outbox({"default/ops": Box(NOW)})
    for each in found[:WAITING]:
        outbox.add(each, "default/ops", NOW)
    began = time.process_time()
    size = len(gzip.compress(outbox.render().encode()))
    rendering = time.process_time() - began
    channel = Channel("default", "ops", "Webhook", "ops", frozenset(Event), networks=("127.0.0.0/8",), plain=True)
    async with hook() as receiver, mailbox() as box:
        webhook = Webhook(lambda: NOW)
        secret = {"url": receiver.url().encode(), "signingKeys": KEY.encode()}
        calling = await timed(lambda: webhook.send(channel, secret, found[0]), CALLS)
        address = f"mailto://127.0.0.1:{box.port}/?from=a@example.com&to=b@example.com&mode=insecure"
        mail = replace(channel, type="Apprise")
        mailing = await timed(lambda: Messenger().send(mail, {"url": address.encode()}, found[0]), MAILS)
    print("| what | measured |")
    print("|---|---|")
    for what, figure in (
        ("a look at a request that has ended, CPU", f"{looking * 1e6:.0f} µs"),
        ("a webhook, signed, on a connection of its own, to a receiver of the same process", f"{calling * 1e3:.1f} ms"),
        ("a mail, its process within", f"{mailing:.2f} s"),
        (
            f"the outbox with {WAITING} waiting",
            f"{size / 1024:.0f} KiB, {rendering * 1e3:.0f} ms of CPU",
        ),
    ):
        print(f"| {what} | {figure} |")


if __name__ == "__main__":
    asyncio.run(main())
