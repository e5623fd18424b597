"""The circuit breaker of a source or destination: closed, open while it is down, half-open while it comes back.

Two things feed it: a probe of the operator's own, and how runs end. While it is open nothing new is started, and
neither quota nor attempts are spent; when a probe finds it again, one run tries it, then 2, 4, 8 …, until nothing
bounds them any more. Runs under way are left alone. A breaker is a value: each function gives the next one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from export_contract.failures import Failure
from export_operator.domain.identity import Subject
from export_operator.domain.model import EPOCH
from export_operator.domain.outcome import Ended

PROBES_TO_OPEN = 2  # in a row: one lost connection is no outage
RUNS_TO_OPEN = 3  # in a row
USERS_TO_OPEN = 2  # among those runs: nobody shall close a source to others by failing on purpose
RUNS_WITHIN = timedelta(minutes=10)
SETTLED = timedelta(seconds=30)  # between probes of what works
DOUBTED = timedelta(seconds=5)  # until a second look, and between probes of what comes back
LONGEST = timedelta(seconds=60)  # between probes of what is down; they begin at `DOUBTED` and double
STEP = timedelta(seconds=60)  # so long without a failure is worth as much as a round of good runs
FULL = 32  # runs at once, beyond which nothing is bounded any more


class State(StrEnum):
    """As metrics name it."""

    CLOSED = "closed"
    HALF_OPEN = "half-open"
    OPEN = "open"


class Cause(StrEnum):
    """Why it opened; a reason of the condition `Available`."""

    UNREACHABLE = "Unreachable"
    RUNS_FAIL = "RunsFail"


SOURCE, DESTINATION = "Source", "Destination"
"""Kinds of the subjects that have a breaker."""

OUTAGES = {
    SOURCE: frozenset({Failure.SOURCE_UNAVAILABLE, Failure.SOURCE_AUTHENTICATION_FAILED, Failure.SOURCE_NOT_FOUND}),
    DESTINATION: frozenset(
        {Failure.DESTINATION_UNAVAILABLE, Failure.DESTINATION_AUTHENTICATION_FAILED, Failure.BUCKET_NOT_FOUND}
    ),
}
"""Failures that any other run would meet as well. That of one dataset, query or key says nothing of the rest."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the end of a run tells of a source or destination. `failure` is "" when it worked."""

    subject: Subject
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Failed:
    """A run that failed, and for whom."""

    run: str
    user: str
    time: datetime


@dataclass(frozen=True, slots=True)
class Breaker:
    """`fault` is what was last seen wrong, without an address: tenants read it."""

    state: State = State.CLOSED
    next_probe: datetime = EPOCH
    down_since: datetime = EPOCH
    """When the present or last outage began."""
    up_since: datetime = EPOCH
    """When it was last found again. The failure of an attempt from before is no news."""
    cause: Cause = Cause.UNREACHABLE
    fault: str = ""
    missed: int = 0
    """Probes in a row that failed while it was closed."""
    failed: tuple[Failed, ...] = ()
    """Runs in a row that failed while it was closed."""
    pause: timedelta = DOUBTED
    """Between probes while it is open. It is not forgotten before the breaker is closed."""
    allowed: int = 1
    """Runs at once while it is half-open."""
    worked: frozenset[str] = frozenset()
    """Runs that ended well since `allowed` last grew."""
    stepped: datetime = EPOCH
    """When `allowed` last grew."""
    advisory: bool = False
    """A destination with a fallback: an export goes there when it must, so nothing is held back."""

    @property
    def limit(self) -> int | None:
        """Runs that may be live at once; None: as many as other limits allow."""
        if self.advisory:
            return None
        return {State.CLOSED: None, State.HALF_OPEN: self.allowed, State.OPEN: 0}[self.state]


def probe_failed(breaker: Breaker, fault: str, now: datetime) -> Breaker:
    """The operator's own check has found no answer."""
    if breaker.state is State.OPEN:
        pause = min(2 * breaker.pause, LONGEST)
        return replace(breaker, cause=Cause.UNREACHABLE, fault=fault, pause=pause, next_probe=now + pause)
    missed = breaker.missed + 1
    if breaker.state is State.CLOSED and missed < PROBES_TO_OPEN:
        return replace(breaker, missed=missed, next_probe=now + DOUBTED)
    return _open(breaker, Cause.UNREACHABLE, fault, now)


