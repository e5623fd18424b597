"""CSV after RFC 4180: UTF-8, a header, comma, `"` doubled inside quotes, LF between records.

NULL is an empty field, the empty string is `""`, so `COPY … FROM … (FORMAT csv, HEADER)` reads both apart. With one
column NULL is `\\N`, because many readers skip an empty line; texts are always quoted there, so a text `\\N` is `"\\N"`
(`COPY … (FORMAT csv, HEADER, NULL '\\N')`).
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import polars as pl

from export_runner.formats.base import Format
from export_runner.formats.columns import FLOATS, Kept, float_text, has_special_floats
from export_runner.frames.decoder import Column
from export_runner.frames.text import POSTGRESQL

if TYPE_CHECKING:
    from polars._typing import CsvQuoteStyle

ONE_COLUMN_NULL = "\\N"


class CsvFormat(Format):
    """Numbers and booleans plain, times as PostgreSQL writes them in UTC, bytea as `\\x…`."""

    content_type: ClassVar[str] = "text/csv; charset=utf-8; header=present"

    def header(self) -> bytes:
        return ",".join(_quoted(field.name) for field in self._fields).encode() + b"\n"

    def block(self, columns: Sequence[Column]) -> bytes:
        kept = Kept(POSTGRESQL)
        frame = pl.DataFrame([kept.plain(column).alias(str(number)) for number, column in enumerate(columns)])
        special = [str(number) for number, column in enumerate(columns) if has_special_floats(column)]
        if special:
            frame = frame.with_columns(float_text(pl.col(name)).alias(name) for name in special)
        out = io.BytesIO()
        if len(columns) == 1:
            # Floats are text where NaN is among them, and are written alike everywhere.
            style: CsvQuoteStyle = "never" if columns[0].field.kind in FLOATS else "non_numeric"
            frame.write_csv(out, include_header=False, quote_style=style, null_value=ONE_COLUMN_NULL)
        else:
            frame.write_csv(out, include_header=False)
        return out.getvalue()


def _quoted(name: str) -> str:
    special = any(character in name for character in ',"\r\n') or name != name.strip()
    return '"' + name.replace('"', '""') + '"' if special else name
