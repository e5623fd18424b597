"""Stand-ins for what an operator reaches outside the cluster: a bucket, and the table of the history.

tests/integration meets a real S3 server and a real PostgreSQL.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from export_operator.adapters.history import HistoryError
from export_operator.adapters.storage import StorageError, Upload
from export_operator.domain.history import Row
from export_operator.domain.sweep import Stored

from .builders import NOW
from .hand import Call, Hand


@dataclass
class Objects:
    """What is in a bucket: texts by key, and the keys of uploads that are under way by their id."""

    texts: dict[str, str] = field(default_factory=dict)
    uploads: dict[str, str] = field(default_factory=dict)

    def facts(self) -> tuple[dict[str, str], dict[str, str]]:
        return dict(self.texts), dict(self.uploads)


class Bucket:
    """The bucket as the operator's adapter gives it. Of several objects each goes by a call of its own: S3 may break
    off in the middle."""

    def __init__(self, objects: Objects, hand: Hand, name: str, now: datetime = NOW) -> None:
        self.name = name
        self._objects = objects
        self._hand = hand
        self._now = now

    async def uploads(self, prefix: str) -> AsyncIterator[list[Upload]]:
        async with self._call():
            found = sorted(self._objects.uploads.items())
        yield [Upload(key, each, self._now) for each, key in found if key.startswith(prefix)]

    async def abort(self, upload: Upload) -> None:
        async with self._call():
            self._objects.uploads.pop(upload.id, None)

    async def pages(self, prefix: str) -> AsyncIterator[list[Stored]]:
        async with self._call():
            found = sorted(self._objects.texts)
        yield [Stored(key, self._now, 1) for key in found if key.startswith(prefix)]

    async def delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            async with self._call():
                self._objects.texts.pop(key, None)

    def _call(self) -> Call:
        return self._hand.call(lambda: StorageError(f"bucket {self.name!r}: ReadTimeoutError", passing=True))


@dataclass
class Shelf:
    """The table of the history: it keeps the first row of each run."""

    hand: Hand = field(default_factory=Hand)
    rows: dict[str, Row] = field(default_factory=dict)
    away: bool = False
    refuses: set[str] = field(default_factory=set)
    forgets: list[int] = field(default_factory=list)
    asked: int = 0

    async def write(self, rows: Sequence[Row]) -> Mapping[str, str]:
        async with self._call():
            for row in rows:
                if row["run"] not in self.refuses:
                    self.rows.setdefault(row["run"], row)
            return {row["run"]: "no" for row in rows if row["run"] in self.refuses}

    async def forget(self) -> int:
        async with self._call():
            return self.forgets.pop(0) if self.forgets else 0

    async def unguarded(self) -> bool:
        async with self._call():
            return False

    def _call(self) -> Call:
        self.asked += 1
        if self.away:
            raise HistoryError("connection refused")
        return self.hand.call(lambda: HistoryError("no answer within 20 s"))
