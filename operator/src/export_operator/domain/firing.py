"""What to do about one ScheduledExport, now. As for requests: the whole truth goes in, the next actions come out, and
whatever a crash cuts off the next decision continues.

A time of the schedule is handled when `status.lastHandledTime` has reached it. That is written after its request is
made, and the request's name follows from the time: made twice, it is there once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice, takewhile

from export_operator.domain import cron, identity, schedule, status, times
from export_operator.domain.actions import Emit, WriteStatus
from export_operator.domain.model import Request
from export_operator.domain.schedule import Schedule

LOOK_SECONDS = 60.0  # nobody sleeps longer: the clock may be set, and rights may come back
MAX_PASSED = 1000  # times that one look counts as missed; the next look counts on
SPREAD = timedelta(seconds=60)  # over which what is late is made, after this operator could make nothing
MAX_ACTIVE = 32  # requests in status, by the CRD

NOT_ATTESTED = (
    "nobody attested who wrote this schedule: the admission policies of export-operator did not see it, or were not in"
    " force when it was created or changed. Delete it and create it again."
)


@dataclass(frozen=True, slots=True)
class Observation:
    """All that is known about one schedule. `made` are its requests that are there."""

    schedule: Schedule
    made: tuple[Request, ...]
    identity: identity.Enforcement
    able: datetime
    """Since when this operator can make requests: what is due from before is late for all at once."""
    edited: datetime
    """When the spec was last written; asked for only when the schedule has `turned`."""
    suspect: bool = False
    """The spec was changed while nobody looked who changes it."""


@dataclass(frozen=True, slots=True)
class Make:
    """Make the request for `time`, if who made the schedule may still ask so; or only try whether it could be made.
    What comes of it goes to `answered`."""

    time: datetime
    trial: bool = False


@dataclass(frozen=True, slots=True)
class Cancel:
    """Cancel a request, if it still is as it was seen."""

    request: Request


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete a request that has ended, if it still is as it was seen."""

    request: Request


Action = Make | Cancel | Delete | WriteStatus | Emit


@dataclass(frozen=True, slots=True)
class Decision:
    """Actions in order, a `Make` last; and when to look again if nothing happens before (seconds)."""

    actions: tuple[Action, ...] = ()
    requeue_after: float | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """The request cannot be made: by whom not, and what to do."""

    reason: str
    message: str


def decide(seen: Observation, now: datetime) -> Decision:
    """The next actions for a schedule that exists."""
    turn, given = _Turn(seen, now), seen.schedule
    if not seen.identity.enforced:
        text = f"no request is made while the cluster does not attest who asks: {seen.identity.message}"
        return turn.rest("IdentityNotEnforced", text, LOOK_SECONDS)
    marked = any(item["reason"] == "IdentityNotAttested" for item in given.status.get("conditions") or ())
    if marked or seen.suspect or not identity.attested(given, seen.identity.mode) or seen.identity.doubts(given):
        return turn.stall("IdentityNotAttested", NOT_ATTESTED)
    try:
        turn.read()
    except cron.ScheduleError as error:
        return turn.stall(error.reason, str(error))
    if turn.following is None:
        return turn.stall("ScheduleInvalid", "spec.schedule names a day that does not come within 50 years")
    if turn.crowded:
        return turn.rest("CatchingUp", "the times that have passed are counted", 0.0)
    if turn.due is not None:
        return turn.fire(turn.due)
    if not given.says("Accepted"):
        return Decision((Make(turn.following, trial=True),))
    return turn.idle()


def answered(seen: Observation, make: Make, refused: Refused | None, now: datetime) -> Decision:
    """The actions that follow from a `Make`. `seen.made` has the request that came of it, unless it has gone already;
    `now` is that of the decision."""
    turn = _Turn(seen, now)
    turn.read()
    if refused is not None:
        return turn.stall(refused.reason, refused.message, turn.pause(turn.latest(make.time)))
    turn.document.condition("Accepted", True, "Valid", "schedule and template are valid, and who made it may ask so")
    turn.document.drop_condition("Stalled")
    return turn.idle() if make.trial else turn.made(make.time)


