"""Where the outbox is kept."""

from __future__ import annotations

from export_operator.adapters.kept import KeptStore
from export_operator.adapters.kube import Kube
from export_operator.domain.outbox import Outbox

NAME = "export-operator-notifications"
KEY = "outbox.json.gz"


class OutboxStore(KeptStore[Outbox]):
    """Reads and replaces the object."""

    def __init__(self, kube: Kube, namespace: str) -> None:
        super().__init__(kube, namespace, NAME, KEY, render=Outbox.render, parse=Outbox.parse)
