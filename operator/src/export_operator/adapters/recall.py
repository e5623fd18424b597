"""What the ledger has forgotten, the manifests know: earlier results of a request, read where its objects are."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

from export_contract import names
from export_contract.manifest import Manifest
from export_operator.adapters import storage
from export_operator.adapters.kube import Kube
from export_operator.adapters.storage import Bucket, StorageError
from export_operator.domain.manifests import MAX_BYTES, NotAManifestError, read
from export_operator.domain.sweep import Stored

SECONDS = 20.0  # for one place, all told: a worker of the queue waits for it
MAX_PAGES = 10  # of a thousand objects
MAX_READ = 16  # manifests: of runs of one name, the newest


async def manifests(kube: Kube, run_namespace: str, place: Mapping[str, Any], folder: str) -> list[Manifest]:
    """Those of all runs whose objects are in `folder`/<run>/; `place` is the spec of an ExportDestination. None where
    only the service account of export pods may read. Raises `StorageError`."""
    if not place.get("credentialsSecret"):
        return []
    try:
        async with asyncio.timeout(SECONDS), storage.opened(kube, run_namespace, place) as bucket:
            found = await _listed(bucket, f"{folder}/")
            newest = sorted(found, key=lambda each: each.modified, reverse=True)[:MAX_READ]
            texts = await asyncio.gather(*(_read(bucket, each.key) for each in newest))
    except TimeoutError:
        raise StorageError(f"bucket {place['bucket']!r}: no answer within {SECONDS:.0f} s") from None
    return list(_valid(zip(newest, texts, strict=True), place))


async def _listed(bucket: Bucket, folder: str) -> list[Stored]:
    found: list[Stored] = []
    pages = 0
    async for page in bucket.pages(folder):
        found += [each for each in page if each.key.removeprefix(folder).partition("/")[2] == names.MANIFEST]
        pages += 1
        if pages == MAX_PAGES:
            break
    return [each for each in found if each.size <= MAX_BYTES]


async def _read(bucket: Bucket, key: str) -> bytes:
    """Empty when it is gone by now."""
    try:
        return await bucket.read(key, MAX_BYTES)
    except StorageError as error:
        if error.code != "NoSuchKey":
            raise
        return b""


def _valid(texts: Iterator[tuple[Stored, bytes]], place: Mapping[str, Any]) -> Iterator[Manifest]:
    for stored, text in texts:
        try:
            manifest, _ = read(text, stored.key, place)
        except NotAManifestError:
            continue
        yield manifest
