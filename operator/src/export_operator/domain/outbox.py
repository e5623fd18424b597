"""What is still to be delivered to each channel, and what of late was: small enough for one object, and enough for an
operator that starts to lose nothing and to repeat nothing that it knows to be delivered.

A channel's box knows everything that happened before its `horizon`, and by id what happened since. What it waits for
is in it whole, for the request may be deleted meanwhile. A new channel is told of nothing that happened before it.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from export_operator.domain import times
from export_operator.domain.channels import Event
from export_operator.domain.notifications import Notification

FORMAT = 1  # it rises when an older operator could not read what a newer one wrote
MAX_WAITING = 3000  # in all boxes together: an object of the API server holds 1 MiB
MAX_BOX = 500
MAX_DEAD = 100
CLOCKS = timedelta(seconds=10)
"""By which those of two nodes may differ: what happens right after a channel was made is not taken for earlier."""
GIVE_UP = timedelta(days=3)
"""A weekend in which nobody mends a receiver loses nothing."""


class OutboxError(ValueError):
    """The text is not what `Outbox.render` gives, or a newer release wrote it."""


class Waiting(NamedTuple):
    """What waits, and since when."""

    notification: Notification
    since: datetime


class Dead(NamedTuple):
    """What was given up: the last of them are kept for people, and to be sent again if somebody asks for it. An older
    release kept no `notification`."""

    time: str
    channel: str
    id: str
    request: str
    why: str
    notification: Notification | None = None


DELIVERED, FAILED, DEAD = RESULTS = ("delivered", "failed", "dead")
"""What came of deliveries, as they are counted."""


class Tally(NamedTuple):
    """Of one channel: how often each result was there, how many wait, and since when the first does."""

    counts: dict[str, int]
    waiting: int
    oldest: datetime | None


@dataclass(slots=True)
class Box:
    """Of one channel."""

    horizon: datetime
    settled: dict[str, datetime] = field(default_factory=dict)
    """Ids that need not be told any more, until the horizon has passed this."""
    waiting: dict[str, Waiting] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(RESULTS, 0))

    def knows(self, found: Notification) -> bool:
        """It waits, or need not be told."""
        return found.until < self.horizon or found.id in self.settled or found.id in self.waiting

    def settle(self, identity: str, result: str) -> None:
        """It was delivered, or given up."""
        self.counts[result] += 1
        done = self.waiting.pop(identity)
        self.settled[identity] = done.notification.until

    def forget(self, horizon: datetime) -> None:
        """Nothing that happened before will be found any more."""
        self.horizon = max(self.horizon, horizon)
        self.settled = {name: until for name, until in self.settled.items() if until >= self.horizon}

    def tally(self) -> Tally:
        return Tally(
            dict(self.counts), len(self.waiting), min((item.since for item in self.waiting.values()), default=None)
        )


@dataclass(slots=True)
class Outbox:
    """By channel's key."""

    boxes: dict[str, Box] = field(default_factory=dict)
    dead: deque[Dead] = field(default_factory=lambda: deque(maxlen=MAX_DEAD))

    def open(self, channels: Iterable[str], now: datetime) -> bool:
        """A box for each channel that has none; whether there was such a channel."""
        new = set(channels) - set(self.boxes)
        for key in new:
            self.boxes[key] = Box(now - CLOCKS)
        return bool(new)

    def add(self, found: Notification, channel: str, now: datetime) -> bool:
        """Let it wait. False when there is no room: it is to be found again later."""
        box = self.boxes[channel]
        if len(box.waiting) >= self.room:
            return False
        box.waiting[found.id] = Waiting(found, now)
        return True

    @property
    def room(self) -> int:
        """What may wait in each box."""
        return min(MAX_BOX, MAX_WAITING // max(len(self.boxes), 1))

    def bury(self, channel: str, identity: str, why: str, now: datetime) -> Dead:
        """Give up what waits."""
        box = self.boxes[channel]
        found = box.waiting[identity].notification
        request = f"{found.facts['namespace']}/{found.facts['name']}"
        dead = Dead(times.render(now), channel, identity, request, why[:200], found)
        box.settle(identity, DEAD)
        self.dead.append(dead)
        return dead

    def revive(self, wanted: Callable[[Dead], bool], now: datetime) -> list[Dead]:
        """Let what was given up wait anew, as far as there is room; the answer is what does."""
        again = []
        for dead in list(self.dead):
            if dead.notification is None or dead.channel not in self.boxes or not wanted(dead):
                continue
            if self.add(dead.notification, dead.channel, now):
                self.boxes[dead.channel].settled.pop(dead.id, None)
                self.dead.remove(dead)
                again.append(dead)
        return again

    def tallies(self) -> dict[str, Tally]:
        """By channel's key."""
        return {key: box.tally() for key, box in self.boxes.items()}

    def render(self) -> str:
        """As JSON. What waits in several boxes, or was given up there, is in it once."""
        notifications = {each.id: each.notification for each in self.dead if each.notification is not None} | {
            item.notification.id: item.notification for box in self.boxes.values() for item in box.waiting.values()
        }
        document = {
            "version": FORMAT,
            "boxes": {
                key: {
                    "horizon": _stamp(box.horizon),
                    "settled": {name: _stamp(until) for name, until in sorted(box.settled.items())},
                    "waiting": {name: _stamp(item.since) for name, item in box.waiting.items()},
                    "counts": {result: box.counts[result] for result in RESULTS},
                }
                for key, box in sorted(self.boxes.items())
            },
            "notifications": {name: _plain(each) for name, each in sorted(notifications.items())},
            "dead": [each[:5] for each in self.dead],  # an older release reads five
        }
        return json.dumps(document, ensure_ascii=False, separators=(",", ":"))

    @staticmethod
    def parse(text: str) -> Outbox:
        """Raises `OutboxError`. What only a newer release knows to tell of is left out."""
        try:
            document = json.loads(text)
            if document["version"] != FORMAT:
                raise OutboxError(f"its version is {document['version']}")
            notifications = {
                name: _notification(name, each)
                for name, each in document["notifications"].items()
                if each["event"] in set(Event)
            }
            boxes = {
                key: Box(
                    _moment(box["horizon"]),
                    {name: _moment(until) for name, until in box["settled"].items()},
                    {
                        name: Waiting(notifications[name], _moment(since))
                        for name, since in box["waiting"].items()
                        if name in notifications
                    },
                    {result: int(box["counts"][result]) for result in RESULTS},
                )
                for key, box in document["boxes"].items()
            }
            dead = (Dead(*each) for each in document["dead"])
            whole = (each._replace(notification=notifications.get(each.id)) for each in dead)
            return Outbox(boxes, deque(whole, maxlen=MAX_DEAD))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise OutboxError(f"{type(error).__name__}: {error}"[:200]) from error


def _stamp(moment: datetime) -> str:
    return moment.isoformat()


def _moment(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise OutboxError(f"{text!r} has no time zone")
    return found


def _plain(found: Notification) -> dict[str, Any]:
    return {
        "event": found.event.value,
        "time": _stamp(found.time),
        "until": _stamp(found.until),
        "facts": dict(found.facts),
    }


def _notification(identity: str, plain: dict[str, Any]) -> Notification:
    return Notification(
        identity, Event(plain["event"]), _moment(plain["time"]), _moment(plain["until"]), dict(plain["facts"])
    )
