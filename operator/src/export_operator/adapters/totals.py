"""Where the totals of ended runs are kept."""

from __future__ import annotations

from export_operator.adapters.kept import KeptStore
from export_operator.adapters.kube import Kube
from export_operator.domain.totals import Totals

NAME = "export-operator-totals"
KEY = "totals.json"


class TotalsStore(KeptStore[Totals]):
    """Reads and replaces the object."""

    def __init__(self, kube: Kube, namespace: str) -> None:
        super().__init__(kube, namespace, NAME, KEY, render=Totals.render, parse=Totals.parse)
