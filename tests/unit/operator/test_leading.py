"""In which order a leader begins and ends. The Lease itself is met in tests/integration/operator/test_elector.py."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, cast

import pytest

from export_operator.adapters.elector import NotLeading
from export_operator.leading import BrokenError, Leading, Work

pytestmark = pytest.mark.unit


class Lease:
    """Stands in for an elector: it is won at once, and lost when a test says so."""

    holder = "pod_uid_1"

    def __init__(self, said: list[str]) -> None:
        self._said = said
        self.lost = asyncio.Event()
        self.leads = False

    async def win(self) -> None:
        self.leads = True
        self._said.append("won")

    async def hold(self) -> None:
        try:
            await self.lost.wait()
        finally:
            self._said.append("renewed no more")
        self.leads = False
        raise NotLeading("lost")

    async def give_back(self) -> None:
        self._said.append("given back" if self.leads else "nothing to give back")


class Stage:
    def __init__(self) -> None:
        self.said: list[str] = []
        self.lease = Lease(self.said)
        self.works = asyncio.Event()

    def leading(
        self,
        *works: Callable[[], Coroutine[Any, Any, None]],
        end: Callable[[], Coroutine[Any, Any, None]] | None = None,
    ) -> Leading:
        return Leading(
            cast("Any", self.lease),
            [Work("working", self.work), *(Work("other", work) for work in works)],
            begin=self.begin,
            end=end or self.end,
        )

    async def begin(self) -> None:
        self.said.append("begun")

    async def work(self) -> None:
        self.works.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.said.append("work ended")

    async def end(self) -> None:
        self.said.append("last words")


async def test_it_ends_its_works_and_says_its_last_words_before_it_gives_the_lease_back() -> None:
    stage = Stage()
    task = asyncio.create_task(stage.leading().run())
    await stage.works.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert stage.said == ["won", "begun", "work ended", "last words", "renewed no more", "given back"]


async def test_who_has_lost_the_lease_ends_its_works_and_says_nothing_more() -> None:
    stage = Stage()
    task = asyncio.create_task(stage.leading().run())
    await stage.works.wait()
    stage.lease.lost.set()
    with pytest.raises(NotLeading):
        await task
    assert stage.said == ["won", "begun", "renewed no more", "work ended", "nothing to give back"]


async def test_a_work_that_ends_by_itself_ends_the_leader_which_gives_the_lease_back() -> None:
    async def broken() -> None:
        raise KeyError("broken")

    stage = Stage()
    with pytest.raises(BrokenError, match="other ended") as ended:
        await stage.leading(broken).run()
    assert isinstance(ended.value.__cause__, KeyError)
    assert stage.said == ["won", "begun", "work ended", "last words", "renewed no more", "given back"]


async def test_last_words_that_take_too_long_hold_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("export_operator.leading.END_SECONDS", 0.01)

    async def endless() -> None:
        await asyncio.Event().wait()

    stage = Stage()
    task = asyncio.create_task(stage.leading(end=endless).run())
    await stage.works.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert stage.said[-1] == "given back"
