"""Are sources and destinations there? Each is asked on its own, so that a slow one delays no other."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from export_contract import environment
from export_operator.adapters import certificates, reach
from export_operator.adapters.certificates import CA
from export_operator.adapters.cluster import Cluster, secret_data
from export_operator.adapters.kube import ApiError, path_of
from export_operator.domain import availability, status, times
from export_operator.domain.actions import Emit
from export_operator.domain.availability import AVAILABLE, Availability
from export_operator.domain.breaker import DESTINATION, LONGEST, SOURCE
from export_operator.domain.identity import Subject
from export_operator.domain.model import GROUP, VERSION
from export_operator.gates import Gates
from export_operator.store import Store

log = logging.getLogger(__name__)

Document = Mapping[str, Any]

TICK_SECONDS = 1.0
RETRY_SECONDS = 5.0  # after the API server refused, or did not answer
AT_ONCE = 64  # probes; each takes a few seconds at most

PLURALS = {SOURCE: "exportsources", DESTINATION: "exportdestinations"}
KEYS = {
    SOURCE: ("username", "password"),
    DESTINATION: (environment.AWS_ACCESS_KEY_ID, environment.AWS_SECRET_ACCESS_KEY),
}


class Prober:
    """Feeds the circuit breakers, and writes the condition `Available` when it changes, with an Event."""

    def __init__(
        self,
        cluster: Cluster,
        store: Store,
        gates: Gates,
        clock: Callable[[], datetime],
        expires: Callable[[str, str, datetime | None], None] = lambda _kind, _name, _moment: None,
    ) -> None:
        """`expires` is told until when each one's credentials are good; None: nobody says, or it is gone."""
        self._expires = expires
        self._cluster = cluster
        self._store = store
        self._gates = gates
        self._clock = clock
        self._seen: dict[Subject, int] = {}
        self._busy: set[Subject] = set()
        self._places = asyncio.Semaphore(AT_ONCE)

    def restore(self) -> None:
        """Begin with what the conditions tell. To be called before the first request is decided on."""
        for subject, document in self._objects():
            conditions = (document.get("status") or {}).get("conditions") or ()
            self._gates.restore(subject, availability.restored(conditions, self._clock()))

    def touch(self, subject: Subject) -> None:
        """Its breaker has changed: look at it, and tell."""
        self._seen.pop(subject, None)

    async def run(self) -> None:
        """Probe each when it is due, and soon after it has changed, until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                for subject, document in self._due():
                    self._busy.add(subject)
                    group.create_task(self._probe(subject, document))
                present = {subject for subject, _ in self._objects()}
                for subject in set(self._gates.breakers) - present:
                    self._gates.drop(subject)
                    self._expires(*subject, None)
                    self._seen.pop(subject, None)
                await asyncio.sleep(TICK_SECONDS)

    def _objects(self) -> Iterator[tuple[Subject, Document]]:
        for kind, plural in PLURALS.items():
            for name, document in self._store.documents[plural].items():
                yield Subject(kind, name), document

    def _due(self) -> list[tuple[Subject, Document]]:
        now = self._clock()
        return [
            (subject, document)
            for subject, document in self._objects()
            if subject not in self._busy
            and (
                self._seen.get(subject) != _generation(document)
                or not now < self._gates.of(subject).next_probe <= now + LONGEST  # the clock may have been set back
            )
        ]

    async def _probe(self, subject: Subject, document: Document) -> None:
        try:
            async with self._places:
                await self._look(subject, document)
        except ApiError as error:
            log.info("probe of %s %s: %s", subject.kind, subject.name, error)
            self.touch(subject)
            await asyncio.sleep(RETRY_SECONDS)
        finally:
            self._busy.discard(subject)

    async def _look(self, subject: Subject, document: Document) -> None:
        spec = document["spec"]
        probed = spec.get("probe") != "Disabled"
        authority = spec.get("caSecret")
        trusted = await self._cluster.secret_object(authority["name"]) if authority else None
        fault = await self._fault(subject.kind, spec, trusted) if probed else ""
        breaker = self._gates.probed(subject, fault, self._clock(), advisory=bool(spec.get("fallback")))
        self._seen[subject] = _generation(document)
        secret = spec.get("credentialsSecret")  # a destination may leave it to the export pods' own identity
        present = await self._cluster.secret_object(secret["name"]) if secret else None
        secret_fault = self._secret_fault(subject.kind, secret["name"], present) if secret else None
        ends = [moment for each in (trusted, present) if each is not None and (moment := certificates.expiry(each))]
        self._expires(*subject, min(ends, default=None))
        found = availability.availability(breaker, address(subject.kind, spec), secret_fault, probed=probed)
        if found is not None:
            await self._tell(subject, document, found)

    async def _tell(self, subject: Subject, document: Document, found: Availability) -> None:
        generation, now = _generation(document), self._clock()
        known = document.get("status") or {}
        composed = status.Document(
            {"observedGeneration": generation}, list(known.get("conditions") or ()), generation, now
        )
        reasons = {item["reason"] for item in composed.conditions if item["type"] == AVAILABLE}
        composed.condition(AVAILABLE, found.value, found.reason, found.message)
        wanted = composed.compose()
        if wanted == dict(known):
            return
        plural = PLURALS[subject.kind]
        path = path_of(GROUP, VERSION, plural, subject.name)
        self._store.put_named(plural, await self._cluster.write_status(path, document, wanted))
        log.info("%s %s: %s: %s", subject.kind, subject.name, found.reason, found.message)
        if found.reason not in reasons and (reasons or found.warning):
            kind = "Warning" if found.warning else "Normal"
            event = Emit(kind, found.reason, found.message, times.render(now))
            await self._cluster.tell({**document, "kind": f"Export{subject.kind}"}, event, now)

    async def _fault(self, kind: str, spec: Mapping[str, Any], trusted: Document | None) -> str:
        if kind == SOURCE:
            return await reach.postgresql_fault(spec["host"], int(spec.get("port") or 5432))
        authorities = secret_data(trusted or {}).get(CA, b"").decode("ascii", "replace")
        return await reach.s3_fault(endpoint(spec), authorities)

    def _secret_fault(self, kind: str, secret: str, present: Document | None) -> tuple[str, str] | None:
        namespace = self._cluster.run_namespace
        if present is None:
            return "SecretNotFound", f"Secret {secret!r} does not exist in namespace {namespace!r}; create it there"
        missing = [key for key in KEYS[kind] if key not in (present.get("data") or {})]
        if missing:
            return "SecretIncomplete", f"Secret {secret!r} in namespace {namespace!r} lacks the key {missing[0]!r}"
        return None


def _generation(document: Document) -> int:
    return int(document["metadata"].get("generation") or 0)


def endpoint(spec: Mapping[str, Any]) -> str:
    """The URL of a destination's S3 server; AWS's own where none is given."""
    return spec.get("endpoint") or f"https://s3.{spec.get('region') or 'us-east-1'}.amazonaws.com"


def address(kind: str, spec: Mapping[str, Any]) -> str:
    """Where it is, for those who own it."""
    if kind == SOURCE:
        return f"{spec['host']}:{spec.get('port') or 5432}"
    return urlsplit(endpoint(spec)).netloc
