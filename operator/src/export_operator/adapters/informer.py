"""A cache of one kind of object in one namespace, kept by LIST and WATCH.

kopf watches all its kinds in all namespaces or in none; Jobs, pods and the ledger shall be read in the run namespace
alone, by a Role there. So these have a cache of their own.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from export_operator.adapters.kube import ApiError, Kube, RewoundError

T = TypeVar("T")
log = logging.getLogger(__name__)

WATCH_SECONDS = 240  # below the usual idle limits of load balancers
RETRY_SECONDS = (0.2, 1.0, 2.0, 5.0, 10.0)


class Informer(Generic[T]):
    """`parse` turns a document into a value; `changed` is told the value before and after (None: absent)."""

    def __init__(
        self,
        kube: Kube,
        path: str,
        parse: Callable[[Mapping[str, Any]], T],
        changed: Callable[[T | None, T | None], None],
        selector: str = "",
        *,
        field: str = "",
    ) -> None:
        self._kube = kube
        self._path = path
        self._parse = parse
        self._changed = changed
        given = {"labelSelector": selector, "fieldSelector": field}
        self._query = {name: value for name, value in given.items() if value}
        self._versions: dict[str, int] = {}
        self.items: dict[str, T] = {}
        self.synced = asyncio.Event()
        self._heard = time.monotonic()

    async def run(self) -> None:
        """Keep the cache until cancelled. An API server that is away is waited for. Raises `RewoundError`."""
        failures = 0
        version = ""
        while True:
            try:
                if not version:
                    version = await self._relist()
                    self.synced.set()
                version = await self._watch(version)
                failures = 0
            except ApiError as error:
                if error.expired:
                    version = ""
                    continue
                pause = RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)]
                failures += 1
                version = ""
                log.warning("watch of %s is broken, listing again in %.1f s: %s", self._path, pause, error)
                await asyncio.sleep(pause)

    @property
    def age(self) -> float:
        """Seconds since the API server last said anything."""
        return time.monotonic() - self._heard

    def put(self, document: Mapping[str, Any]) -> None:
        """Take over an object just written or read, so that the next decision sees it before the watch does."""
        metadata = document["metadata"]
        version = int(metadata["resourceVersion"])
        # resourceVersions of one kind are comparable numbers (KEP-5504): an older document never replaces a newer, and
        # one that is known already, by the write's answer or by the watch, is not parsed again.
        if version <= self._versions.get(metadata["name"], 0):
            return
        self._versions[metadata["name"]] = version
        before, after = self.items.get(metadata["name"]), self._parse(document)
        self.items[metadata["name"]] = after
        if before != after:
            self._changed(before, after)

    def drop(self, name: str, version: int = 0) -> None:
        """Forget an object that is gone. Its last version stays, so that no late answer brings it back."""
        self._versions[name] = max(version, self._versions.get(name, 0) + 1)
        before = self.items.pop(name, None)
        if before is not None:
            self._changed(before, None)

    async def _relist(self) -> str:
        """The version to watch from. A page at a time: documents as they are sent take several times the memory of what
        is kept of them."""
        version, missing, known = "", set(self.items), dict(self._versions)
        async for page in self._kube.pages(self._path, **self._query):
            self._heard = time.monotonic()
            version = page["metadata"]["resourceVersion"]
            for document in page.get("items") or ():
                name, present = document["metadata"]["name"], int(document["metadata"]["resourceVersion"])
                if present < known.get(name, 0):
                    raise RewoundError(f"{self._path}/{name}", present, known[name])
                self.put(document)
                missing.discard(name)
        for name in missing:
            if self._versions[name] <= int(version):  # else it was made while the list was under way
                self.drop(name, int(version))
        return version

    async def _watch(self, version: str) -> str:
        stream = self._kube.watch(self._path, seconds=WATCH_SECONDS, resourceVersion=version, **self._query)
        async for event in stream:
            document = event["object"]
            self._heard = time.monotonic()
            version = document["metadata"]["resourceVersion"]
            if event["type"] == "DELETED":
                self.drop(document["metadata"]["name"], int(version))
            elif event["type"] != "BOOKMARK":
                self.put(document)
        # No answer is under way as long as a watch lasts: what ended before it is of no interest any more.
        self._versions = {name: self._versions[name] for name in self.items}
        return version
