"""The queue for slots: start-time fair queueing between those who wait (Goyal, Vin and Cheng, SIGCOMM 1996).

Each owner has a tag, the virtual time at which the next turn is due. The least tag goes first; a turn raises it by its
cost, which weight and priority divide. Virtual time is the tag of the last turn, and who comes anew begins there: so
nobody saves up turns by staying away, and nobody pays for those who were there before. Among one owner's requests the
higher priority goes first, then the older.

An owner's requests with the same levels stand in one lane. A lane that a full level stops is parked there, and looked
at again when the level has room: what is stopped neither stops others nor costs them anything.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from export_operator.domain.identity import Subject
from export_operator.domain.model import Key
from export_operator.domain.pages import Entry
from export_operator.domain.slots import CLUSTER, Level, Occupancy

SHARES: Mapping[str, int] = {"Low": 1, "Normal": 2, "High": 4}
"""What a priority multiplies the share by, in halves: a turn of High costs half of one of Normal."""

TURN = 1_000_000_000
"""The cost of a turn of weight 1 and priority Normal. Whole numbers: rounding favours nobody for long."""


class Order(NamedTuple):
    """Where a request stands among its owner's: the least goes first. `rank` is the priority, negated."""

    rank: int
    since: datetime
    key: Key


@dataclass(frozen=True, slots=True)
class Waiting:
    """A run that waits for a slot: what the ledger shall hold of it, the levels it must find room at, and whose turn it
    takes. `weight` is the policy's, `priority` a key of `SHARES`."""

    entry: Entry
    levels: tuple[Level, ...]
    owner: Subject
    since: datetime
    weight: int = 1
    priority: str = "Normal"
    dataset: str = ""
    order: Order = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        rank = -SHARES.get(self.priority, SHARES["Normal"])
        object.__setattr__(self, "order", Order(rank, self.since, self.entry.request))

    @property
    def key(self) -> Key:
        return self.entry.request

    @property
    def cost(self) -> int:
        return TURN * SHARES["Normal"] // (self.weight * -self.order.rank)


class _Place(NamedTuple):
    """Where a lane or an owner stands among others."""

    tag: int
    order: Order
    owner: Subject


@dataclass(slots=True)
class _Lane:
    """Requests of one owner with the same levels, in order. `parked` is the level that stops them, `place` their key in
    its list; the tag in it may be from before the owner's last turn."""

    levels: tuple[Level, ...]
    orders: list[Order] = field(default_factory=list)
    parked: Level | None = None
    place: _Place | None = None


@dataclass(slots=True)
class _Flow:
    """An owner. `ready` are the first requests of the lanes that are not parked, `place` the flow's key among those
    who are ready."""

    owner: Subject
    tag: int
    lanes: dict[tuple[Level, ...], _Lane] = field(default_factory=dict)
    ready: list[tuple[Order, tuple[Level, ...]]] = field(default_factory=list)
    place: _Place | None = None


