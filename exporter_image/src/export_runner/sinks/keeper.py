"""Keeps the checkpoint of one upload ahead of its parts: it tells of a part while that is being sent, so that another
process, which has S3's list of parts as well, finds out how many are there to go on behind.

No part waits for its own mark to be written, but for that of the part before it: so what a crash makes somebody send
again is at most one part that was stored, and those that were on their way.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import TypeAlias

from export_runner.checkpoint import Mark
from export_runner.errors import ExportError, Stopped
from export_runner.sinks.parts import SENDERS
from export_runner.tasks import LOOK_SECONDS, Task

Told: TypeAlias = "tuple[Mark, tuple[Mark, ...]]"
"""How far the export is, and the marks of the parts after that which are under way, in order."""


class Keeper:
    """Calls `write` with what the checkpoint is to tell, one at a time, on a thread of its own. Its methods raise what
    `write` raised, and `Stopped`."""

    def __init__(self, written: Mark, write: Callable[[Mark, tuple[Mark, ...]], None]) -> None:
        """A checkpoint with `written` is there."""
        self._write = write
        self._written: Told = (written, ())
        self._counted = written
        self._under_way: dict[int, Mark] = {}
        self._stored: dict[int, Mark] = {}
        self._changed = threading.Condition()
        self._ending = False
        self._closed = False
        self._task = Task("checkpoint", self._work)

    def begin(self, mark: Mark) -> None:
        """Before the part that ends at `mark` is sent: waits until the checkpoint tells of the part before it, and
        until those before the `SENDERS` newest are stored."""
        number = mark.parts

        def near() -> bool:
            return self._ending or (self._known >= number - 1 and self._counted.parts >= number - SENDERS)

        with self._changed:
            self._wait(near)
            if self._ending:
                raise Stopped
            self._under_way[number] = mark
            self._changed.notify_all()

    def stored(self, mark: Mark) -> None:
        """The part that ends at `mark` is. They come in any order: only those without a gap from the first count."""
        with self._changed:
            self._stored[mark.parts] = mark
            while (following := self._stored.pop(self._counted.parts + 1, None)) is not None:
                self._counted = following
                self._under_way.pop(following.parts, None)
            self._changed.notify_all()

    def finish(self, *, complete: bool) -> None:
        """All parts are stored: waits until the checkpoint says so. `complete` as in `Mark`."""
        with self._changed:
            self._counted = replace(self._counted, ended=True, complete=complete)
            self._flush()

    def leave(self) -> None:
        """For another process: with all counted that can be, and no part begun any more. Raises nothing."""
        with suppress(ExportError, Stopped):
            self._flush()
        self.close()

    def close(self) -> None:
        """Nothing is written any more once this returns."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        while not self._task.join(LOOK_SECONDS):
            pass

    @property
    def _known(self) -> int:
        """The newest part that the checkpoint tells of."""
        return _newest(self._written)

    def _told(self) -> Told:
        return self._counted, tuple(self._under_way.values())

    def _flush(self) -> None:
        with self._changed:
            self._ending = True
            self._under_way.clear()
            self._changed.notify_all()
            self._wait(lambda: self._written == self._told())

    def _wait(self, reached: Callable[[], bool]) -> None:
        with self._changed:
            while not reached():
                if self._task.done:
                    self._task.result()
                    raise Stopped  # closed
                self._changed.wait(LOOK_SECONDS)

    def _due(self) -> bool:
        """Was a part begun that the checkpoint does not tell of? Which were stored meanwhile, S3's list tells."""
        told = self._told()
        return _newest(told) > self._known or (self._ending and told != self._written)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._due())
                if self._closed:
                    return
                told = self._told()
            self._write(*told)
            with self._changed:
                self._written = told
                self._changed.notify_all()


def _newest(told: Told) -> int:
    counted, under_way = told
    return (counted, *under_way)[-1].parts
