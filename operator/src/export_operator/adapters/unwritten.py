"""Rows of the history that wait for their table and that nothing else tells of: a ConfigMap of the run namespace,
written by compare-and-swap."""

from __future__ import annotations

import base64
import gzip
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from export_operator.adapters.kube import Kube, path_of
from export_operator.domain.history import Row
from export_operator.domain.model import LABEL_MANAGED_BY, MANAGED_BY

log = logging.getLogger(__name__)

NAME = "export-operator-history"
KEY = "rows.json.gz"
MAX_BYTES = 750_000  # in base64 it is 1 MB, which Kubernetes takes, as the client does in one piece


class FullError(Exception):
    """More rows than one object holds."""


@dataclass(frozen=True, slots=True)
class Held:
    """The rows by run, as they are kept; "" is the version of what is not there yet."""

    version: str = ""
    rows: Mapping[str, Row] = field(default_factory=dict)


class Unwritten:
    """Reads and replaces the object."""

    def __init__(self, kube: Kube, namespace: str) -> None:
        self._kube = kube
        self._path = path_of("", "v1", "configmaps", namespace=namespace)

    async def load(self) -> Held:
        """Raises `ApiError`."""
        found = await self._kube.find(f"{self._path}/{NAME}")
        if found is None:
            return Held()
        version = found["metadata"]["resourceVersion"]
        try:
            return Held(version, _unpack((found.get("binaryData") or {}).get(KEY, "")))
        except (ValueError, TypeError, KeyError, OSError, EOFError) as error:
            log.warning("ConfigMap %s cannot be read, its rows of the history are lost: %s", NAME, error)
            return Held(version)

    async def save(self, rows: Mapping[str, Row], version: str) -> Held:
        """Replace what was read at `version`. Raises `ApiError`: a conflict when it is not the present one; and
        `FullError`."""
        packed = _pack(rows)
        body = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": NAME, "labels": {LABEL_MANAGED_BY: MANAGED_BY}},
            "binaryData": {KEY: packed},
        }
        if version:
            metadata = {"name": NAME, "labels": {LABEL_MANAGED_BY: MANAGED_BY}, "resourceVersion": version}
            written = await self._kube.replace(f"{self._path}/{NAME}", body | {"metadata": metadata})
        else:
            written = await self._kube.create(self._path, body)
        return Held(written["metadata"]["resourceVersion"], dict(rows))


def _pack(rows: Mapping[str, Row]) -> str:
    text = json.dumps(list(rows.values()), ensure_ascii=False, separators=(",", ":"))
    packed = gzip.compress(text.encode(), mtime=0)
    if len(packed) > MAX_BYTES:
        raise FullError(f"{len(rows)} rows of the history take more than {MAX_BYTES} bytes")
    return base64.b64encode(packed).decode()


def _unpack(text: str) -> Mapping[str, Row]:
    if not text:
        return {}
    rows = json.loads(gzip.decompress(base64.b64decode(text)))
    return {row["run"]: row for row in rows}
