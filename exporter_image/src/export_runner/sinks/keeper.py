"""Keeps the checkpoint of one upload behind its parts. No part waits for one to be written: that is done beside them,
for the newest part that it can count. But none is sent that is more than `MOST_AHEAD` before it, which bounds the parts
that a crash makes somebody send again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from export_runner.checkpoint import Mark
from export_runner.errors import ExportError, Stopped
from export_runner.sinks.parts import SENDERS
from export_runner.tasks import LOOK_SECONDS, Task

MOST_AHEAD = SENDERS + 1
"""Those that are sent at once, and one that was stored while the checkpoint of the one before was written."""


class Keeper:
    """Calls `write` with marks, one at a time, on a thread of its own. Its methods raise what `write` raised, and
    `Stopped`."""

    def __init__(self, written: Mark, write: Callable[[Mark], None]) -> None:
        """A checkpoint with `written` is there."""
        self._write = write
        self._written = written
        self._newest = written
        self._waiting: dict[int, Mark] = {}
        self._changed = threading.Condition()
        self._closed = False
        self._task = Task("checkpoint", self._work)

    def make_room(self, number: int) -> None:
        """Before part `number` is sent: waits until the checkpoint is near enough."""
        self._wait(lambda: self._written.parts >= number - MOST_AHEAD)

    def stored(self, mark: Mark) -> None:
        """The part that ends at `mark` is. They come in any order: only those without a gap from the first count."""
        with self._changed:
            self._waiting[mark.parts] = mark
            while (following := self._waiting.pop(self._newest.parts + 1, None)) is not None:
                self._newest = following
            self._changed.notify_all()

    def finish(self, *, complete: bool) -> None:
        """All parts are stored: waits until the checkpoint says so. `complete` as in `Mark`."""
        with self._changed:
            self._newest = replace(self._newest, ended=True, complete=complete)
            self._changed.notify_all()
        self._flush()

    def leave(self) -> None:
        """For another process: with all counted that can be. Raises nothing."""
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

    def _flush(self) -> None:
        self._wait(lambda: self._written == self._newest)

    def _wait(self, reached: Callable[[], bool]) -> None:
        with self._changed:
            while not reached():
                if self._task.done:
                    self._task.result()
                    raise Stopped  # closed
                self._changed.wait(LOOK_SECONDS)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._newest != self._written)
                if self._closed:
                    return
                newest = self._newest
            self._write(newest)
            with self._changed:
                self._written = newest
                self._changed.notify_all()
