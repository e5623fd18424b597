"""Values that outlive the process: each in a ConfigMap of the run namespace, written by compare-and-swap."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from export_operator.adapters.kube import Kube, path_of
from export_operator.domain.model import LABEL_MANAGED_BY, MANAGED_BY

log = logging.getLogger(__name__)


class Rendered(Protocol):
    """What can be kept."""

    def render(self) -> str: ...


T = TypeVar("T", bound=Rendered)


@dataclass(frozen=True, slots=True)
class Kept(Generic[T]):
    """The value as it is kept; "" is the version of what is not there yet, None what cannot be read."""

    version: str
    value: T | None


class KeptStore(Generic[T]):
    """Reads and replaces the object `name`, whose `key` has the text. `parse` raises `ValueError`."""

    def __init__(self, kube: Kube, namespace: str, name: str, key: str, parse: Callable[[str], T]) -> None:
        self._kube = kube
        self._namespace = namespace
        self._name = name
        self._key = key
        self._parse = parse
        self._path = path_of("", "v1", "configmaps", namespace=namespace)

    async def load(self) -> Kept[T]:
        """Raises `ApiError`."""
        found = await self._kube.find(f"{self._path}/{self._name}")
        if found is None:
            return Kept("", None)
        version = found["metadata"]["resourceVersion"]
        try:
            return Kept(version, self._parse((found.get("data") or {}).get(self._key, "")))
        except ValueError as error:
            log.warning("ConfigMap %s in %s cannot be read, it begins anew: %s", self._name, self._namespace, error)
            return Kept(version, None)

    async def save(self, value: T, version: str) -> Kept[T]:
        """Replace what was read at `version`. Raises `ApiError`: a conflict when it is not the present one."""
        metadata: dict[str, Any] = {
            "name": self._name,
            "namespace": self._namespace,
            "labels": {LABEL_MANAGED_BY: MANAGED_BY},
        }
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {self._key: value.render()}}
        if version:
            metadata["resourceVersion"] = version
            written = await self._kube.replace(f"{self._path}/{self._name}", body)
        else:
            written = await self._kube.create(self._path, body)
        return Kept(written["metadata"]["resourceVersion"], value)
