"""One object of the ledger: changed by compare-and-swap of the whole object.

Changes that arrive while a write is under way share the next one, so that forty requests at once cost a handful of
writes and no conflict with ourselves. Settlements count at once, and wait for a write that is needed anyway or for
`flush`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar, cast

from export_operator.adapters.informer import Informer
from export_operator.adapters.kube import ApiError, Kube
from export_operator.domain import quota
from export_operator.domain.identity import Subject
from export_operator.domain.model import Key
from export_operator.domain.pages import Page
from export_operator.domain.usage import Usage, render_usage, usage_name

R = TypeVar("R")

MAX_TRIES = 20  # of one write against other writers; each loser has seen the winner's, so somebody always advances

Change = Callable[[Page], tuple[Page, R]]
Settle = Callable[[Page, Mapping[str, quota.Settlement]], Page]


class LedgerError(Exception):
    """The ledger cannot be read or written. Nothing is admitted then: it fails closed."""


@dataclass(slots=True)
class _Pending(Generic[R]):
    """A change and, once it was tried, its answer or why there is none."""

    change: Change[R]
    answered: bool = False
    answer: R | None = None
    failure: Exception | None = None


class Cell:
    """The page of one subject in `namespace`, whose objects are at `path` and in `informer`. `settle` gives a page with
    runs that are over, and changes nothing when it is done again; `went_along` is told of what was `along`."""

    def __init__(
        self,
        kube: Kube,
        path: str,
        namespace: str,
        subject: Subject,
        informer: Informer[Usage],
        *,
        settle: Settle = quota.settle,
        went_along: Callable[[Key], None] = lambda _: None,
    ) -> None:
        self._settle = settle
        self._went_along = went_along
        self._kube = kube
        self._path = path
        self._namespace = namespace
        self._subject = subject
        self._name = usage_name(subject)
        self._informer = informer
        self._lock = asyncio.Lock()
        self._pending: list[_Pending[Any]] = []
        self._settlements: dict[str, quota.Settlement] = {}
        self.along: dict[Key, Callable[[Page], Page]] = {}
        """For the sake of requests: done with the next write, and none is made for it."""

    def settle(self, settlement: quota.Settlement) -> bool:
        """Remember it until the next write; whether it is news. What is known first of a run stays."""
        return self._settlements.setdefault(settlement.run, settlement) is settlement

    def page(self) -> Page:
        """The page as it is known, with what waits to be settled. Raises `LedgerError`."""
        usage = self._present()
        page = Page() if usage is None else usage.page
        return self._settle(page, self._settlements) if self._settlements else page

    @property
    def unwritten(self) -> bool:
        """Settlements wait to be written."""
        return bool(self._settlements)

    async def change(self, change: Change[R]) -> R:
        """Apply `change` to the page, durably, and return its answer. Raises `LedgerError`."""
        pending = _Pending(change)
        self._pending.append(pending)
        async with self._lock:
            if not pending.answered:
                batch, self._pending = self._pending, []
                await self._answer(batch)
        if pending.failure is not None:
            raise pending.failure
        return cast("R", pending.answer)

    async def flush(self) -> None:
        """Write the settlements. Raises `LedgerError`; they are kept then."""
        await self.change(lambda page: (page, None))

    async def remove(self, now: datetime) -> None:
        """Delete the object if nothing in it is of use any more. Raises `ApiError`."""
        async with self._lock:
            usage = self._informer.items.get(self._name)
            if usage is not None and not usage.fault and usage.page.over(now):
                await self._kube.delete(f"{self._path}/{self._name}", resource_version=usage.resource_version)

    async def _answer(self, batch: Sequence[_Pending[Any]]) -> None:
        for pending in batch:  # until there is an answer: whoever writes for all may be cancelled
            pending.answered, pending.failure = True, LedgerError(f"ExportUsage {self._name}: the write was broken off")
        try:
            answers = await self._write(batch)
        except LedgerError as error:
            for pending in batch:
                pending.failure = error
            return
        for pending, answer in zip(batch, answers, strict=True):
            pending.answer, pending.failure = answer, None

    async def _write(self, batch: Sequence[_Pending[Any]]) -> list[Any]:
        settlements = dict(self._settlements)
        for _ in range(MAX_TRIES):
            usage = self._present()
            before = usage.page if usage is not None else Page()
            page = self._settle(before, settlements)
            answers = []
            for pending in batch:
                page, answer = pending.change(page)
                answers.append(answer)
            along = dict(self.along) if page != before else {}
            for change in along.values():
                page = change(page)
            written = None
            if page == before or (written := await self._written(usage, page)) is not None:
                for run in settlements:
                    del self._settlements[run]
                if written is not None:
                    self._informer.put(written)
                for key, change in along.items():
                    if self.along.get(key) is change:
                        del self.along[key]
                        self._went_along(key)
                return answers
        raise LedgerError(f"ExportUsage {self._name} is contended: {MAX_TRIES} writes lost")

    def _present(self) -> Usage | None:
        usage = self._informer.items.get(self._name)
        if usage is not None and usage.fault:
            raise LedgerError(f"ExportUsage {self._name} in {self._namespace}: {usage.fault}")
        return usage

    async def _written(self, usage: Usage | None, page: Page) -> dict[str, Any] | None:
        """The object, with the page in place of `usage`; None when another was faster, whose the cache holds then."""
        body = render_usage(self._namespace, self._subject, page)
        try:
            if usage is None:
                return await self._kube.create(self._path, body)
            body["metadata"]["resourceVersion"] = usage.resource_version
            return await self._kube.replace(f"{self._path}/{self._name}", body)
        except ApiError as error:
            if not (error.conflict or error.exists or error.not_found):
                raise LedgerError(f"ExportUsage {self._name}: {error}") from error
            await self._refresh()
            return None

    async def _refresh(self) -> None:
        try:
            found = await self._kube.find(f"{self._path}/{self._name}")
        except ApiError as error:
            raise LedgerError(f"ExportUsage {self._name}: {error}") from error
        if found is None:
            self._informer.drop(self._name)
        else:
            self._informer.put(found)
