"""NDJSON, one object a line, and JSON, one array of the same lines.

Numbers are JSON numbers with all their digits; NaN and infinities, which JSON has no word for, are strings. json and
jsonb stand as they are, on one line. Everything else is a string: times after RFC 3339 in UTC, bytea as `\\x…`, other
types as PostgreSQL writes them. Two columns of one name give two members of one name.

Options: int8 and numeric as strings, for readers that hold numbers in 64-bit floats; NaN and infinities as values that
the format has no place for (`onUnrepresentable` decides then); bytea as base64.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from export_contract.runspec import JsonOptions, Output
from export_runner.formats.base import LINES_BLOCK, Format
from export_runner.frames.blocks import Block, Bytes
from export_runner.frames.kinds import MAY_NOT_BE_FINITE, Field

if TYPE_CHECKING:
    from export_runner.frames.decoder import Column
    from export_runner.frames.native import TextEncoder


class NdjsonFormat(Format):
    """Each row is one line."""

    content_type: ClassVar[str] = "application/x-ndjson"
    usual_block: ClassVar[int] = LINES_BLOCK
    separator: ClassVar[str] = "\n"
    """Between rows, and behind the last where it is a line's end."""

    def __init__(self, fields: Sequence[Field], output: Output) -> None:
        super().__init__(fields, output)
        names = [json.dumps(field.name, ensure_ascii=False) for field in fields]
        self._keys = [("{" if number == 0 else ",") + name + ":" for number, name in enumerate(names)]

    @cached_property
    def _compiled(self) -> TextEncoder | None:
        from export_runner.frames import native

        if self._output.json != JsonOptions() or native.library() is None:
            return None
        return native.TextEncoder(self._fields, line_end=self.separator, keys=self._keys)

    @classmethod
    def reads(cls, fields: Sequence[Field], output: Output) -> tuple[Field, ...]:
        if output.json.non_finite == "String" or output.on_unrepresentable != "ColumnAsText":
            return tuple(fields)
        return tuple(replace(field, as_text=True) if field.kind in MAY_NOT_BE_FINITE else field for field in fields)

    def compiled(self, block: Block) -> list[Bytes] | None:
        return None if self._compiled is None else self._compiled.block(block)

    def block(self, columns: Sequence[Column]) -> bytes:
        from export_runner.formats.json_lines import lines  # polars is slow to load, and seldom needed

        return lines(columns, self._keys, self.separator, self._output.json, self.no_place)


class JsonFormat(NdjsonFormat):
    """One array; each row is one line of it."""

    content_type: ClassVar[str] = "application/json"
    separator: ClassVar[str] = ",\n"

    def __init__(self, fields: Sequence[Field], output: Output) -> None:
        super().__init__(fields, output)
        self._started = True  # by another process, unless the header is asked for

    def header(self) -> bytes:
        self._started = False
        return b"["

    def compiled(self, block: Block) -> list[Bytes] | None:
        if self._compiled is None:
            return None
        lead = b",\n" if self._started else b"\n"
        self._started = True
        pieces = self._compiled.block(block)
        return [lead, *pieces[:-1], pieces[-1][:-2]]

    def block(self, columns: Sequence[Column]) -> bytes:
        lead = b",\n" if self._started else b"\n"
        self._started = True
        return lead + super().block(columns)[:-2]

    def footer(self) -> bytes:
        return b"\n]\n" if self._started else b"]\n"
