"""Looks for the manifests of runs whose end nobody tells. S3 may be slow or away, so nothing waits for it: the request
is woken when there is an answer. What is remembered may be lost with the process; then it is asked again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from export_contract.report import Outcome
from export_operator.adapters import storage
from export_operator.adapters.kube import Kube
from export_operator.adapters.storage import StorageError
from export_operator.adapters.witnesses import Place, places
from export_operator.domain import manifests
from export_operator.domain.actions import Seek
from export_operator.domain.manifests import NotAManifestError, Sought
from export_operator.domain.model import Key
from export_operator.domain.pod_ends import plausible

log = logging.getLogger(__name__)

AT_ONCE = 8
PAUSES = (1.0, 3.0, 10.0, 20.0)
"""Between tries while S3 does not answer; then nobody knows."""
ABSENT = {"NoSuchKey", "NoSuchBucket"}


class Finder:
    """One question of each request, that of its present run. `wake` is told the request that has its answer."""

    def __init__(self, kube: Kube, run_namespace: str, wake: Callable[[Key], None]) -> None:
        self._kube = kube
        self._run_namespace = run_namespace
        self._wake = wake
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._asked: dict[Key, tuple[str, asyncio.Task[Sought]]] = {}

    def answer(self, key: Key, run: str) -> Sought | None:
        """None while nobody has asked for this run, or there is no answer yet."""
        asked, task = self._asked.get(key, ("", None))
        if task is None or asked != run or not task.done():
            return None
        error = task.exception()
        return task.result() if error is None else Sought(fault=f"the operator failed to look: {type(error).__name__}")

    def ask(self, seek: Seek) -> None:
        """Begin to look, unless that is under way."""
        if self._asked.get(seek.request, ("", None))[0] == seek.run:
            return
        self.forget(seek.request)
        task = asyncio.create_task(self._look(seek), name=f"manifest of {seek.request}")
        self._asked[seek.request] = (seek.run, task)
        task.add_done_callback(lambda _: self._wake(seek.request))

    def forget(self, key: Key) -> None:
        _, task = self._asked.pop(key, ("", None))
        if task is not None:
            task.cancel()

    async def _look(self, seek: Seek) -> Sought:
        if seek.spec is None:
            return Sought(fault=f"ExportDestination {seek.destination!r} is gone")
        for pause in (*PAUSES, None):
            async with self._turns:
                found, again = await self._tried(seek, seek.spec)
            if not again or pause is None:
                break
            await asyncio.sleep(pause)
        log.info("its end is told by its manifest: %s", found)
        return found

    async def _tried(self, seek: Seek, spec: Any) -> tuple[Sought, bool]:
        """What is found in all places, and whether another try may find more."""
        fault, again = "", False
        for place in places(seek.destination, spec):
            try:
                found = await self._read(seek, place, fallback=place.spec is not spec)
            except StorageError as error:
                if error.code not in ABSENT:
                    fault, again = f"{place.title}: {error}", error.passing
            except NotAManifestError as error:
                log.warning("what stands where its manifest would is none: %s", error)
            else:
                return found, False
        if not fault and (spec.get("fallback") or {}).get("database"):
            fault = "the fallback is a database, which only export pods reach"
        return Sought(fault=fault), again

    async def _read(self, seek: Seek, place: Place, *, fallback: bool) -> Sought:
        key = seek.at.keys(place.spec).manifest
        async with storage.opened(self._kube, self._run_namespace, place.spec) as bucket:
            text = await bucket.read(key, manifests.MAX_BYTES)
        delivered = manifests.delivered(text, key, seek.run, place.spec, fallback=fallback)
        if not plausible(Outcome(run=seek.run, delivered=delivered)):
            raise NotAManifestError("its numbers are out of range")
        return Sought(delivered)
