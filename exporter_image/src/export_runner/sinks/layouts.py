"""Which sink makes a layout in S3."""

from __future__ import annotations

from collections.abc import Mapping

from export_contract.runspec import RunSpec
from export_runner.retry import Retrier
from export_runner.sinks.bucket import Bucket
from export_runner.sinks.several import PartObjects
from export_runner.sinks.single import SingleObject


def bucket(spec: RunSpec, retrier: Retrier, keys: Mapping[str, str] | None = None) -> Bucket:
    """The sink for a run's destination. Reaches nobody yet. `keys` as in `client.make`. Raises `ExportError`."""
    made = SingleObject if spec.output.layout == "SingleObject" else PartObjects
    return made(spec, retrier, keys)
