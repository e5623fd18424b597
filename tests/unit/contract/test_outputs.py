"""Which forms of output exist, and what is said of the others."""

from __future__ import annotations

import pytest

from export_contract.outputs import problem
from export_contract.runspec import CsvOptions, Output

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("delimiter", [",", ";", "|", "\t", " ", "~", "\\", ":", "'"])
def test_a_delimiter_may_be_a_tab_or_a_sign(delimiter: str) -> None:
    assert problem(Output(csv=CsvOptions(delimiter=delimiter))) is None


@pytest.mark.parametrize(
    "delimiter", ["", ",,", "\n", "\r", "\0", '"', "a", "E", "7", "-", "+", ".", "é", "；", "\x1f"]
)
def test_another_delimiter_is_refused_with_what_is_allowed(delimiter: str) -> None:
    assert str(problem(Output(csv=CsvOptions(delimiter=delimiter)))).startswith(
        f"csv.delimiter: {delimiter!r} must be a tab or one printable ASCII character"
    )


@pytest.mark.parametrize("text", ["", "NULL", "\\N", "NaN", "-", "0", "true", " ", "∅"])
def test_null_may_be_any_text_that_needs_no_quotes(text: str) -> None:
    assert problem(Output(csv=CsvOptions(null_text=text))) is None


@pytest.mark.parametrize("text", ["a;b", '"', "a\nb", "a\rb", "a\0b"])
def test_a_null_that_would_need_quotes_is_refused(text: str) -> None:
    assert str(problem(Output(csv=CsvOptions(delimiter=";", null_text=text)))).startswith(
        f"csv.nullText: {text!r} must"
    )


def test_options_of_another_format_do_not_matter() -> None:
    assert problem(Output(format="NDJSON", csv=CsvOptions(delimiter="delimiter"))) is None


@pytest.mark.parametrize(("compression", "allowed"), [("None", True), ("Zstd", True), ("Gzip", False)])
def test_an_arrow_stream_has_no_gzip(compression: str, allowed: bool) -> None:
    output = Output(format="ArrowStream", compression=compression)  # type: ignore[arg-type]
    assert (problem(output) is None) is allowed
