"""Mark and sweep: what a broken watch has missed is found by listing everything, once a minute."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from export_operator.adapters.kube import ApiError, Kube, path_of
from export_operator.adapters.ledger import Ledger
from export_operator.adapters.runs import Runs
from export_operator.domain.model import GROUP, VERSION, Key
from export_operator.store import BESIDE, CATALOGUE, REQUESTS, Store, key_of

log = logging.getLogger(__name__)

EVERY_SECONDS = 60.0


class Resync:
    """Lists our kinds into the store, and wakes every key that a Job or the ledger speaks of."""

    def __init__(self, kube: Kube, store: Store, runs: Runs, ledger: Ledger, namespaces: Sequence[str]) -> None:
        self._kube = kube
        self._store = store
        self._runs = runs
        self._ledger = ledger
        self._namespaces = tuple(namespaces) or ("",)
        self._done = time.monotonic()

    @property
    def age(self) -> float:
        """Seconds since everything was last listed."""
        return time.monotonic() - self._done

    async def run(self, wake: Callable[[Key], None]) -> None:
        """Every minute until cancelled."""
        while True:
            await asyncio.sleep(EVERY_SECONDS)
            try:
                await self.once()
            except ApiError as error:
                log.warning("resync failed, again in %.0f s: %s", EVERY_SECONDS, error)
                continue
            # What has ended and is written down everywhere is woken by its own timer alone.
            open_jobs = (key for key in self._runs.requests() if not self._store.at_rest(key))
            for key in {*open_jobs, *self._ledger.requests()}:
                wake(key)

    async def once(self) -> None:
        """Raises `ApiError`. A kind that is not served is an error too: the CRDs are not installed."""
        for kind in CATALOGUE:
            known = set(self._store.documents[kind])
            documents, _ = await self._kube.list(path_of(GROUP, VERSION, kind))
            for document in documents:
                self._store.put_named(kind, document)
            for name in known - {document["metadata"]["name"] for document in documents}:
                self._store.drop_named(kind, name)
        known_keys = set(self._store.requests)
        found = await self._listed(REQUESTS)
        for document in found:
            self._store.put_request(document)
        for key in known_keys - {key_of(document) for document in found}:
            self._store.drop_request(key)
        for kind in BESIDE:
            known_keys = set(self._store.beside[kind])
            found = await self._listed(kind)
            for document in found:
                self._store.put_beside(kind, document)
            for key in known_keys - {key_of(document) for document in found}:
                self._store.drop_beside(kind, key)
        self._done = time.monotonic()

    async def _listed(self, kind: str) -> list[dict[str, Any]]:
        """Of all namespaces that are served."""
        found: list[dict[str, Any]] = []
        for namespace in self._namespaces:
            documents, _ = await self._kube.list(path_of(GROUP, VERSION, kind, namespace=namespace))
            found.extend(documents)
        return found
