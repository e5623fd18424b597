"""What is looked at to verify a ledger or to make it again: its objects, requests, Jobs, and manifests in buckets and
databases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from export_contract import names
from export_contract.runspec import FallbackDatabase
from export_operator.adapters import storage
from export_operator.adapters.artifacts import artifacts
from export_operator.adapters.kube import Kube, path_of
from export_operator.adapters.runs import OURS
from export_operator.adapters.storage import Bucket, StorageError
from export_operator.domain import evidence, manifests, policy
from export_operator.domain.evidence import Evidence, Proof
from export_operator.domain.manifests import MAX_BYTES, NotAManifestError
from export_operator.domain.model import GROUP, VERSION, Catalogue, parse_job, parse_named, parse_request
from export_operator.domain.places import fallback_database
from export_operator.domain.salvage import Found, read_usage
from export_operator.domain.sweep import Stored
from export_operator.domain.windows import MAX_WINDOW
from export_operator.store import CATALOGUE

MAX_OBJECTS = 1_000_000
"""Of one bucket, a thousand a call: what is larger takes hours, and says so instead."""
READERS = 8  # manifests read at once
SHOWN = 3  # keys named in a sentence


@dataclass(frozen=True, slots=True)
class Place:
    """Where manifests may be: an ExportDestination or the bucket of its fallback. `spec` has a destination's fields."""

    destination: str
    title: str
    spec: Mapping[str, Any]


class Witnesses:
    """Reads, and changes nothing. `say` is told what takes time, in sentences."""

    def __init__(
        self, kube: Kube, run_namespace: str, namespaces: Sequence[str], say: Callable[[str], None] = lambda _: None
    ) -> None:
        self._kube = kube
        self._run_namespace = run_namespace
        self._namespaces = tuple(namespaces) or ("",)
        self._say = say

    async def ledger(self) -> tuple[Found, ...]:
        """Every object of the ledger. Raises `ApiError`."""
        path = path_of(GROUP, VERSION, "exportusages", namespace=self._run_namespace)
        return tuple([read_usage(document) async for document in self._listed(path)])

    async def catalogue(self) -> Catalogue:
        """Sources, destinations and policies. Raises `ApiError`."""
        found = []
        for kind in CATALOGUE:
            named = [parse_named(document) async for document in self._listed(path_of(GROUP, VERSION, kind))]
            found.append({each.name: each for each in named})
        sources, destinations, policies = found
        return Catalogue(sources, destinations, policies)

    async def evidence(self, catalogue: Catalogue, now: datetime) -> Evidence:
        """All that proves runs. Raises `ApiError`; a place that cannot be searched is named in `blind` instead."""
        proofs: list[Proof] = []
        uids: set[str] = set()
        for namespace in self._namespaces:
            async for document in self._listed(path_of(GROUP, VERSION, "exportrequests", namespace=namespace)):
                request = parse_request(document)
                uids.add(request.uid)
                rules = policy.select(catalogue.policies, request)
                proof = evidence.of_request(request, rules.refund_on)
                proofs += [proof] if proof else []
        jobs = set()
        path = path_of("batch", "v1", "jobs", namespace=self._run_namespace)
        async for document in self._listed(path, labelSelector=OURS):
            jobs.add(parse_job(document).run)
            proofs.append(evidence.of_job(document))
        delivered, blind = await self._deliveries(catalogue, now)
        return Evidence(evidence.combined([*proofs, *delivered]), frozenset(jobs), frozenset(uids), tuple(blind))

    async def _listed(self, path: str, **query: str) -> AsyncIterator[dict[str, Any]]:
        async for page in self._kube.pages(path, **query):
            for document in page.get("items") or ():
                yield document

    async def _deliveries(self, catalogue: Catalogue, now: datetime) -> tuple[list[Proof], list[str]]:
        proofs: list[Proof] = []
        blind: list[str] = []
        searched: set[FallbackDatabase] = set()
        for name, destination in sorted(catalogue.destinations.items()):
            for place in places(name, destination.spec):
                self._say(f"searching {place.title}, s3://{place.spec['bucket']}/{place.spec.get('prefix') or ''}")
                try:
                    async with storage.opened(self._kube, self._run_namespace, place.spec) as bucket:
                        found, strange = await self._search(bucket, place, now)
                except StorageError as error:
                    blind.append(f"{place.title} could not be searched: {error}")
                    continue
                proofs += found
                blind += _strangers(place.title, strange)
            database = fallback_database(destination.spec)
            if database is None or database in searched:
                continue
            searched.add(database)
            title = f"the database that is the fallback of ExportDestination {name!r}"
            self._say(f"searching {title}, {database.database} on {database.host}:{database.port}")
            secret = destination.spec["fallback"]["database"]["credentialsSecret"]["name"]
            try:
                found, strange = await self._artifacts(database, secret, now)
            except StorageError as error:
                blind.append(f"{title} could not be searched: {error}")
                continue
            proofs += found
            blind += _strangers(title, strange)
        return proofs, blind

    async def _artifacts(self, database: FallbackDatabase, secret: str, now: datetime) -> tuple[list[Proof], list[str]]:
        """As `_search` does."""
        proofs: list[Proof] = []
        strange: list[str] = []
        async for each in artifacts(self._kube, self._run_namespace, database, secret, now - MAX_WINDOW):
            try:
                found = manifests.artifact(each.manifest, each.run, each.created, each.destination)
            except NotAManifestError:
                strange.append(each.run)
            else:
                proofs.append(evidence.of_delivery(found))
        return proofs, strange

    async def _search(self, bucket: Bucket, place: Place, now: datetime) -> tuple[list[Proof], list[str]]:
        """The deliveries that can still count somewhere, and keys of documents that prove nothing."""
        prefix = (place.spec.get("prefix") or "").strip("/")
        proofs: list[Proof] = []
        strange: list[str] = []
        seen = 0
        async for page in bucket.pages(f"{prefix}/" if prefix else ""):
            seen += len(page)
            if seen > MAX_OBJECTS:
                raise StorageError(f"bucket {bucket.name!r} has more than {MAX_OBJECTS} objects there")
            young = [
                each for each in page if each.key.endswith(f"/{names.MANIFEST}") and each.modified + MAX_WINDOW > now
            ]
            for several in _batches(young, READERS):
                for found in await asyncio.gather(*(_read(bucket, each, place) for each in several)):
                    if isinstance(found, Proof):
                        proofs.append(found)
                    elif found:
                        strange.append(found)
        return proofs, strange


