"""An operator's way to the world: every call that it makes passes `Hand.call`, and there trouble can befall it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, TypeVar

from export_operator.adapters.kube import ApiError

R = TypeVar("R")
Trouble = Literal["killed", "refused", "lost", "late"]
"""The operator dies before the call; the call fails; it is done and its answer does not arrive; or the operator dies
and its call is still on its way: it arrives when it is let `land`, whatever others have done meanwhile."""


class Killed(BaseException):
    """SIGKILL: nothing after it runs."""


class Parking:
    """Where work stays that an event loop drives, when its operator has died and its last call is on its way."""

    def __init__(self) -> None:
        self._left = asyncio.Event()
        self._lands = asyncio.Event()
        self._tasks: list[asyncio.Future[Any]] = []

    async def stay(self) -> None:
        self._left.set()
        await self._lands.wait()

    async def drive(self, work: Coroutine[Any, Any, R]) -> R:
        """As `finish`: raises `Killed` when the work's last call is left on its way."""
        task, left = asyncio.ensure_future(work), asyncio.ensure_future(self._left.wait())
        await asyncio.wait({task, left}, return_when=asyncio.FIRST_COMPLETED)
        left.cancel()
        if task.done():
            return task.result()
        self._left.clear()
        self._tasks.append(task)
        raise Killed

    async def land(self) -> None:
        """What was on its way arrives."""
        self._lands.set()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@dataclass
class Hand:
    """Trouble befalls the call number `when`, once."""

    trouble: Trouble = "killed"
    when: int | None = None
    calls: int = 0
    delay: int | None = None
    """A call that is late arrives when so many others have been made since."""
    late: list[Coroutine[Any, Any, Any]] = field(default_factory=list)
    """Work of operators that are dead, whose last call has not arrived yet."""
    parking: Parking | None = None
    """Where the test's own event loop drives the work."""

    def call(self, failure: Callable[[], Exception], *, quiet: bool = False) -> Call:
        """Put `async with` this around what the call does. `quiet`: its errors go no further than the adapter."""
        here = self.calls == self.when
        if self.when is not None and self.delay is not None and self.calls == self.when + 1 + self.delay:
            self.land()
        self.calls += 1
        if here and quiet and self.trouble in {"refused", "lost"}:
            here = False
        return Call(self, failure, self.trouble if here else None)

    def land(self) -> None:
        """What was on its way arrives; nobody hears of the answer."""
        while self.late:
            with suppress(Killed):
                self.late.pop().send(None)
                raise AssertionError("whoever sent it goes on")


class Call:
    """One call, and what befalls it."""

    def __init__(self, hand: Hand, failure: Callable[[], Exception], trouble: Trouble | None) -> None:
        self.hand = hand
        self._failure = failure
        self._trouble = trouble

    async def __aenter__(self) -> None:
        if self._trouble == "late" and self.hand.parking is not None:
            await self.hand.parking.stay()
            return
        if self._trouble == "killed" or (self._trouble == "late" and _in_loop()):
            raise Killed
        if self._trouble == "refused":
            raise self._failure()
        if self._trouble == "late":
            await _Pause(self)

    async def __aexit__(self, _: object, error: BaseException | None, __: TracebackType | None) -> None:
        if self._trouble == "late":
            raise Killed
        if self._trouble == "lost" and error is None:
            raise self._failure()


def _in_loop() -> bool:
    """Work that an event loop drives cannot be left half-way: its call does not arrive at all."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class _Pause:
    def __init__(self, call: Call) -> None:
        self._call = call

    def __await__(self) -> Generator[Call, None, None]:
        yield self._call


def finish(work: Coroutine[Any, Any, R]) -> R:
    """Run what never waits for anything outside. Raises `Killed` when its last call is left on its way."""
    try:
        waits = work.send(None)
    except StopIteration as stop:
        result: R = stop.value
        return result
    if isinstance(waits, Call):
        waits.hand.late.append(work)
        raise Killed
    raise AssertionError("it waits for something outside this world")


def unreachable() -> ApiError:
    return ApiError(0, "Unreachable", "TimeoutError")
