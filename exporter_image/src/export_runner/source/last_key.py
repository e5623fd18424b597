"""Where a block ends, as `keys.ordered` goes on from it."""

from __future__ import annotations

from collections.abc import Sequence

from export_runner.frames.blocks import Block, Chunk
from export_runner.frames.decoder import Column, Fixed, decode
from export_runner.frames.kinds import Field, Kind
from export_runner.frames.text import POSTGRESQL, rendered

_RENDERED = frozenset({Kind.DATE, Kind.TIMESTAMP, Kind.TIMESTAMPTZ, Kind.UUID})


def last_key(block: Block, fields: Sequence[Field], key: Sequence[str]) -> tuple[str, ...]:
    """The values of the block's last row, as texts that PostgreSQL reads back the same."""
    last = block.chunks[-1]
    row = Chunk(last.data[len(last.data) - int(last.lengths[-1]) :], last.lengths[-1:])
    columns = {column.field.name: column for column in decode(Block([row], 0), fields)}
    return tuple(_text(columns[name]) for name in key)


def _text(column: Column) -> str:
    if column.field.kind in _RENDERED:
        column = rendered(column, POSTGRESQL)
    if isinstance(column, Fixed):
        value = column.values[0]
        return str(bool(value)) if column.field.kind is Kind.BOOL else str(int(value))
    begin, size = int(column.begin[0]), int(column.length[0])
    data = column.data[begin : begin + size].tobytes()
    return "\\x" + data.hex() if column.field.kind is Kind.BYTEA else data.decode()
