"""The form of the output: format, compression, layout and options, under the policy's defaults and limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast, get_args

from export_contract import outputs, runspec
from export_operator.domain.lookup import RefusalError, not_allowed
from export_operator.domain.model import Request
from export_operator.domain.policy import Policy

OPTIONS: Mapping[str, tuple[str, ...]] = {"csv": ("CSV",), "json": ("JSON", "NDJSON")}
"""Which formats a group of options is for."""


def find_output(request: Request, policy: Policy) -> runspec.Output:
    """What the request asks for, completed by the policy. Raises `RefusalError`."""
    given = request.spec.get("output") or {}

    def resolve(name: str) -> Any:
        return policy.default(name) if given.get(name) is None else given[name]

    output_format = resolve("format")
    if output_format not in get_args(runspec.Format):
        raise RefusalError(
            "FormatNotSupported",
            f"spec.output.format: {output_format!r} is not one of {', '.join(get_args(runspec.Format))}.",
        )
    if not policy.allows("formats", output_format):
        raise RefusalError("FormatNotAllowed", not_allowed("spec.output.format", output_format, policy, "formats"))
    layout = resolve("layout")
    if layout not in get_args(runspec.Layout):
        raise RefusalError(
            "LayoutNotSupported",
            f"spec.output.layout: {layout!r} is not one of {', '.join(get_args(runspec.Layout))}.",
        )
    if not policy.allows("layouts", layout):
        raise RefusalError("LayoutNotAllowed", not_allowed("spec.output.layout", layout, policy, "layouts"))
    _refuse_options_of_others(given, output_format)
    found = runspec.Output(
        format=cast("Any", output_format),
        compression=cast("Any", resolve("compression")),
        layout=cast("Any", layout),
        on_unrepresentable=cast("Any", given.get("onUnrepresentable") or "Refuse"),
        csv=_csv(given.get("csv") or {}),
        json=_json(given.get("json") or {}),
    )
    if problem := outputs.problem(found):
        raise RefusalError("OutputInvalid", f"spec.output.{problem}")
    return found


def _refuse_options_of_others(given: Mapping[str, Any], output_format: str) -> None:
    """The format may be the policy's, so the API server cannot tell."""
    for options, formats in OPTIONS.items():
        if given.get(options) is not None and output_format not in formats:
            raise RefusalError(
                "OutputInvalid",
                f"spec.output.{options}: these options are for {' and '.join(formats)}, and the format is"
                f" {output_format}. Create a new request without them, or with spec.output.format {formats[0]}.",
            )


def _csv(given: Mapping[str, Any]) -> runspec.CsvOptions:
    usual = runspec.CsvOptions()
    return runspec.CsvOptions(
        delimiter=given.get("delimiter", usual.delimiter),
        header=given.get("header", usual.header),
        null_text=given.get("nullText", usual.null_text),
        quoting=given.get("quoting", usual.quoting),
        line_end=given.get("lineEnd", usual.line_end),
        neutralise_formulas=given.get("neutraliseFormulas", usual.neutralise_formulas),
    )


def _json(given: Mapping[str, Any]) -> runspec.JsonOptions:
    usual = runspec.JsonOptions()
    return runspec.JsonOptions(
        big_numbers=given.get("bigNumbers", usual.big_numbers),
        non_finite=given.get("nonFinite", usual.non_finite),
        bytea=given.get("bytea", usual.bytea),
    )
