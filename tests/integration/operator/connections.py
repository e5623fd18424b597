"""Ways to the API server with one thing out of the ordinary, and bounded waiting."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any, Protocol, TypeVar, cast

from export_operator.adapters.informer import Informer
from export_operator.adapters.kube import ApiError, Kube

K = TypeVar("K", bound=Kube)


class Connect(Protocol):
    async def __call__(self, kind: type[K], user: str = "") -> K: ...


class Counting(Kube):
    """Counts writes."""

    writes = 0

    async def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        self.writes += 1
        return await super().create(path, body)

    async def replace(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        self.writes += 1
        return await super().replace(path, body)


class Forgetful(Kube):
    """Asks its first watch from a resourceVersion that the API server has long forgotten."""

    lists = 0
    watches = 0

    async def pages(self, path: str, **query: str | int) -> AsyncIterator[dict[str, Any]]:
        self.lists += 1
        async for page in super().pages(path, **query):
            yield page

    async def watch(self, path: str, *, seconds: int, **query: str | int) -> AsyncIterator[dict[str, Any]]:
        self.watches += 1
        if self.watches == 1:
            query["resourceVersion"] = "1"
        async for event in super().watch(path, seconds=seconds, **query):
            yield event


class Severable(Kube):
    """A connection that can be cut: watches break, and nothing is answered until it is mended."""

    def __init__(self, api: Any) -> None:
        super().__init__(api)
        self._cut = asyncio.Event()

    def cut(self) -> None:
        self._cut.set()

    def mend(self) -> None:
        self._cut.clear()

    async def pages(self, path: str, **query: str | int) -> AsyncIterator[dict[str, Any]]:
        self._check()
        async for page in super().pages(path, **query):
            yield page

    async def watch(self, path: str, *, seconds: int, **query: str | int) -> AsyncIterator[dict[str, Any]]:
        self._check()
        events = cast("AsyncGenerator[dict[str, Any], None]", super().watch(path, seconds=seconds, **query))

        async def following() -> dict[str, Any]:
            return await anext(events)

        while True:
            cut = asyncio.create_task(self._cut.wait())
            event = asyncio.create_task(following())
            await asyncio.wait({cut, event}, return_when=asyncio.FIRST_COMPLETED)
            if cut.done():
                event.cancel()
                await asyncio.gather(event, return_exceptions=True)
                await events.aclose()
                self._check()
            cut.cancel()
            yield await event

    def _check(self) -> None:
        if self._cut.is_set():
            raise ApiError(0, "Unreachable", "cut")


@asynccontextmanager
async def running(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """The work goes on in the background. One that breaks fails the test."""
    tasks = [asyncio.create_task(each) for each in work]
    try:
        yield
        for task in tasks:
            assert not task.done(), task.exception()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def synced(*informers: Informer[Any]) -> AsyncIterator[None]:
    async with running(*(informer.run() for informer in informers)), asyncio.timeout(30):
        for informer in informers:
            await informer.synced.wait()
        yield


async def until(true: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
    """Wait until it is true, at most so long."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not true():
        assert loop.time() < deadline, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.02)
