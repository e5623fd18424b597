"""Requests to look at again because something changed that many depend on: a policy, a source, a destination."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from itertools import islice

from export_operator.domain.model import Key

BATCH = 50
TICK_SECONDS = 0.1  # 500 a second: an edit while 10,000 wait takes 20 s to reach the last, and hinders nobody meanwhile


class Backlog:
    """Lets keys out a few at a time, the first come first, each once: who asks for something now does not stand behind
    all who wait."""

    def __init__(self, wake: Callable[[Key], None]) -> None:
        self._wake = wake
        self._keys: dict[Key, None] = {}
        self._some = asyncio.Event()

    def add(self, keys: Iterable[Key]) -> None:
        self._keys |= dict.fromkeys(keys)
        if self._keys:
            self._some.set()

    def let_out(self) -> None:
        """Wake the next few."""
        for key in list(islice(self._keys, BATCH)):
            del self._keys[key]
            self._wake(key)
        if not self._keys:
            self._some.clear()

    async def run(self) -> None:
        """Let out until cancelled."""
        while True:
            await self._some.wait()
            self.let_out()
            await asyncio.sleep(TICK_SECONDS)
