"""What one process at a time may do: it begins when the Lease is won, and has ended before the Lease is given back."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from export_operator.adapters.elector import Elector
from export_operator.adapters.kube import ApiError

log = logging.getLogger(__name__)

END_SECONDS = 1.0  # for last words: who takes over waits meanwhile


class BrokenError(Exception):
    """A part of the process has ended by itself."""


@dataclass(frozen=True, slots=True)
class Work:
    """A part of the process that goes on until it is cancelled."""

    name: str
    run: Callable[[], Coroutine[Any, Any, None]]

    def start(self) -> asyncio.Task[None]:
        return asyncio.create_task(self.run(), name=self.name)


class Leading:
    """`begin` comes before the works, and `end` after them, while the Lease is still held."""

    def __init__(
        self,
        elector: Elector,
        works: Sequence[Work],
        *,
        begin: Callable[[], Awaitable[None]],
        end: Callable[[], Awaitable[None]],
    ) -> None:
        self._elector = elector
        self._works = works
        self._begin = begin
        self._end = end

    async def run(self) -> None:
        """Stand by, then lead until cancelled, and give the Lease back. Raises `NotLeading` when the Lease is lost, and
        `BrokenError` when a work ends."""
        log.info("standing by as %s", self._elector.holder)
        await self._elector.win()
        log.info("leading as %s", self._elector.holder)
        hold = Work("lease", self._elector.hold).start()
        lead = Work("lead", self._lead).start()
        try:
            await until_one_ends([hold, lead])
        finally:
            await cancel([lead])
            if self._elector.leads:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(END_SECONDS):
                        await self._end()
            await cancel([hold])
            await self._elector.give_back()
            log.info("not leading any more")

    async def _lead(self) -> None:
        await self._begin()
        tasks = [work.start() for work in self._works]
        try:
            await until_one_ends(tasks)
        finally:
            await cancel(tasks)


async def until_one_ends(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Wait for the first: raises what it raised if that was the API server's or the Lease's, else `BrokenError`."""
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        error = None if task.cancelled() else task.exception()
        if isinstance(error, ApiError | BrokenError):
            raise error
        raise BrokenError(f"{task.get_name()} ended") from error


async def cancel(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel them all, and wait until they have ended."""
    ending = list(tasks)
    for task in ending:
        task.cancel()
    await asyncio.gather(*ending, return_exceptions=True)