def _strangers(title: str, strange: Sequence[str]) -> list[str]:
    """What is said of keys or rows that prove nothing."""
    more = f" and {len(strange) - SHOWN} more" if len(strange) > SHOWN else ""
    return [f"{title}: no manifests of their places: {', '.join(strange[:SHOWN])}{more}"] if strange else []


def places(name: str, spec: Mapping[str, Any]) -> Iterable[Place]:
    """The buckets of an ExportDestination; a fallback is trusted by the same authority, as export pods do."""
    yield Place(name, f"ExportDestination {name!r}", spec)
    bucket = (spec.get("fallback") or {}).get("bucket")
    if bucket:
        yield Place(name, f"the fallback of ExportDestination {name!r}", {**bucket, "caSecret": spec.get("caSecret")})


async def _read(bucket: Bucket, stored: Stored, place: Place) -> Proof | str:
    """What the document proves; its key where it proves nothing, "" where it is gone by now."""
    if stored.size > MAX_BYTES:
        return stored.key
    try:
        text = await bucket.read(stored.key, MAX_BYTES)
        return evidence.of_delivery(
            manifests.delivery(text, stored.key, stored.modified, place.spec, place.destination)
        )
    except NotAManifestError:
        return stored.key
    except StorageError as error:
        if error.code != "NoSuchKey":
            raise
        return ""


def _batches(items: Sequence[Stored], size: int) -> Iterable[Sequence[Stored]]:
    return (items[start : start + size] for start in range(0, len(items), size))
