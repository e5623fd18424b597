"""CSV after RFC 4180: UTF-8, a header, comma, `"` doubled inside quotes, LF between records; options change each.

NULL is an empty field, the empty string is `""`, so `COPY … FROM … (FORMAT csv, HEADER)` reads both apart. With one
column NULL is `\\N`, because many readers skip an empty line; texts are always quoted there, so a text `\\N` is `"\\N"`
(`COPY … (FORMAT csv, HEADER, NULL '\\N')`). Whatever the options, NULL is the one cell that stands without quotes and
is the NULL text: a value that looks like it is quoted.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from export_contract.runspec import Output
from export_runner.formats.base import LINES_BLOCK, Format
from export_runner.formats.csv_dialect import FORMULA_STARTS, Dialect
from export_runner.frames.blocks import Block, Bytes
from export_runner.frames.kinds import Field

if TYPE_CHECKING:
    from export_runner.frames.decoder import Column
    from export_runner.frames.native import TextEncoder

ONE_COLUMN_NULL = "\\N"
COMPILED_DELIMITERS = frozenset(",;\t|")
"""Those that stand in no number, date or identifier, so that only texts are searched for them."""
_LINE_ENDS = {"LF": "\n", "CRLF": "\r\n"}


class CsvFormat(Format):
    """Numbers and booleans plain, times as PostgreSQL writes them in UTC, bytea as `\\x…`."""

    content_type: ClassVar[str] = "text/csv; charset=utf-8; header=present"
    usual_block: ClassVar[int] = LINES_BLOCK

    def __init__(self, fields: Sequence[Field], output: Output) -> None:
        super().__init__(fields, output)
        options = output.csv
        self._options = options
        self._dialect = Dialect(
            options.delimiter,
            _LINE_ENDS[options.line_end],
            options.null_text or (ONE_COLUMN_NULL if len(fields) == 1 else ""),
            "Text" if options.quoting == "Needed" and len(fields) == 1 else options.quoting,
            options.neutralise_formulas,
        )

    @cached_property
    def _compiled(self) -> TextEncoder | None:
        from export_runner.frames import native

        dialect = self._dialect
        if dialect.neutralise_formulas or dialect.delimiter not in COMPILED_DELIMITERS or native.library() is None:
            return None
        return native.TextEncoder(
            self._fields,
            line_end=dialect.line_end,
            delimiter=dialect.delimiter,
            null_text=dialect.null_text,
            quoting=dialect.quoting,
        )

    def compiled(self, block: Block) -> list[Bytes] | None:
        return None if self._compiled is None else self._compiled.block(block)

    @classmethod
    def media_type(cls, output: Output) -> str:
        return cls.content_type if output.csv.header else "text/csv; charset=utf-8; header=absent"

    def header(self) -> bytes:
        if not self._options.header:
            return b""
        names = [field.name for field in self._fields]
        if self._options.neutralise_formulas:
            names = ["'" + name if name.startswith(tuple(FORMULA_STARTS)) else name for name in names]
        return (self._dialect.delimiter.join(map(self._heading, names)) + self._dialect.line_end).encode()

    def block(self, columns: Sequence[Column]) -> bytes:
        from export_runner.formats.csv_lines import lines  # polars is slow to load, and seldom needed

        return lines(columns, self._dialect)

    def _heading(self, name: str) -> str:
        special = any(character in name for character in '"\r\n' + self._options.delimiter) or name != name.strip()
        quoted = special or self._options.quoting != "Needed" or not name
        return '"' + name.replace('"', '""') + '"' if quoted else name
