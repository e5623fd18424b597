"""Where rows of the history are kept that wait for their table and that nothing else tells of."""

from __future__ import annotations

import json
from collections.abc import Mapping

from export_operator.adapters.kept import KeptStore
from export_operator.adapters.kube import Kube
from export_operator.domain.history import Row

NAME = "export-operator-history"
KEY = "rows.json.gz"


class Unwritten(KeptStore[Mapping[str, Row]]):
    """Reads and replaces the object: rows by run."""

    def __init__(self, kube: Kube, namespace: str) -> None:
        super().__init__(kube, namespace, NAME, KEY, render=_render, parse=_parse)


def _render(rows: Mapping[str, Row]) -> str:
    return json.dumps(list(rows.values()), ensure_ascii=False, separators=(",", ":"))


def _parse(text: str) -> Mapping[str, Row]:
    try:
        return {row["run"]: row for row in json.loads(text)}
    except (KeyError, TypeError) as error:
        raise ValueError(f"it has no rows: {error}") from error
