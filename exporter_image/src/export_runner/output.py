"""The form of the output, checked before anything is connected to."""

from __future__ import annotations

from export_contract.failures import Failure
from export_contract.outputs import problem
from export_contract.runspec import Output
from export_runner.errors import ExportError


def validate(output: Output) -> None:
    """Raises `ExportError` (InvalidRunSpec) naming the first option that is not allowed."""
    if wrong := problem(output):
        raise ExportError(Failure.INVALID_RUN_SPEC, f"output.{wrong}")