def probe_passed(breaker: Breaker, now: datetime) -> Breaker:
    """The operator's own check has been answered."""
    if breaker.state is State.CLOSED:
        return replace(breaker, missed=0, next_probe=now + SETTLED)
    if breaker.state is State.HALF_OPEN:
        return replace(aged(breaker, now), next_probe=now + DOUBTED)
    if breaker.cause is Cause.RUNS_FAIL and now < breaker.next_probe:
        return breaker  # it answered before too, while runs failed
    return replace(
        breaker,
        state=State.HALF_OPEN,
        up_since=now,
        next_probe=now + DOUBTED,
        missed=0,
        allowed=1,
        worked=frozenset(),
        stepped=now,
    )


def run_failed(breaker: Breaker, told: Failed, failure: str, began: datetime) -> Breaker:
    """A run whose last attempt began at `began` has failed by one of `OUTAGES`. Saying it twice changes nothing."""
    if breaker.state is State.OPEN or began < breaker.up_since:
        return breaker
    if breaker.state is State.HALF_OPEN:
        return _open(breaker, Cause.RUNS_FAIL, f"a run that tried it failed: {failure}", told.time)
    recent = (each for each in breaker.failed if told.time - each.time < RUNS_WITHIN and each.run != told.run)
    failed = (*recent, told)[-RUNS_TO_OPEN:]
    if len(failed) == RUNS_TO_OPEN and len({each.user for each in failed}) >= USERS_TO_OPEN:
        return _open(breaker, Cause.RUNS_FAIL, f"{RUNS_TO_OPEN} runs in a row failed: {failure}", told.time)
    if told.run in {each.run for each in breaker.failed}:
        return breaker
    return replace(breaker, failed=failed, next_probe=told.time)  # a probe may find out more, at once


def run_worked(breaker: Breaker, run: str, now: datetime) -> Breaker:
    """A run has ended well there."""
    if breaker.state is State.CLOSED:
        return replace(breaker, failed=()) if breaker.failed else breaker
    if breaker.state is State.OPEN:
        return breaker  # that may be some time ago, and the probe is asked soon
    breaker = replace(aged(breaker, now), worked=breaker.worked | {run})
    return _grow(breaker, now) if len(breaker.worked) >= breaker.allowed else breaker


def aged(breaker: Breaker, now: datetime) -> Breaker:
    """The breaker as time has made it: what comes back and shows no failure is trusted more and more."""
    while breaker.state is State.HALF_OPEN and now - breaker.stepped >= STEP:
        breaker = _grow(breaker, breaker.stepped + STEP)
    return breaker


def _grow(breaker: Breaker, now: datetime) -> Breaker:
    if 2 * breaker.allowed > FULL:
        return Breaker(
            next_probe=breaker.next_probe,
            down_since=breaker.down_since,
            up_since=breaker.up_since,
            advisory=breaker.advisory,
        )
    return replace(breaker, allowed=2 * breaker.allowed, worked=frozenset(), stepped=now)


def _open(breaker: Breaker, cause: Cause, fault: str, now: datetime) -> Breaker:
    again = breaker.state is State.HALF_OPEN
    pause = min(2 * breaker.pause, LONGEST) if again else DOUBTED
    return Breaker(
        state=State.OPEN,
        next_probe=now + pause,
        down_since=breaker.down_since if again else now,
        up_since=breaker.up_since,
        cause=cause,
        fault=fault,
        pause=pause,
        advisory=breaker.advisory,
    )


def verdicts(ended: Ended, source: str, destination: str) -> tuple[Verdict, ...]:
    """What the end of a run tells of its source and destination. Most failures tell nothing of either."""
    here, there = Subject(SOURCE, source), Subject(DESTINATION, destination)
    if ended.problem is not None:
        reason = ended.problem.reason
        return tuple(Verdict(subject, reason) for subject in (here, there) if reason in OUTAGES[subject.kind])
    if ended.delivered is not None and ended.delivered.used_fallback:
        return Verdict(here), Verdict(there, Failure.DESTINATION_UNAVAILABLE)
    return Verdict(here), Verdict(there)


Breakers = Mapping[Subject, Breaker]
"""One that is not there is closed."""
