"""The API server as far as those ask it who keep a value in a ConfigMap."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from export_operator.adapters.kube import ApiError

from .hand import Hand, unreachable

Document = dict[str, Any]


class Shelf(Protocol):
    """What outlives every process: the object, and a number that rises."""

    kept: Document | None

    def next(self) -> str: ...


class ConfigMaps:
    """The one called `name`, by way of an operator's `hand`."""

    def __init__(self, shelf: Shelf, hand: Hand, name: str) -> None:
        self._shelf = shelf
        self._hand = hand
        self._name = name

    async def find(self, path: str) -> Document | None:
        assert path.endswith(f"/configmaps/{self._name}")
        async with self._hand.call(unreachable):
            return self._shelf.kept

    async def create(self, _: str, body: Mapping[str, Any]) -> Document:
        async with self._hand.call(unreachable):
            if self._shelf.kept is not None:
                raise ApiError(409, "AlreadyExists", self._name)
            return self._keep(body)

    async def replace(self, path: str, body: Mapping[str, Any]) -> Document:
        async with self._hand.call(unreachable):
            if self._shelf.kept is None:
                raise ApiError(404, "NotFound", path)
            if self._shelf.kept["metadata"]["resourceVersion"] != body["metadata"]["resourceVersion"]:
                raise ApiError(409, "Conflict", path)
            return self._keep(body)

    def _keep(self, body: Mapping[str, Any]) -> Document:
        self._shelf.kept = {**body, "metadata": {**body["metadata"], "resourceVersion": self._shelf.next()}}
        return self._shelf.kept
