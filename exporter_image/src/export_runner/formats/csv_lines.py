"""Columns as lines of CSV, by polars: what the compiled helper does not know, or where it is missing."""

from __future__ import annotations

import io
from collections.abc import Sequence

import polars as pl

from export_runner.formats.columns import Kept, float_text, has_special_floats
from export_runner.formats.csv_dialect import BARE, FORMULA_STARTS, NO_FORMULA, Dialect
from export_runner.frames.decoder import Column
from export_runner.frames.kinds import Field
from export_runner.frames.text import POSTGRESQL


def lines(columns: Sequence[Column], dialect: Dialect) -> bytes:
    """A line for each row."""
    kept = Kept(POSTGRESQL)
    frame = pl.DataFrame([kept.plain(column).alias(str(number)) for number, column in enumerate(columns)])
    special = [str(number) for number, column in enumerate(columns) if has_special_floats(column)]
    if special:
        frame = frame.with_columns(float_text(pl.col(name)).alias(name) for name in special)
    if dialect.neutralise_formulas:
        texts = [str(number) for number, column in enumerate(columns) if column.field.kind not in NO_FORMULA]
        frame = frame.with_columns(_neutral(pl.col(name)).alias(name) for name in texts)
    out = io.BytesIO()
    # polars quotes texts that are empty, but not those that look like another NULL.
    if dialect.quoting == "Needed" and not dialect.null_text:
        frame.write_csv(out, include_header=False, separator=dialect.delimiter, line_terminator=dialect.line_end)
    else:
        cells = [_cell(pl.col(str(number)), column.field, dialect) for number, column in enumerate(columns)]
        made = frame.select(pl.concat_str(cells, separator=dialect.delimiter))
        made.write_csv(out, include_header=False, quote_style="never", line_terminator=dialect.line_end)
    return out.getvalue()


def _cell(value: pl.Expr, field: Field, dialect: Dialect) -> pl.Expr:
    bare = field.kind in BARE
    text = value.cast(pl.String) if bare else value
    quoted = pl.concat_str([pl.lit('"'), text.str.replace_all('"', '""', literal=True), pl.lit('"')])
    if dialect.quoting == "All" or (dialect.quoting == "Text" and not bare):
        return quoted.fill_null(dialect.null_text)
    ambiguous = text == dialect.null_text
    if not bare:
        for character in (dialect.delimiter, '"', "\n", "\r"):
            ambiguous |= text.str.contains(character, literal=True)
    return pl.when(ambiguous).then(quoted).otherwise(text).fill_null(dialect.null_text)


def _neutral(text: pl.Expr) -> pl.Expr:
    """A text that a spreadsheet would take for a formula, behind an apostrophe, which makes it one of text."""
    begins = text.str.slice(0, 1).is_in(list(FORMULA_STARTS))
    return pl.when(begins).then(pl.concat_str([pl.lit("'"), text])).otherwise(text)
