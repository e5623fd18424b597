"""What a bare kopf operator costs over the same objects: `python -m tests.load.bare` handles every event of an
ExportRequest by `on.event`, keeps the document, and decides nothing. It says `seen NAME VERSION` of requests that bear
the mark."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import kopf

from export_operator.domain.model import GROUP, VERSION
from export_operator.store import REQUESTS
from tests.cluster.paths import REPOSITORY
from tests.load.operators import Measured
from tests.load.plane import direct
from tests.services.processes import as_user

MARK = "load-mark"
"""Label of the requests that are waited for."""


class Bare(Measured):
    """The process."""

    def __init__(self, directory: Path, number: int, kubeconfig: Path) -> None:
        super().__init__(f"bare-{number}", directory / f"bare-{number}.log")
        self._kubeconfig = kubeconfig

    def command(self) -> Sequence[str | Path]:
        return [*as_user(""), sys.executable, "-m", "tests.load.bare"]

    def environment(self) -> Mapping[str, str]:
        return {"KUBECONFIG": str(self._kubeconfig), "PYTHONPATH": str(REPOSITORY), **direct()}

    def ready(self) -> bool:
        return self.running

    def seen(self, name: str) -> bool:
        """It has said so of a request."""
        return f"seen {name}\n" in self.log.read_text(errors="replace")


def main() -> None:
    """Until it is killed."""
    registry = kopf.OperatorRegistry()
    known: dict[tuple[str, str], Any] = {}

    @kopf.on.startup(registry=registry)
    def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
        settings.peering.standalone = True
        settings.scanning.disabled = True
        settings.posting.enabled = False

    kopf.on.login(registry=registry)(kopf.login_with_kubeconfig)

    @kopf.on.event(GROUP, VERSION, REQUESTS, registry=registry)
    async def event(event: kopf.RawEvent, **_: Any) -> None:
        document: dict[str, Any] = dict(event["object"])
        metadata = document["metadata"]
        known[(metadata["namespace"], metadata["name"])] = document
        if MARK in (metadata.get("labels") or {}):
            print("seen", metadata["name"], flush=True)

    asyncio.run(kopf.operator(registry=registry, clusterwide=True))


if __name__ == "__main__":
    main()
