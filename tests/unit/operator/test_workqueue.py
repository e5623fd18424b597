"""Each key once, one worker a key, delays, back-off."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from export_operator.workqueue import BACKOFF_SECONDS, WorkQueue

pytestmark = pytest.mark.unit

Handle = Callable[[str], Awaitable[float | None]]


@asynccontextmanager
async def working(handle: Handle, workers: int = 3) -> AsyncIterator[WorkQueue[str]]:
    queue: WorkQueue[str] = WorkQueue(handle, workers, (ConnectionError,))
    task = asyncio.create_task(queue.run())
    try:
        async with asyncio.timeout(10):
            yield queue
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class Recorder:
    """Handles keys one after another as the test lets it, and remembers when."""

    def __init__(self, *answers: float | Exception | None) -> None:
        self.calls: list[tuple[str, float]] = []
        self.busy: list[str] = []
        self.most: dict[str, int] = {}
        self.go = asyncio.Event()
        self.go.set()
        self.idle = asyncio.Event()
        self._answers = list(answers)
        self._changed = asyncio.Event()

    async def handle(self, key: str) -> float | None:
        self.calls.append((key, asyncio.get_running_loop().time()))
        self.busy.append(key)
        self.idle.clear()
        self.most[key] = max(self.most.get(key, 0), self.busy.count(key))
        self._changed.set()
        try:
            await self.go.wait()
        finally:
            self.busy.remove(key)
            if not self.busy:
                self.idle.set()
        answer = self._answers.pop(0) if self._answers else None
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def called(self, times: int) -> None:
        while len(self.calls) < times:
            self._changed.clear()
            await self._changed.wait()

    def gaps(self) -> list[float]:
        moments = [moment for _, moment in self.calls]
        return [after - before for before, after in itertools.pairwise(moments)]

    def keys(self) -> list[str]:
        return [key for key, _ in self.calls]


async def drained(recorder: Recorder) -> None:
    """Nothing is being looked at, and whatever is due by now has begun."""
    await recorder.idle.wait()
    for _ in range(10):
        await asyncio.sleep(0)
    await recorder.idle.wait()


async def test_a_key_added_often_before_its_turn_is_looked_at_once() -> None:
    recorder = Recorder()
    async with working(recorder.handle) as queue:
        for _ in range(5):
            queue.add("a")
        await recorder.called(1)
        await drained(recorder)
    assert recorder.keys() == ["a"]


async def test_a_key_added_while_it_is_looked_at_is_looked_at_once_more() -> None:
    recorder = Recorder()
    recorder.go.clear()
    async with working(recorder.handle) as queue:
        queue.add("a")
        await recorder.called(1)
        for _ in range(5):
            queue.add("a")
        recorder.go.set()
        await recorder.called(2)
        await drained(recorder)
    assert recorder.keys() == ["a", "a"]


async def test_a_key_has_one_worker_at_a_time() -> None:
    recorder = Recorder()
    recorder.go.clear()
    async with working(recorder.handle) as queue:
        queue.add("a")
        await recorder.called(1)
        queue.add("a")
        queue.add("b")
        await recorder.called(2)
        recorder.go.set()
        await recorder.called(3)
        await drained(recorder)
    assert recorder.most == {"a": 1, "b": 1}


async def test_other_keys_do_not_wait_for_a_slow_one() -> None:
    recorder = Recorder()
    recorder.go.clear()
    async with working(recorder.handle) as queue:
        queue.add("slow")
        queue.add("other")
        await recorder.called(2)
        assert recorder.busy == ["slow", "other"]
        recorder.go.set()


async def test_an_answer_in_seconds_is_when_to_look_again() -> None:
    recorder = Recorder(0.05)
    async with working(recorder.handle) as queue:
        queue.add("a")
        await recorder.called(2)
    assert recorder.gaps()[0] >= 0.05


async def test_an_event_looks_earlier_than_planned() -> None:
    recorder = Recorder(3600.0)
    async with working(recorder.handle) as queue:
        queue.add("a")
        await recorder.called(1)
        await drained(recorder)
        queue.add("a")
        await recorder.called(2)
    assert recorder.keys() == ["a", "a"]


async def test_of_two_plans_the_earlier_holds() -> None:
    recorder = Recorder()
    async with working(recorder.handle) as queue:
        queue.add_after("a", 3600.0)
        queue.add_after("a", 0.02)
        queue.add_after("a", 1800.0)
        await recorder.called(1)
    assert recorder.keys() == ["a"]


async def test_failures_are_tried_again_after_longer_and_longer() -> None:
    recorder = Recorder(ValueError("one"), ValueError("two"))
    async with working(recorder.handle) as queue:
        queue.add("a")
        await recorder.called(3)
    assert [gap >= pause for gap, pause in zip(recorder.gaps(), BACKOFF_SECONDS, strict=False)] == [True, True]


async def test_a_success_ends_the_back_off() -> None:
    recorder = Recorder(ValueError("one"), None, ValueError("two"))
    async with working(recorder.handle) as queue:
        queue.add("a")
        await recorder.called(2)
        await drained(recorder)
        queue.add("a")
        await recorder.called(4)
    assert recorder.gaps()[2] < BACKOFF_SECONDS[1]


async def test_a_failure_of_one_key_leaves_the_workers_alive() -> None:
    recorder = Recorder(ValueError("one"))
    async with working(recorder.handle, workers=1) as queue:
        queue.add("bad")
        queue.add("good")
        await recorder.called(2)
    assert recorder.keys() == ["bad", "good"]


@pytest.mark.parametrize(("error", "traced"), [(ConnectionError("away"), False), (ValueError("odd"), True)])
async def test_an_expected_error_is_one_line_and_a_surprise_has_a_traceback(
    caplog: pytest.LogCaptureFixture, error: Exception, traced: bool
) -> None:
    recorder = Recorder(error)
    with caplog.at_level(logging.WARNING):
        async with working(recorder.handle) as queue:
            queue.add("a")
            await recorder.called(2)
    assert [(record.getMessage(), bool(record.exc_info)) for record in caplog.records] == [
        (f"a: {error}, again in 0.05 s", traced)
    ]


async def test_a_pass_is_over_when_every_key_that_waited_has_been_taken_up() -> None:
    recorder = Recorder()
    async with working(recorder.handle, workers=1) as queue:
        for key in "abc":
            queue.add(key)
        passed = asyncio.create_task(queue.passed())
        await asyncio.sleep(0)
        queue.add("late")
        await passed
        assert [key for key, _ in recorder.calls][:3] == ["a", "b", "c"]


async def test_each_look_is_told_with_how_it_failed() -> None:
    told: list[tuple[bool, str]] = []
    recorder = Recorder(ConnectionError("away"), ValueError("odd"))
    queue: WorkQueue[str] = WorkQueue(
        recorder.handle, 1, (ConnectionError,), lambda seconds, failed: told.append((seconds >= 0, failed))
    )
    task = asyncio.create_task(queue.run())
    async with asyncio.timeout(10):
        queue.add("a")
        await recorder.called(3)
        await drained(recorder)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert told == [(True, "expected"), (True, "bug"), (True, "")]
