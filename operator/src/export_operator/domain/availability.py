"""The condition `Available` of sources and destinations: what the platform team reads, and a restart begins from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from export_operator.domain import times
from export_operator.domain.breaker import Breaker, Cause, State

AVAILABLE = "Available"
RECOVERING = "Recovering"


@dataclass(frozen=True, slots=True)
class Availability:
    """`value` is None where nobody knows. Where requests are held, `warning` says that somebody should look."""

    value: bool | None
    reason: str
    message: str
    warning: bool = False


def availability(
    breaker: Breaker, address: str, secret_fault: tuple[str, str] | None, *, probed: bool
) -> Availability | None:
    """What to say after a probe; None for nothing new: one probe that failed is looked into first."""
    if secret_fault is not None:
        return Availability(False, *secret_fault, warning=True)
    if breaker.state is State.OPEN:
        held = "exports go to the fallback" if breaker.advisory else "requests for it are held"
        since = times.render(breaker.down_since)
        return Availability(
            False, str(breaker.cause), f"{address}: {breaker.fault}; {held} since {since}", warning=True
        )
    if breaker.state is State.HALF_OPEN:
        text = f"{address} is back after an outage since {times.render(breaker.down_since)}; runs begin one by one"
        return Availability(True, RECOVERING, text)
    if breaker.missed:
        return None
    if not probed:
        return Availability(None, "NotProbed", "spec.probe is Disabled: only runs tell how it is")
    return Availability(True, "Reachable", "it answers, and its Secret, if it names one, is there")


def restored(conditions: Iterable[Mapping[str, Any]], now: datetime) -> Breaker:
    """The breaker that a condition from before a restart tells of. How far a slow start had come, the pause between
    probes and which runs had failed are lost: a slow start begins anew, and the first probe is due at once."""
    known = next((item for item in conditions if item.get("type") == AVAILABLE), {})
    reason, since = known.get("reason"), times.parse(known.get("lastTransitionTime")) or now
    if known.get("status") == "False" and reason in set(Cause):
        return Breaker(State.OPEN, down_since=since, cause=Cause(reason), fault="it was down before a restart")
    if known.get("status") == "True" and reason == RECOVERING:
        return Breaker(State.HALF_OPEN, down_since=since, up_since=now, stepped=now)
    return Breaker()
