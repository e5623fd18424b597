"""CSV after RFC 4180: UTF-8, a header, comma, `"` doubled inside quotes, LF between records; options change each.

NULL is an empty field, the empty string is `""`, so `COPY … FROM … (FORMAT csv, HEADER)` reads both apart. With one
column NULL is `\\N`, because many readers skip an empty line; texts are always quoted there, so a text `\\N` is `"\\N"`
(`COPY … (FORMAT csv, HEADER, NULL '\\N')`). Whatever the options, NULL is the one cell that stands without quotes and
is the NULL text: a value that looks like it is quoted.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import ClassVar

import polars as pl

from export_contract.runspec import Output
from export_runner.formats.base import Format
from export_runner.formats.columns import MOMENTS, NUMBERS, Kept, float_text, has_special_floats
from export_runner.frames import native
from export_runner.frames.blocks import Block
from export_runner.frames.decoder import Column
from export_runner.frames.kinds import Field, Kind
from export_runner.frames.text import POSTGRESQL

ONE_COLUMN_NULL = "\\N"
COMPILED_DELIMITERS = frozenset(",;\t|")
"""Those that stand in no number, date or identifier, so that only texts are searched for them."""
_LINE_ENDS = {"LF": "\n", "CRLF": "\r\n"}
_BARE = frozenset({Kind.BOOL, *NUMBERS})
_NO_FORMULA = frozenset({*_BARE, *MOMENTS, Kind.UUID, Kind.JSON, Kind.JSONB})
"""Kinds whose values a spreadsheet takes for no formula, or that nobody can make one of."""
_FORMULA_STARTS = "=+-@\t\r\n＝＋－＠"
"""owasp.org/www-community/attacks/CSV_Injection; the wide ones are taken likewise where such signs are typed."""


class CsvFormat(Format):
    """Numbers and booleans plain, times as PostgreSQL writes them in UTC, bytea as `\\x…`."""

    content_type: ClassVar[str] = "text/csv; charset=utf-8; header=present"

    def __init__(self, fields: Sequence[Field], output: Output) -> None:
        super().__init__(fields, output)
        options = output.csv
        self._options = options
        self._line_end = _LINE_ENDS[options.line_end]
        self._null = options.null_text or (ONE_COLUMN_NULL if len(fields) == 1 else "")
        self._quoting = "Text" if options.quoting == "Needed" and len(fields) == 1 else options.quoting
        # polars quotes texts that are empty, but not those that look like another NULL.
        self._plain = self._quoting == "Needed" and not self._null
        self._compiled = self._encoder()

    def _encoder(self) -> native.TextEncoder | None:
        options = self._options
        if options.neutralise_formulas or options.delimiter not in COMPILED_DELIMITERS or native.library() is None:
            return None
        return native.TextEncoder(
            self._fields,
            line_end=self._line_end,
            delimiter=options.delimiter,
            null_text=self._null,
            quoting=self._quoting,
        )

    def compiled(self, block: Block) -> list[bytes] | None:
        return None if self._compiled is None else self._compiled.block(block)

    @classmethod
    def media_type(cls, output: Output) -> str:
        return cls.content_type if output.csv.header else "text/csv; charset=utf-8; header=absent"

    def header(self) -> bytes:
        if not self._options.header:
            return b""
        names = [field.name for field in self._fields]
        if self._options.neutralise_formulas:
            names = ["'" + name if name.startswith(tuple(_FORMULA_STARTS)) else name for name in names]
        return (self._options.delimiter.join(map(self._heading, names)) + self._line_end).encode()

    def block(self, columns: Sequence[Column]) -> bytes:
        kept = Kept(POSTGRESQL)
        frame = pl.DataFrame([kept.plain(column).alias(str(number)) for number, column in enumerate(columns)])
        special = [str(number) for number, column in enumerate(columns) if has_special_floats(column)]
        if special:
            frame = frame.with_columns(float_text(pl.col(name)).alias(name) for name in special)
        if self._options.neutralise_formulas:
            texts = [str(number) for number, column in enumerate(columns) if column.field.kind not in _NO_FORMULA]
            frame = frame.with_columns(_neutral(pl.col(name)).alias(name) for name in texts)
        out = io.BytesIO()
        if self._plain:
            frame.write_csv(
                out, include_header=False, separator=self._options.delimiter, line_terminator=self._line_end
            )
        else:
            cells = [self._cell(pl.col(str(number)), column.field) for number, column in enumerate(columns)]
            lines = frame.select(pl.concat_str(cells, separator=self._options.delimiter))
            lines.write_csv(out, include_header=False, quote_style="never", line_terminator=self._line_end)
        return out.getvalue()

    def _cell(self, value: pl.Expr, field: Field) -> pl.Expr:
        bare = field.kind in _BARE
        text = value.cast(pl.String) if bare else value
        quoted = pl.concat_str([pl.lit('"'), text.str.replace_all('"', '""', literal=True), pl.lit('"')])
        if self._quoting == "All" or (self._quoting == "Text" and not bare):
            return quoted.fill_null(self._null)
        ambiguous = text == self._null
        if not bare:
            for character in (self._options.delimiter, '"', "\n", "\r"):
                ambiguous |= text.str.contains(character, literal=True)
        return pl.when(ambiguous).then(quoted).otherwise(text).fill_null(self._null)

    def _heading(self, name: str) -> str:
        special = any(character in name for character in '"\r\n' + self._options.delimiter) or name != name.strip()
        quoted = special or self._options.quoting != "Needed" or not name
        return '"' + name.replace('"', '""') + '"' if quoted else name


def _neutral(text: pl.Expr) -> pl.Expr:
    """A text that a spreadsheet would take for a formula, behind an apostrophe, which makes it one of text."""
    begins = text.str.slice(0, 1).is_in(list(_FORMULA_STARTS))
    return pl.when(begins).then(pl.concat_str([pl.lit("'"), text])).otherwise(text)
