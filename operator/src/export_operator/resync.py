"""Mark and sweep: what a broken watch has missed is found by listing everything, once a minute."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial

from export_operator.adapters.cluster import Cluster
from export_operator.adapters.kube import ApiError, Kube, RewoundError, path_of
from export_operator.adapters.ledger import Ledger
from export_operator.adapters.runs import Runs
from export_operator.domain.model import GROUP, VERSION, Key, going
from export_operator.store import BESIDE, CATALOGUE, REQUESTS, Document, Store, key_of

log = logging.getLogger(__name__)

EVERY_SECONDS = 60.0


class Resync:
    """Lists our kinds into the store, and wakes every key that a Job or the ledger speaks of."""

    def __init__(
        self, kube: Kube, cluster: Cluster, store: Store, runs: Runs, ledger: Ledger, *, namespaces: Sequence[str]
    ) -> None:
        self._kube = kube
        self._cluster = cluster
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
        """Every minute until cancelled. Raises `RewoundError`."""
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
        """Raises `ApiError`, `RewoundError`. A kind that is not served is an error too: the CRDs are not installed."""
        for kind in CATALOGUE:
            known = dict(self._store.documents[kind])
            documents, _ = await self._kube.list(path_of(GROUP, VERSION, kind))
            for document in documents:
                _must_be_news(kind, document, known.get(document["metadata"]["name"]), frozenset())
                self._store.put_named(kind, document)
            for name in set(known) - {document["metadata"]["name"] for document in documents}:
                self._store.drop_named(kind, name)
        await self._take(REQUESTS, self._store.requests, self._store.put_request, self._store.drop_request)
        for kind in BESIDE:
            await self._take(
                kind,
                self._store.beside[kind],
                partial(self._store.put_beside, kind),
                partial(self._store.drop_beside, kind),
            )
        self._done = time.monotonic()

    async def _take(
        self,
        kind: str,
        known: Mapping[Key, Document],
        put: Callable[[Document], None],
        drop: Callable[[Key, str], None],
    ) -> None:
        """All of a kind in the namespaces that are served, a page at a time: ten thousand requests as they are sent
        take several times the memory of what is kept of them."""
        before, gone = dict(known), self._store.gone
        missing = set(before)
        for namespace in self._namespaces:
            try:
                async for page in self._kube.pages(path_of(GROUP, VERSION, kind, namespace=namespace)):
                    for document in page.get("items") or ():
                        _must_be_news(kind, document, before.get(key_of(document)), gone)
                        put(document)
                        missing.discard(key_of(document))
            except ApiError as error:
                if error.status != 403 or not namespace:
                    raise
                # Who may delete a namespace, or the Role in it, must not stop what all others asked for.
                log.warning("%s of namespace %s cannot be listed: %s", kind, namespace, error)
                if not await self._cluster.namespace_missing(namespace):
                    missing = {key for key in missing if key.namespace != namespace}
        for key in missing:
            drop(key, before[key]["metadata"]["uid"])


def _must_be_news(kind: str, listed: Document, known: Document | None, gone: Collection[str]) -> None:
    """`known` and `gone` (UIDs) are from before the list was asked for, and a list is never older than that. Raises
    `RewoundError` if it is."""
    metadata = listed["metadata"]
    present, last = int(metadata["resourceVersion"]), 0
    if known is not None and known["metadata"]["uid"] == metadata["uid"]:
        last = int(known["metadata"]["resourceVersion"])
    elif metadata["uid"] in gone and not going(listed):
        last = present + 1  # it had one more when it was deleted, at the least
    if present < last:
        raise RewoundError(f"{kind}/{metadata['name']}", present, last)
