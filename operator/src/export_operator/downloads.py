"""ExportDownloads: observe → decide → look for the objects → sign them → write, one download at a time.

A link is in two places: in the memory of this process while it is made, and in the Secret.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from typing import Any

from export_operator.adapters.cluster import Cluster
from export_operator.adapters.kube import ApiError, path_of
from export_operator.adapters.storage import CONNECTIONS, UNSEEN, Bucket, StorageError
from export_operator.adapters.witnesses import places
from export_operator.domain import download, links
from export_operator.domain.actions import Emit
from export_operator.domain.download import Download, Links, Refuse, Remove, Rest, Search, Seen, Told, Wait
from export_operator.domain.identity import Enforcement
from export_operator.domain.links import Object
from export_operator.domain.manifests import MAX_BYTES, NotAManifestError
from export_operator.domain.model import GROUP, VERSION, Key, Request, parse_request, parse_stamped
from export_operator.logs import concerning
from export_operator.store import DOWNLOADS, REQUESTS, Document, Store
from export_operator.workqueue import WorkQueue

log = logging.getLogger(__name__)

KIND = DOWNLOADS
WORKERS = 2  # a herd of downloads is no load for a bucket, and one that is away holds up few

Open = Callable[[Mapping[str, Any]], AbstractAsyncContextManager[Bucket]]
"""Opens the bucket of a destination's spec, or of what has its fields."""