class _Turn:
    """One look: what is due, and the status that is being composed. `now` is the same for all of it."""

    def __init__(self, seen: Observation, now: datetime) -> None:
        self.seen = seen
        self.given = given = seen.schedule
        self.now = now
        self.handled = max(given.handled, seen.edited) if given.turned else given.handled
        self.due: datetime | None = None
        self.following: datetime | None = None  # the first time that is not due yet
        self.crowded = False
        self.events: list[Emit] = []
        self.active = sorted((each for each in seen.made if not each.finished), key=lambda each: each.created)
        fields = {name: value for name, value in given.status.items() if name not in {"conditions", "nextScheduleTime"}}
        fields |= {"observedGeneration": given.generation, "effective": dict(given.settings)}
        self.document = status.Document(fields, list(given.status.get("conditions") or ()), given.generation, now)

    def read(self) -> None:
        """Find what is due; what has passed before it is missed. Raises `cron.ScheduleError`."""
        read = cron.read_schedule(self.given.spec["schedule"], self.given.spec.get("timeZone") or "")
        until = self.now - self.given.offset
        self.following = next(read.after(until), None)
        if self.given.suspended:
            return
        self.document.drop_condition("Suspended")
        passed = list(islice(takewhile(lambda time: time <= until, read.after(self.handled)), MAX_PASSED + 1))
        self.crowded = len(passed) > MAX_PASSED
        if passed:
            self.due = passed.pop()
        if passed:
            self.miss(passed, "of several that have passed only the last is made up")

    def miss(self, passed: list[datetime], why: str) -> None:
        """No request is made for these times any more."""
        self.handled = passed[-1]
        fields = self.document.fields
        fields["missedSchedules"] = int(fields.get("missedSchedules") or 0) + len(passed)
        which = times.render(passed[0]) + (f" and {len(passed) - 1} more times" if passed[1:] else "")
        self.event("Warning", "ScheduleMissed", f"no request was made for {which}: {why}")

    def fire(self, time: datetime) -> Decision:
        """Make the request for `time`, if it may be made now."""
        name = schedule.request_name(self.given, time)
        if any(each.key.name == name for each in self.seen.made):  # by an operator that died before it could say so
            return answered(self.seen, Make(time), None, self.now)
        latest = self.latest(time)
        if latest is not None and self.now > latest:
            self.miss([time], f"startingDeadlineSeconds allow it until {times.render(latest)}")
            return self.wait()
        if (start := self.not_before(time)) > self.now:
            return self.wait(start)
        if self.active and self.given.concurrency == "Forbid":
            text = f"{self.active[0].key.name} has not ended; a request is made when it has, unless it is too late then"
            return self.rest("EarlierNotEnded", text, self.pause(latest))
        return Decision((Make(time),))

    def made(self, time: datetime) -> Decision:
        """There is a request for `time`."""
        name = schedule.request_name(self.given, time)
        self.handled = time
        self.document.fields.update(lastScheduleTime=times.render(time), lastRequestName=name)
        self.event("Normal", "RequestMade", f"made {name} for {times.render(time)}")
        decision = self.wait()
        if self.given.concurrency != "Replace":
            return decision
        earlier = (each for each in self.active if each.key.name != name and not each.spec.get("cancel"))
        return replace(decision, actions=(*map(Cancel, earlier), *decision.actions))

    def idle(self) -> Decision:
        """Nothing is due."""
        if not self.given.suspended:
            return self.wait()
        text = "suspended; set spec.suspend to false to let it go on"
        self.document.condition("Suspended", True, "Suspended", text)
        return self.rest("Suspended", text)

    def wait(self, start: datetime | None = None) -> Decision:
        """Until the next time, or until `start`, when what is due may be made."""
        if start is None and self.following is not None:
            start = self.following + self.given.offset
        assert start is not None, "a schedule without a next time stalls"
        shown = self.document.fields["nextScheduleTime"] = times.render(times.whole(start))
        return self.rest("Waiting", f"the next request is made at {shown}", self.pause(start))

    def latest(self, time: datetime) -> datetime | None:
        """Until when the request for `time` may be made; None: until the next time."""
        deadline = self.given.deadline
        return None if deadline is None else time + self.given.offset + deadline

    def not_before(self, time: datetime) -> datetime:
        """After an outage all are late at once, and each finds a moment of its own within the next minute."""
        due, able = time + self.given.offset, self.seen.able
        if due >= able:
            return due
        ends = (self.latest(time), None if self.following is None else self.following + self.given.offset)
        room = min([SPREAD, *((end - able) / 2 for end in ends if end is not None)])
        return able + max(room, timedelta()) * schedule.fraction(f"{self.given.uid} {time}")

    def pause(self, *moments: datetime | None) -> float:
        """Seconds until the earliest of `moments`, the next time, and the next look at anything."""
        following = None if self.following is None else self.following + self.given.offset
        left = ((moment - self.now).total_seconds() for moment in (following, *moments) if moment is not None)
        return max(0.0, min([LOOK_SECONDS, *left]))

    def event(self, kind: str, reason: str, text: str) -> None:
        self.events.append(Emit(kind, reason, text, f"{self.given.uid}/{self.given.generation}"))

    def stall(self, reason: str, text: str, again: float | None = None) -> Decision:
        """Nothing is made without a change of something."""
        self.document.condition("Accepted", False, reason, text)
        self.document.condition("Stalled", True, reason, text)
        if self.given.status.get("reason") != reason:
            self.event("Warning", reason, text)
        return self.rest(reason, text, again)

    def rest(self, reason: str, text: str, again: float | None = None) -> Decision:
        """Say how it stands, tidy up, and look again in `again` seconds (None: on change)."""
        fields = self.document.fields
        fields |= {"reason": reason, "message": status.clip(text, status.MAX_MESSAGE)}
        fields["lastHandledTime"] = times.render(self.handled)
        fields["active"] = [{"name": each.key.name, "uid": each.uid} for each in self.active[:MAX_ACTIVE]]
        ends = [each.status.get("completionTime") for each in self.seen.made if schedule.succeeded(each)]
        if ends := [end for end in (*ends, fields.get("lastSuccessfulTime")) if end]:
            fields["lastSuccessfulTime"] = max(ends)
        composed = self.document.compose()
        written = () if composed == dict(self.given.status) else (WriteStatus(composed),)
        # What a deletion takes away stands in status before.
        deleted = map(Delete, schedule.superfluous(self.given, self.seen.made))
        return Decision((*self.events, *written, *deleted), again)
