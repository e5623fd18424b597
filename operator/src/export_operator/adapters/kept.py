"""Values that outlive the process: each in a ConfigMap of the run namespace, written by compare-and-swap."""

from __future__ import annotations

import base64
import gzip
import logging
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from export_operator.adapters.kube import Kube, path_of
from export_operator.domain.model import LABEL_MANAGED_BY, MANAGED_BY

log = logging.getLogger(__name__)

MAX_BYTES = 750_000  # in base64 it is 1 MB, which Kubernetes takes, as the client does in one piece
COMPRESSED = ".gz"

T = TypeVar("T")


class FullError(Exception):
    """More than one object holds."""


@dataclass(frozen=True, slots=True)
class Kept(Generic[T]):
    """The value as it is kept; "" is the version of what is not there yet, None what cannot be read."""

    version: str
    value: T | None


class KeptStore(Generic[T]):
    """Reads and replaces the object `name`, whose `key` has the text that `render` makes of the value; compressed, and
    not more of it than fits, where the key ends in .gz. `parse` raises `ValueError`."""

    def __init__(
        self,
        kube: Kube,
        namespace: str,
        name: str,
        key: str,
        *,
        render: Callable[[T], str],
        parse: Callable[[str], T],
    ) -> None:
        self._kube = kube
        self._namespace = namespace
        self._name = name
        self._key = key
        self._render = render
        self._parse = parse
        self._path = path_of("", "v1", "configmaps", namespace=namespace)

    async def load(self) -> Kept[T]:
        """Raises `ApiError`."""
        found = await self._kube.find(f"{self._path}/{self._name}")
        if found is None:
            return Kept("", None)
        version = found["metadata"]["resourceVersion"]
        try:
            return Kept(version, self._parse(self._unpack(found)))
        except (EOFError, OSError, ValueError, zlib.error) as error:
            log.warning("ConfigMap %s in %s cannot be read, it begins anew: %s", self._name, self._namespace, error)
            return Kept(version, None)

    async def save(self, value: T, version: str) -> Kept[T]:
        """Replace what was read at `version`. Raises `ApiError`: a conflict when it is not the present one; and
        `FullError`."""
        metadata: dict[str, Any] = {
            "name": self._name,
            "namespace": self._namespace,
            "labels": {LABEL_MANAGED_BY: MANAGED_BY},
        }
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, **self._pack(self._render(value))}
        if version:
            metadata["resourceVersion"] = version
            written = await self._kube.replace(f"{self._path}/{self._name}", body)
        else:
            written = await self._kube.create(self._path, body)
        return Kept(written["metadata"]["resourceVersion"], value)

    def _pack(self, text: str) -> Mapping[str, Any]:
        if not self._key.endswith(COMPRESSED):
            return {"data": {self._key: text}}
        packed = gzip.compress(text.encode(), mtime=0)
        if len(packed) > MAX_BYTES:
            raise FullError(f"ConfigMap {self._name} holds {MAX_BYTES} bytes, and {len(packed)} are to be kept")
        return {"binaryData": {self._key: base64.b64encode(packed).decode()}}

    def _unpack(self, found: Mapping[str, Any]) -> str:
        if not self._key.endswith(COMPRESSED):
            return str((found.get("data") or {}).get(self._key, ""))
        packed = base64.b64decode((found.get("binaryData") or {}).get(self._key, ""))
        return gzip.decompress(packed).decode()
