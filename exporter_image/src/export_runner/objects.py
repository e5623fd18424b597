"""Encoded blocks into the parts of objects: one object of all rows, or one whole file of the format after another.

Where an object ends depends on rows and spec alone: it is the block whose encoded bytes reach the object's size.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from export_contract.runspec import Layout, Limits
from export_runner.checkpoint import START, Mark
from export_runner.formats.base import Format
from export_runner.formats.compression import Compressor
from export_runner.frames.blocks import Block, Bytes
from export_runner.frames.kinds import Field
from export_runner.sinks.parts import Part, PartCutter, Whole, grown


class Encoder:
    """Blocks to one object's bytes: format, then compression. The header goes with the first block."""

    def __init__(self, output_format: Format, compressor: Compressor, start: Mark = START) -> None:
        self._format = output_format
        self._compressor = compressor
        self._begun = start.parts > 0

    @property
    def nulled(self) -> Counter[str]:
        """Values that became NULL, by column."""
        return self._format.nulled

    @property
    def plain(self) -> tuple[int, int]:
        """See `Compressor.plain`."""
        return self._compressor.plain

    def block(self, block: Block, fields: tuple[Field, ...]) -> Sequence[Bytes]:
        """Its bytes, in pieces. Raises `ExportError`, `CorruptCopy`."""
        head = self._head()
        pieces = self._format.compiled(block)
        if pieces is None:
            from export_runner.frames.decoder import decode, slices

            parts = [decode(block, fields)] if self._format.whole_blocks else slices(block, fields)
            pieces = [self._format.block(columns) for columns in parts]
        return self._compressor.block([head, *pieces])

    def finish(self) -> Sequence[Bytes]:
        """What follows the last block; the whole object when there was none."""
        tail = self._head() + self._format.footer()
        return [*(self._compressor.block([tail]) if tail else ()), self._compressor.finish()]

    def _head(self) -> bytes:
        begun, self._begun = self._begun, True
        return b"" if begun else self._format.header()


@dataclass(slots=True)
class _Open:
    """An object that is being made. `rows_before` are in the objects before it."""

    encoder: Encoder
    cutter: PartCutter
    rows_before: int


class ObjectCutter:
    """Takes blocks in order, gives parts. `rows` and `bytes` are of the whole export so far."""

    def __init__(
        self,
        begin: Callable[[Mark], Encoder],
        limits: Limits,
        layout: Layout = "SingleObject",
        *,
        key: Sequence[str] = (),
        start: Mark = START,
    ) -> None:
        """`begin` makes the encoder of an object, of which everything before its argument is there already. `key` is
        the order that the rows come in, empty if none; they come behind `start`."""
        self._begin = begin
        self._limits = limits
        self._several = layout == "PartObjects"
        self._key = tuple(key)
        self._nulled = Counter(start.nulled)
        self._bytes_before = start.bytes if self._several else 0
        self._number = start.objects
        self._wholes: list[Whole] = []
        self._open: _Open | None = None
        self.rows = start.rows
        if not start.objects:
            self._open = self._opened(START if self._several else start)

    @property
    def bytes(self) -> int:
        return self._bytes_before + (self._open.cutter.bytes if self._open else 0)

    @property
    def nulled(self) -> dict[str, int]:
        """Values that became NULL, by column."""
        return dict(self._nulled + self._open.encoder.nulled if self._open else self._nulled)

    @property
    def wholes(self) -> tuple[Whole, ...]:
        """The objects that were made here, in order."""
        return tuple(self._wholes)

    def block(self, block: Block, fields: tuple[Field, ...]) -> list[Part]:
        """The parts that the block completes. Raises `ExportError`, `CorruptCopy`."""
        opened = self._open = self._open or self._opened(START)
        parts = list(opened.cutter.add(opened.encoder.block(block, fields)))
        self.rows += block.rows
        reached = self._several and opened.cutter.bytes >= grown(self._number, self._limits.object_bytes)
        if not parts and not reached:
            return []
        behind = Mark(last_key=self._last_key(block, fields))
        return self._ended(opened, parts, behind) if reached else self._marked(opened, parts, behind)

    def finish(self, *, complete: bool) -> list[Part]:
        """The last parts. `complete`: no row was left unread. Raises `ExportError`."""
        if self._open is None:  # the last object ended with the last row
            return []
        return self._ended(self._open, [], Mark(ended=True, complete=complete))

    def _last_key(self, block: Block, fields: tuple[Field, ...]) -> tuple[str, ...]:
        if not self._key:
            return ()
        from export_runner.source.last_key import last_key

        return last_key(block, fields, self._key)

    def _opened(self, start: Mark) -> _Open:
        self._number += 1
        cutter = PartCutter(self._limits.part_bytes, start, number=self._number)
        return _Open(self._begin(start), cutter, 0 if start.parts else self.rows)

    def _ended(self, opened: _Open, parts: list[Part], behind: Mark) -> list[Part]:
        parts = [*parts, *opened.cutter.add(opened.encoder.finish()), *opened.cutter.rest()]
        whole = replace(opened.cutter.whole(), rows=self.rows - opened.rows_before, complete=behind.complete)
        self._wholes.append(whole)
        marked = self._marked(opened, parts, replace(behind, objects=self._number if self._several else 0))
        self._bytes_before = self.bytes
        self._nulled += opened.encoder.nulled
        self._open = None
        return [*marked[:-1], replace(marked[-1], whole=whole)] if marked else []

    def _marked(self, opened: _Open, parts: list[Part], behind: Mark) -> list[Part]:
        """The parts with how far the export is behind them."""
        plain_bytes, plain_crc = opened.encoder.plain
        mark = replace(
            behind,
            rows=self.rows,
            bytes=self.bytes,
            crc=opened.cutter.crc32,
            plain_bytes=plain_bytes,
            plain_crc=plain_crc,
            nulled=self.nulled,
        )
        return [replace(part, mark=replace(mark, parts=part.number)) for part in parts]
