"""The dataset's parameters, checked before anything is connected to."""

from __future__ import annotations

from collections.abc import Sequence

from export_contract.failures import Failure
from export_contract.parameters import problem
from export_contract.runspec import Parameter
from export_runner.errors import ExportError


def validate(parameters: Sequence[Parameter]) -> None:
    """Raises `ExportError` (InvalidParameter) naming the first parameter whose value is not of its type."""
    for parameter in parameters:
        if wrong := problem(parameter):
            raise ExportError(Failure.INVALID_PARAMETER, f"Parameter {parameter.name!r}: {wrong}")
