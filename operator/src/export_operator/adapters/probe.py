"""Are sources and destinations there? A TCP connection and the Secret's keys: cheap, and nobody logs in."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from export_contract import environment
from export_operator.adapters.cluster import Cluster
from export_operator.adapters.kube import ApiError, Kube, path_of
from export_operator.domain import status
from export_operator.domain.model import GROUP, VERSION
from export_operator.store import Store

log = logging.getLogger(__name__)

EVERY_SECONDS = 60.0
CONNECT_SECONDS = 3.0

KEYS = {
    "exportsources": ("username", "password"),
    "exportdestinations": (environment.AWS_ACCESS_KEY_ID, environment.AWS_SECRET_ACCESS_KEY),
}


class Prober:
    """Writes the condition `Available` of sources and destinations, when it changes."""

    def __init__(self, kube: Kube, cluster: Cluster, store: Store, clock: Callable[[], datetime]) -> None:
        self._kube = kube
        self._cluster = cluster
        self._store = store
        self._clock = clock

    async def run(self) -> None:
        """Probe all, every minute and soon after one has changed, until cancelled."""
        seen: dict[tuple[str, str], tuple[int, float]] = {}
        loop = asyncio.get_running_loop()
        while True:
            for kind in KEYS:
                for name, document in list(self._store.documents[kind].items()):
                    generation, due = seen.get((kind, name), (-1, 0.0))
                    present = int(document["metadata"].get("generation") or 0)
                    if present != generation or loop.time() >= due:
                        seen[kind, name] = (present, loop.time() + EVERY_SECONDS)
                        await self._probe(kind, name, document)
            await asyncio.sleep(1.0)

    async def _probe(self, kind: str, name: str, document: Mapping[str, Any]) -> None:
        try:
            reason, message = await self._find_fault(kind, document["spec"]) or (
                "Reachable",
                "it answers, and its Secret, if it names one, is there",
            )
            generation = int(document["metadata"].get("generation") or 0)
            known = document.get("status") or {}
            found = status.Document(
                {"observedGeneration": generation}, list(known.get("conditions") or ()), generation, self._clock()
            )
            found.condition("Available", reason == "Reachable", reason, message)
            composed = found.compose()
            if composed != dict(known):
                path = path_of(GROUP, VERSION, kind, name)
                self._store.put_named(kind, await self._cluster.write_status(path, document, composed))
        except ApiError as error:
            log.info("probe of %s %s: %s", kind, name, error)

    async def _find_fault(self, kind: str, spec: Mapping[str, Any]) -> tuple[str, str] | None:
        secret = spec.get("credentialsSecret")  # a destination may leave it to the export pods' own identity
        if secret and (fault := await self._find_secret_fault(kind, secret["name"])):
            return fault
        host, port = _address(kind, spec)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, writer = await asyncio.open_connection(host, port)
            writer.close()
        except (OSError, TimeoutError) as error:
            return "Unreachable", f"no TCP connection to {host}:{port}: {str(error) or type(error).__name__}"
        return None

    async def _find_secret_fault(self, kind: str, secret: str) -> tuple[str, str] | None:
        namespace = self._cluster.run_namespace
        try:
            found = await self._kube.get(path_of("", "v1", "secrets", secret, namespace=namespace))
        except ApiError as error:
            if not error.not_found:
                raise
            return "SecretNotFound", f"Secret {secret!r} does not exist in namespace {namespace!r}; create it there"
        missing = [key for key in KEYS[kind] if key not in (found.get("data") or {})]
        if missing:
            return "SecretIncomplete", f"Secret {secret!r} in namespace {namespace!r} lacks the key {missing[0]!r}"
        return None


def _address(kind: str, spec: Mapping[str, Any]) -> tuple[str, int]:
    if kind == "exportsources":
        return spec["host"], int(spec.get("port") or 5432)
    endpoint = spec.get("endpoint")
    if not endpoint:
        return f"s3.{spec.get('region') or 'us-east-1'}.amazonaws.com", 443
    url = urlsplit(endpoint)
    return str(url.hostname), url.port or (443 if url.scheme == "https" else 80)