class FairQueue:
    """Who waits, and who is next. One request waits once: putting it again replaces it."""

    def __init__(self) -> None:
        self._virtual = 0
        self._items: dict[Key, Waiting] = {}
        self._flows: dict[Subject, _Flow] = {}
        self._ready: list[_Place] = []
        self._parked: dict[Level, list[tuple[_Place, tuple[Level, ...]]]] = {}
        self._buckets: dict[Subject, set[Level]] = {}
        self._idle: list[tuple[int, Subject]] = []
        self._freed: set[Subject] = set()

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Waiting]:
        return iter(self._items.values())

    def get(self, key: Key) -> Waiting | None:
        return self._items.get(key)

    def put(self, item: Waiting) -> None:
        """Let a request wait. One that waits already keeps its place if nothing about it has changed."""
        if self._items.get(item.key) == item:
            return
        self.remove(item.key)
        flow = self._flows.get(item.owner)
        if flow is None:
            flow = self._flows[item.owner] = _Flow(item.owner, self._virtual)
        elif not flow.lanes:
            del self._idle[bisect_left(self._idle, (flow.tag, flow.owner))]
        lane = flow.lanes.get(item.levels)
        self._items[item.key] = item
        if lane is None:
            lane = flow.lanes[item.levels] = _Lane(item.levels)
        elif item.order > lane.orders[0]:
            insort(lane.orders, item.order)
            return
        else:
            self._unlist(flow, lane)
        lane.orders.insert(0, item.order)
        self._list(flow, lane)
        self._rank(flow)

    def remove(self, key: Key) -> Waiting | None:
        """Take a request out; its owner's tag stays, so that coming again gains nothing."""
        item = self._items.pop(key, None)
        if item is None:
            return None
        flow = self._flows[item.owner]
        lane = flow.lanes[item.levels]
        if item.order > lane.orders[0]:
            del lane.orders[bisect_left(lane.orders, item.order)]
            return item
        self._unlist(flow, lane)
        del lane.orders[0]
        if lane.orders:
            self._list(flow, lane)
        else:
            del flow.lanes[item.levels]
        self._rank(flow)
        self._rest(flow)
        return item

    def free(self, subjects: Iterable[Subject]) -> None:
        """These may have room: a run of theirs has ended, or a gate has opened further."""
        self._freed |= self._buckets.keys() & subjects

    def full(self) -> tuple[Subject, ...]:
        """Those who were full when somebody last looked, and stop requests."""
        return tuple(self._buckets)

    def take(self, occupancy: Occupancy) -> Waiting | None:
        """Take out the next request that finds room, and add it to `occupancy`; None when there is none."""
        while True:
            self._unpark(occupancy)
            if not self._ready:
                return None
            flow = self._flows[self._ready[0].owner]
            order, levels = flow.ready[0]
            full = occupancy.full(levels)
            if full is None:
                item = self._items[order.key]
                occupancy.add(item.entry)
                self._charge(flow, item)
                return item
            if full.level.subject == CLUSTER:
                return None  # nobody finds room
            self._move(flow, flow.lanes[levels], full.level)

    def put_back(self, item: Waiting) -> None:
        """Let a request wait again whose turn came to nothing: the turn is not counted."""
        self.put(item)
        flow = self._flows[item.owner]
        for lane in flow.lanes.values():
            self._unlist(flow, lane)
        flow.tag = max(flow.tag - item.cost, 0)
        for lane in flow.lanes.values():
            self._list(flow, lane)
        self._rank(flow)

    def copy(self) -> FairQueue:
        """Another queue like this one."""
        twin = FairQueue()
        twin._virtual = self._virtual
        twin._items = dict(self._items)
        for owner, flow in self._flows.items():
            lanes = {
                levels: _Lane(levels, list(lane.orders), lane.parked, lane.place) for levels, lane in flow.lanes.items()
            }
            twin._flows[owner] = _Flow(owner, flow.tag, lanes, list(flow.ready), flow.place)
        twin._ready = list(self._ready)
        twin._parked = {level: list(bucket) for level, bucket in self._parked.items()}
        twin._buckets = {subject: set(levels) for subject, levels in self._buckets.items()}
        twin._idle = list(self._idle)
        twin._freed = set(self._freed)
        return twin

    def _charge(self, flow: _Flow, item: Waiting) -> None:
        """A turn is taken. One that was due long ago, for its level was full, counts as taken now: it saves up no more
        than this turn."""
        start = max(flow.tag, self._virtual)
        self._virtual = start
        flow.tag = start + item.cost
        self.remove(item.key)
        while self._idle and self._idle[0][0] <= self._virtual:
            del self._flows[self._idle.pop(0)[1]]

    def _rest(self, flow: _Flow) -> None:
        """The flow has nobody waiting any more: its tag is remembered until virtual time has passed it."""
        if flow.lanes:
            return
        if flow.tag <= self._virtual:
            del self._flows[flow.owner]
        else:
            insort(self._idle, (flow.tag, flow.owner))

    def _unlist(self, flow: _Flow, lane: _Lane) -> None:
        """Take the lane out of the list that it stands in, before its first request changes. `_rank` may be due."""
        if lane.parked is None:
            _drop(flow.ready, (lane.orders[0], lane.levels))
        else:
            bucket = self._parked[lane.parked]
            _drop(bucket, (lane.place, lane.levels))
            if not bucket:
                self._drop_bucket(lane.parked)

    def _list(self, flow: _Flow, lane: _Lane) -> None:
        """Put the lane into the list that it belongs in. `_rank` may be due."""
        if lane.parked is None:
            insort(flow.ready, (lane.orders[0], lane.levels))
            return
        bucket = self._parked.get(lane.parked)
        if bucket is None:
            bucket = self._parked[lane.parked] = []
            self._buckets.setdefault(lane.parked.subject, set()).add(lane.parked)
        lane.place = _Place(flow.tag, lane.orders[0], flow.owner)
        insort(bucket, (lane.place, lane.levels))

    def _rank(self, flow: _Flow) -> None:
        """Put the flow where its tag and its first request say."""
        place = _Place(flow.tag, flow.ready[0][0], flow.owner) if flow.ready else None
        if place == flow.place:
            return
        if flow.place is not None:
            _drop(self._ready, flow.place)
        if place is not None:
            insort(self._ready, place)
        flow.place = place

    def _move(self, flow: _Flow, lane: _Lane, parked: Level | None) -> None:
        self._unlist(flow, lane)
        lane.parked = parked
        self._list(flow, lane)
        self._rank(flow)

    def _unpark(self, occupancy: Occupancy) -> None:
        """Of each level that has room again, the first lane may try. The next one may when this has been seen to: so
        as many are looked at as there is room, not all."""
        for subject in tuple(self._freed):
            roomy = [level for level in self._buckets.get(subject, ()) if occupancy.full((level,)) is None]
            if not roomy:
                self._freed.discard(subject)
            for level in roomy:
                self._move(*self._first(level), None)

    def _first(self, level: Level) -> tuple[_Flow, _Lane]:
        """The lane of a level whose turn it is. Tags in the list may be old, and tags only grow."""
        bucket = self._parked[level]
        while True:
            place, levels = bucket[0]
            flow = self._flows[place.owner]
            lane = flow.lanes[levels]
            if place.tag == flow.tag:
                return flow, lane
            del bucket[0]
            lane.place = place._replace(tag=flow.tag)
            insort(bucket, (lane.place, levels))

    def _drop_bucket(self, level: Level) -> None:
        del self._parked[level]
        levels = self._buckets[level.subject]
        levels.discard(level)
        if not levels:
            del self._buckets[level.subject]


def _drop(items: list[Any], item: Any) -> None:
    """Take `item` out of a sorted list. Most often it is the first."""
    del items[0 if items[0] == item else bisect_left(items, item)]
