"""The ledger: ExportUsage objects in the run namespace, one a subject and one for all slots.

Changes are compare-and-swap writes of whole objects. Changes that arrive while a write is under way share the next one,
so that forty requests at once cost a handful of writes and no conflict with ourselves.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from export_operator.adapters.informer import Informer
from export_operator.adapters.kube import ApiError, Kube, path_of
from export_operator.domain import quota, times
from export_operator.domain.actions import Admission
from export_operator.domain.identity import Subject
from export_operator.domain.model import API_VERSION, GROUP, VERSION, Key
from export_operator.domain.slots import SlotGrant, SlotLimits, take_slot

R = TypeVar("R")

SLOTS = Subject("Slots", "all")
MAX_TRIES = 20  # of one write against other writers; each loser has seen the winner's, so somebody always advances

Entries = tuple[quota.Entry, ...]
Change = Callable[[Entries], tuple[Entries, R]]


class LedgerError(Exception):
    """The ledger cannot be read or written. Nothing is admitted then: it fails closed."""


@dataclass(frozen=True, slots=True)
class Usage:
    """An ExportUsage as read."""

    subject: Subject
    entries: Entries
    resource_version: str
    readable: bool = True


def parse_usage(body: Mapping[str, Any]) -> Usage:
    """An object that is not what we wrote is unreadable, not empty: nobody shall win quota by damaging it."""
    version = body["metadata"]["resourceVersion"]
    try:
        spec = body["spec"]
        entries = tuple(_parse_entry(item) for item in spec.get("entries") or ())
        return Usage(Subject(spec["subject"]["kind"], spec["subject"]["name"]), entries, version)
    except (KeyError, TypeError, ValueError):
        return Usage(Subject("", ""), (), version, readable=False)


def _parse_entry(item: Mapping[str, Any]) -> quota.Entry:
    moment = times.parse(item["time"])
    if moment is None:
        raise ValueError("entry without a time")
    return quota.Entry(
        run=item["run"],
        request=Key(item["namespace"], item["name"]),
        uid=item["uid"],
        time=moment,
        user=item.get("user", ""),
        source=item.get("source", ""),
        destination=item.get("destination", ""),
        policy=item.get("policy", ""),
    )


def render_usage(name: str, namespace: str, subject: Subject, entries: Sequence[quota.Entry]) -> dict[str, Any]:
    rendered = [
        {
            "run": entry.run,
            "namespace": entry.request.namespace,
            "name": entry.request.name,
            "uid": entry.uid,
            "time": times.render(entry.time),
            "user": entry.user,
            "source": entry.source,
            "destination": entry.destination,
            "policy": entry.policy,
        }
        for entry in entries
    ]
    return {
        "apiVersion": API_VERSION,
        "kind": "ExportUsage",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"subject": {"kind": subject.kind, "name": subject.name}, "entries": rendered},
    }


def usage_name(subject: Subject) -> str:
    """User names are free text: the object's name is a hash of 160 bits, the text stands inside."""
    if subject == SLOTS:
        return "slots"
    return f"{subject.kind.lower()}-{hashlib.sha256(subject.name.encode()).hexdigest()[:40]}"


class Ledger:
    """Windows and slots of every subject."""

    def __init__(self, kube: Kube, namespace: str, slots_changed: Callable[[], None]) -> None:
        self._kube = kube
        self._namespace = namespace
        self._path = path_of(GROUP, VERSION, "exportusages", namespace=namespace)
        self._cells: dict[Subject, _Cell] = {}
        self._slots_changed = slots_changed
        self._runs: dict[str, quota.Entry] = {}
        self.informer = Informer(kube, self._path, parse_usage, self._changed)

    def slots(self) -> Mapping[str, quota.Entry]:
        """Entries of the runs that hold a slot, by run."""
        return self._runs

    async def admit(
        self, entry: quota.Entry, limits: Sequence[quota.WindowLimit], slot_limits: SlotLimits | None, now: datetime
    ) -> Admission:
        """Reserve every window in order, then a slot, unless it needs none. A window without room releases the earlier
        ones that this call reserved; a missing slot releases nothing: a run that waits for its turn keeps its place in
        the windows."""
        states: list[quota.WindowState] = []
        fresh: list[Subject] = []
        for limit in limits:
            granted = await self._cell(limit.subject).change(_reserve(entry, limit, now))
            states.append(granted.state)
            if not granted.granted:
                for subject in fresh:
                    await self._cell(subject).change(_release(entry.run))
                return Admission(tuple(states), windows_granted=False)
            if granted.changed:
                fresh.append(limit.subject)
        if slot_limits is None:
            return Admission(tuple(states), windows_granted=True, slot_granted=True)
        slot = await self._cell(SLOTS).change(_take_slot(entry, slot_limits))
        return Admission(tuple(states), windows_granted=True, slot_granted=slot.granted, slot_reason=slot.reason)

    async def release_slot(self, run: str) -> None:
        await self._cell(SLOTS).change(_release(run))

    async def refund(self, run: str, subjects: Sequence[Subject]) -> None:
        """Give back the windows of a run that never had a Job."""
        for subject in subjects:
            usage = self.informer.items.get(usage_name(subject))
            if usage is not None and any(entry.run == run for entry in usage.entries):
                await self._cell(subject).change(_release(run))

    def _cell(self, subject: Subject) -> _Cell:
        return self._cells.setdefault(subject, _Cell(self._kube, self._path, self._namespace, subject, self.informer))

    def _changed(self, before: Usage | None, after: Usage | None) -> None:
        subject = after.subject if after is not None else before.subject if before is not None else None
        if subject != SLOTS:
            return
        freed = self._runs
        self._runs = {entry.run: entry for entry in after.entries} if after is not None else {}
        if set(freed) - set(self._runs):
            self._slots_changed()