class Downloads:
    """Serves every ExportDownload of the store. `markers`: see `gitops.manager`; `clock` gives the present moment."""

    def __init__(
        self,
        *,
        store: Store,
        cluster: Cluster,
        open_bucket: Open,
        identity: Callable[[], Enforcement],
        markers: Collection[str],
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._cluster = cluster
        self._open = open_bucket
        self._identity = identity
        self._markers = markers
        self._clock = clock
        self._queue: WorkQueue[Key] = WorkQueue(self.look, WORKERS, (ApiError,))
        self._waiting: dict[Key, set[Key]] = defaultdict(set)
        """By request, the downloads that are to be looked at when it changes."""

    async def run(self) -> None:
        """Until cancelled."""
        # Not before: a standby would remember every download that changes.
        self._store.listen(KIND, self._queue.add)
        self._store.listen(REQUESTS, self._request_changed)
        self.look_again()
        await self._queue.run()

    def look_again(self) -> None:
        """At every download."""
        for key in self._store.beside[KIND]:
            self._queue.add(key)

    def _request_changed(self, request: Key) -> None:
        for key in self._waiting.pop(request, ()):
            self._queue.add(key)

    async def look(self, key: Key) -> float | None:
        """Do what is to be done about a download now; the answer is when to look again (seconds), None for "on change".
        Raises `ApiError`."""
        document = self._store.beside[KIND].get(key)
        if document is None:
            return None
        asked = parse_stamped(document, Download)
        concerning(asked.request)
        answer = download.decide(await self._observe(asked), self._clock())
        if isinstance(answer, Search):
            answer = download.bounded(asked, answer, await self._search(asked, answer), self._clock())
        if isinstance(answer, Remove):
            await self._cluster.delete(download_path(key), asked)
        elif not isinstance(answer, Rest):
            await self._write(document, asked, answer)
        return answer.seconds if isinstance(answer, Wait | Rest) else None

    async def _observe(self, asked: Download) -> Seen:
        request: Request | None = None
        granted: set[str] = set()
        if not asked.over:
            self._waiting[asked.request].add(asked.key)  # before it is read, so that no change is missed
            known = self._store.requests.get(asked.request)
            request = parse_request(known) if known is not None else None
        if request is not None and request.requester != asked.requester:
            granted = await self._cluster.granted(asked.requester, asked.groups, request.requester, asked.key.namespace)
        return Seen(asked, request, self._store.catalogue(), self._identity(), granted, self._markers)

    async def _search(self, asked: Download, search: Search) -> Wait | Refuse | Links:
        """Look in the destination, then in the bucket of its fallback."""
        troubles: list[str] = []
        for place in places(search.destination.name, search.destination.spec):
            if not place.spec.get("credentialsSecret"):
                continue
            try:
                async with self._open(place.spec) as bucket:
                    found = await self._find(bucket, search, place.spec)
                if isinstance(found, Refuse):
                    return found
                if found is not None:
                    return await self._link(asked, search, place.spec, found)
            except StorageError as error:
                troubles.append(str(error))
        return download.absent(search, troubles)

    async def _find(self, bucket: Bucket, search: Search, place: Mapping[str, Any]) -> Sequence[Object] | Refuse | None:
        """What the run has delivered here, if it is still there; None: there is no manifest. Raises `StorageError`."""
        key = search.at.keys(place).manifest
        try:
            text = await bucket.read(key, MAX_BYTES)
        except StorageError as error:
            if error.code in UNSEEN:
                return None
            raise
        try:
            objects = links.objects(text, place, search.at, search.request.requester)
        except NotAManifestError as error:
            return Refuse("ManifestInvalid", f"s3://{bucket.name}/{key} is no manifest of this run: {error}")
        for start in range(0, len(objects), CONNECTIONS):
            some = objects[start : start + CONNECTIONS]
            for each, held in zip(some, await asyncio.gather(*(bucket.look(each.key) for each in some)), strict=True):
                if held is None or held.size != each.bytes:
                    problem = f"s3://{bucket.name}/{each.key} is gone, or is not what was delivered"
                    return Refuse("ObjectsNotFound", problem)
                if held.archived:
                    problem = (
                        f"s3://{bucket.name}/{each.key} is in an archive, which must give it back before it is read"
                    )
                    return Refuse("ObjectsArchived", problem)
        return objects

    async def _link(
        self, asked: Download, search: Search, place: Mapping[str, Any], objects: Sequence[Object]
    ) -> Wait | Refuse | Links:
        """Sign links to the objects and put them into a Secret. Raises `StorageError`, `ApiError`."""
        now = self._clock()
        async with self._open(links.public(place)) as signer:
            seconds = links.lifetime(search.most, signer.temporary, signer.until, now)
            if seconds < links.LEAST_SECONDS:
                text = f"the key of bucket {signer.name!r} ends too soon for links: it is waited for the next one"
                return Wait("CredentialsEnding", text, download.LOOK_AGAIN_SECONDS)
            keys = [*(each.key for each in objects), search.at.keys(place).manifest]
            *urls, manifest_url = await signer.presign(keys, seconds)
        data = links.secret_data(objects, urls, manifest_url)
        if data is None:
            text = f"links to {len(objects)} objects do not fit into a Secret: ask the platform team for the objects"
            return Refuse("TooManyObjects", text)
        try:
            name = await self._cluster.create_secret(links.secret(asked, search.at.run, data))
        except ApiError as error:
            if error.status != 403:
                raise
            return _forbidden(asked, error)
        until = now + timedelta(seconds=seconds)
        return Links(search.at.run, len(objects), name, until, links.note(asked.seconds, search.most, seconds, place))

    async def _write(self, document: Document, asked: Download, answer: Told) -> None:
        now = self._clock()
        wanted = download.status(asked, answer, now)
        if wanted == asked.status:
            return
        written = await self._cluster.write_status(download_path(asked.key), document, wanted)
        log.info("%s %s: %s (%s): %s", KIND, asked.key, wanted["phase"], wanted["reason"], wanted["message"])
        if isinstance(answer, Links | Refuse):
            kind = "Normal" if isinstance(answer, Links) else "Warning"
            await self._cluster.tell(document, Emit(kind, wanted["reason"], wanted["message"], ""), now)
        self._store.put_beside(KIND, written)


def _forbidden(asked: Download, error: ApiError) -> Wait:
    """A 403: no right, or a quota of the namespace, or its end."""
    if 'cannot create resource "secrets"' not in error.message:
        return Wait("SecretNotCreated", f"the Secret was refused: {error.message}", download.LOOK_AGAIN_SECONDS)
    text = (
        f"the operator may not create Secrets in namespace {asked.key.namespace!r}, where the links would stand: the"
        " platform team allows it by the chart's downloads.namespaces, or by a RoleBinding to the ClusterRole"
        " export-operator-downloads there"
    )
    return Wait("SecretsForbidden", text, download.LOOK_AGAIN_SECONDS)


def download_path(key: Key) -> str:
    return path_of(GROUP, VERSION, KIND, key.name, namespace=key.namespace)
