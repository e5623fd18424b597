"""Keys waiting to be looked at: each once, one worker a key, with delays and a back-off of its own after failures."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

K = TypeVar("K")
log = logging.getLogger(__name__)

BACKOFF_SECONDS = (0.05, 0.2, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)


class WorkQueue(Generic[K]):
    """`handle` looks at a key and returns when to look again (seconds), or None. What it raises is logged and retried;
    for an `expected` error one line says it all. `looked` is told of each look its seconds, and `expected` or `bug`
    when it failed, else "".

    A key that is added while it is being handled is handled once more afterwards, so no change is missed."""

    def __init__(
        self,
        handle: Callable[[K], Awaitable[float | None]],
        workers: int,
        expected: tuple[type[Exception], ...] = (),
        looked: Callable[[float, str], None] = lambda _seconds, _failed: None,
    ) -> None:
        self._looked = looked
        self._handle = handle
        self._expected = expected
        self._workers = workers
        self._ready: asyncio.Queue[K | asyncio.Event] = asyncio.Queue()
        self._waiting: set[K] = set()
        self._busy: set[K] = set()
        self._again: set[K] = set()
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._failures: dict[K, int] = {}

    def add(self, key: K) -> None:
        """Look at `key` as soon as possible."""
        if key in self._busy:
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting.add(key)
            self._ready.put_nowait(key)

    def add_after(self, key: K, seconds: float) -> None:
        """Look at `key` in `seconds`, unless something earlier is planned: an earlier look plans its own next one."""
        planned = self._timers.get(key)
        when = asyncio.get_running_loop().time() + seconds
        if planned is not None:
            if planned.when() <= when:
                return
            planned.cancel()
        self._timers[key] = asyncio.get_running_loop().call_later(seconds, self._due, key)

    def __len__(self) -> int:
        return len(self._waiting)

    async def passed(self) -> None:
        """Wait until every key that waits now has been taken up once."""
        mark = asyncio.Event()
        self._ready.put_nowait(mark)
        await mark.wait()

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._workers):
                group.create_task(self._work())

    def _due(self, key: K) -> None:
        self._timers.pop(key, None)
        self.add(key)

    async def _work(self) -> None:
        while True:
            key = await self._ready.get()
            if isinstance(key, asyncio.Event):
                key.set()
                continue
            self._waiting.discard(key)
            self._busy.add(key)
            timer = self._timers.pop(key, None)
            if timer is not None:
                timer.cancel()
            began, failed = time.monotonic(), ""
            try:
                again = await self._handle(key)
            except Exception as error:
                failures = self._failures.get(key, 0)
                self._failures[key] = failures + 1
                pause = BACKOFF_SECONDS[min(failures, len(BACKOFF_SECONDS) - 1)]
                surprise = None if isinstance(error, self._expected) else error
                failed = "bug" if surprise else "expected"
                log.warning(
                    "%s: %s, again in %.2f s", key, str(error) or type(error).__name__, pause, exc_info=surprise
                )
                self.add_after(key, pause)
            else:
                self._failures.pop(key, None)
                if again is not None:
                    self.add_after(key, again)
            finally:
                self._looked(time.monotonic() - began, failed)
                self._busy.discard(key)
                if key in self._again:
                    self._again.discard(key)
                    self.add(key)