def _reserve(entry: quota.Entry, limit: quota.WindowLimit, now: datetime) -> Change[quota.Reservation]:
    def change(entries: Entries) -> tuple[Entries, quota.Reservation]:
        reservation = quota.reserve(entries, entry, limit, now)
        return reservation.entries, reservation

    return change


def _take_slot(entry: quota.Entry, limits: SlotLimits) -> Change[SlotGrant]:
    def change(entries: Entries) -> tuple[Entries, SlotGrant]:
        grant = take_slot(entries, entry, limits)
        return grant.entries, grant

    return change


def _release(run: str) -> Change[None]:
    return lambda entries: (quota.release(entries, run), None)


@dataclass(slots=True)
class _Pending(Generic[R]):
    change: Change[R]
    answer: asyncio.Future[R]


class _Cell:
    """One ledger object. Changes queue up and are written together."""

    def __init__(self, kube: Kube, path: str, namespace: str, subject: Subject, informer: Informer[Usage]) -> None:
        self._kube = kube
        self._path = path
        self._namespace = namespace
        self._subject = subject
        self._name = usage_name(subject)
        self._informer = informer
        self._lock = asyncio.Lock()
        self._pending: list[_Pending[Any]] = []

    async def change(self, change: Change[R]) -> R:
        """Apply `change` to the entries, durably, and return its answer. Raises `LedgerError`."""
        pending = _Pending(change, asyncio.get_running_loop().create_future())
        self._pending.append(pending)
        async with self._lock:
            if not pending.answer.done():
                batch, self._pending = self._pending, []
                await self._flush(batch)
        answer: R = pending.answer.result()
        return answer

    async def _flush(self, batch: Sequence[_Pending[Any]]) -> None:
        try:
            answers = await self._write(batch)
        except BaseException as error:
            failure = error if isinstance(error, Exception) else LedgerError("interrupted")
            for pending in batch:
                pending.answer.set_exception(failure)
                pending.answer.exception()  # each waiter raises it by itself; one that went away need not
            raise
        for pending, answer in zip(batch, answers, strict=True):
            pending.answer.set_result(answer)

    async def _write(self, batch: Sequence[_Pending[Any]]) -> list[Any]:
        for _ in range(MAX_TRIES):
            usage = self._informer.items.get(self._name)
            if usage is not None and not usage.readable:
                raise LedgerError(f"ExportUsage {self._name} in {self._namespace} is damaged; nothing is admitted")
            entries = before = usage.entries if usage is not None else ()
            answers = []
            for pending in batch:
                entries, answer = pending.change(entries)
                answers.append(answer)
            if entries == before:
                return answers
            body = render_usage(self._name, self._namespace, self._subject, entries)
            try:
                if usage is None:
                    written = await self._kube.create(self._path, body)
                else:
                    body["metadata"]["resourceVersion"] = usage.resource_version
                    written = await self._kube.replace(f"{self._path}/{self._name}", body)
            except ApiError as error:
                if not (error.conflict or error.exists or error.not_found):
                    raise LedgerError(f"ExportUsage {self._name}: {error}") from error
                await self._refresh()
            else:
                self._informer.put(written)
                return answers
        raise LedgerError(f"ExportUsage {self._name} is contended: {MAX_TRIES} writes lost")

    async def _refresh(self) -> None:
        try:
            self._informer.put(await self._kube.get(f"{self._path}/{self._name}"))
        except ApiError as error:
            if not error.not_found:
                raise LedgerError(f"ExportUsage {self._name}: {error}") from error
            self._informer.drop(self._name)
