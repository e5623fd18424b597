"""Where the totals of ended runs are kept: a ConfigMap of the run namespace, written by compare-and-swap."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from export_operator.adapters.kube import Kube, path_of
from export_operator.domain.model import LABEL_MANAGED_BY, MANAGED_BY
from export_operator.domain.totals import Totals, TotalsError

log = logging.getLogger(__name__)

NAME = "export-operator-totals"
KEY = "totals.json"


@dataclass(frozen=True, slots=True)
class Kept:
    """The totals as they are kept; "" is the version of what is not there yet, None what cannot be read."""

    version: str
    totals: Totals | None


class TotalsStore:
    """Reads and replaces the object."""

    def __init__(self, kube: Kube, namespace: str) -> None:
        self._kube = kube
        self._namespace = namespace
        self._path = path_of("", "v1", "configmaps", namespace=namespace)

    async def load(self) -> Kept:
        """Raises `ApiError`."""
        found = await self._kube.find(f"{self._path}/{NAME}")
        if found is None:
            return Kept("", None)
        version = found["metadata"]["resourceVersion"]
        try:
            return Kept(version, Totals.parse((found.get("data") or {}).get(KEY, "")))
        except TotalsError as error:
            log.warning("ConfigMap %s in %s cannot be read, counters begin anew: %s", NAME, self._namespace, error)
            return Kept(version, None)

    async def save(self, totals: Totals, version: str) -> Kept:
        """Replace what was read at `version`. Raises `ApiError`: a conflict when it is not the present one."""
        body = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": NAME, "namespace": self._namespace, "labels": {LABEL_MANAGED_BY: MANAGED_BY}},
            "data": {KEY: totals.render()},
        }
        if version:
            body["metadata"] |= {"resourceVersion": version}  # type: ignore[operator]
            written = await self._kube.replace(f"{self._path}/{NAME}", body)
        else:
            written = await self._kube.create(self._path, body)
        return Kept(written["metadata"]["resourceVersion"], totals)
