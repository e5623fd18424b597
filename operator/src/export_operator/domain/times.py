"""Times as Kubernetes writes them: RFC 3339, UTC, whole seconds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

JUST_UNDER = timedelta(seconds=1) - timedelta.resolution


def parse(text: str | None) -> datetime | None:
    """An RFC 3339 text as an aware datetime; None for nothing or for what is no time."""
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def render(moment: datetime) -> str:
    """`2026-11-24T03:09:00Z`."""
    return f"{moment.astimezone(UTC).isoformat()[:19]}Z"


def whole(moment: datetime) -> datetime:
    """The next whole second: what is written loses its fraction, and no window shall end before its time."""
    return (moment + JUST_UNDER).replace(microsecond=0)
