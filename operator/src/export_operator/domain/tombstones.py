"""What is remembered of a request that has ended when it is gone itself, so that one made again need not run again.

Tombstones stand in the page of whom the run counted against, one for each name of a request. They are bounded: beyond
the bound the manifest beside the delivered objects is the tombstone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from export_operator.domain.model import Key

MAX_STONES = 128
MAX_BYTES = 256 * 1024  # of their JSON: with `pages.MAX_BYTES` an object stays below etcd's limit of 1.5 MiB
LIFE = timedelta(days=92)  # a tool that brings requests back does so within minutes, people within a quarter


@dataclass(frozen=True, slots=True)
class Tombstone:
    """The end of a request: `phase`, and `result` or `failure` as in its status.

    `run` is the run that made the result, for a request with this `run_id` and `digest` (what exactly was asked, see
    `digest`), and `ended` when. `uid` is the request that last stood under the name. `time` is when that ended
    or, if `expired`, when its time to live was over and the operator deleted it.
    """

    request: Key
    uid: str
    user: str
    digest: str
    run: str
    run_id: str
    phase: str
    ended: datetime
    time: datetime
    expired: bool = False
    result: Mapping[str, Any] = field(default_factory=dict)
    failure: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Tombstones:
    """Those of one subject, oldest first. `forgotten`: there were others, for which there was no room or which were
    too old."""

    stones: tuple[Tombstone, ...] = ()
    forgotten: bool = False

    def find(self, request: Key) -> Tombstone | None:
        for stone in self.stones:
            if stone.request == request:
                return stone
        return None

    def put(self, stone: Tombstone, now: datetime) -> Tombstones:
        """With this one in place of the one of its name. When there are too many, the oldest are forgotten: perhaps
        this one itself, and then nothing changes, however often it is tried."""
        known = self.find(stone.request)
        if known == stone:
            return self
        if known is None and len(self.stones) >= MAX_STONES and stone.time < self.stones[0].time:
            return replace(self, forgotten=True)
        others = (each for each in self.stones if each.request != stone.request)
        ordered = sorted((*others, stone), key=lambda each: (each.time, each.request))
        kept = [each for each in ordered if each.time > now - LIFE][-MAX_STONES:]
        weights = [_weight(each) for each in kept]
        while sum(weights) > MAX_BYTES:
            del kept[0], weights[0]
        return Tombstones(tuple(kept), self.forgotten or len(kept) < len(ordered))

    def drop(self, request: Key) -> Tombstones:
        """Without that of this name: whoever makes such a request again wants it to run."""
        kept = tuple(stone for stone in self.stones if stone.request != request)
        return self if len(kept) == len(self.stones) else Tombstones(kept, self.forgotten)

    def over(self, now: datetime) -> bool:
        """Nothing in it is of use any more."""
        return all(stone.time <= now - LIFE for stone in self.stones)


NOTHING = Tombstones()
"""Nothing is remembered, and nothing forgotten."""


def _weight(stone: Tombstone) -> int:
    """Bytes that one takes as JSON, at most."""
    fixed = 512 + 4 * len(stone.user) + len(stone.request.namespace) + len(stone.request.name) + len(stone.run_id)
    return fixed + sum(len(json.dumps(each, ensure_ascii=False).encode()) for each in (stone.result, stone.failure))
