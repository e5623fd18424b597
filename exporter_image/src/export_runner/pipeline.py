"""The three stages, overlapped: fetch rows, decode and encode blocks, upload parts.

Between them stand queues bounded by bytes, so memory depends on the sizes of block and part alone. What comes out
depends on rows and spec alone: blocks are cut by `BlockCutter`, parts by `PartCutter`, and one thread encodes in order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from export_contract.failures import Failure
from export_contract.runspec import Limits
from export_runner.checkpoint import START, Mark
from export_runner.clock import Stop
from export_runner.errors import ExportError, Stopped
from export_runner.formats.base import Format
from export_runner.formats.compression import Compressor
from export_runner.frames.blocks import Block, BlockCutter, Chunk
from export_runner.frames.decoder import decode, slices
from export_runner.frames.kinds import Field
from export_runner.meter import Meter
from export_runner.queues import ByteQueue
from export_runner.sinks.parts import SENDERS, Part, PartCutter, Whole
from export_runner.tasks import LOOK_SECONDS, Task

MOST_BLOCKS = 2
"""Blocks that wait or are being encoded, beside the one being filled."""
MOST_PART_BYTES = 32 * 1024 * 1024
"""Bytes of parts that wait or are being sent, beside the one being filled; one larger part passes alone."""
SETTLE_SECONDS = 1.0
"""How long stages that were asked to stop are waited for; a part in flight may take longer and is left behind."""


class Rows(Protocol):
    """Where rows come from."""

    @property
    def fields(self) -> tuple[Field, ...]: ...

    @property
    def ended(self) -> bool:
        """Did the last row arrive?"""

    def chunks(self) -> Iterator[Chunk]: ...


@dataclass(frozen=True, slots=True)
class Encoded:
    """What was sent, `objects` in order. `complete`: no row was left unread. `nulled` is the manifest's."""

    rows: int
    objects: tuple[Whole, ...]
    complete: bool
    nulled: dict[str, int]


class Encoder:
    """Blocks to the object's bytes: format, then compression. The header goes with the first block."""

    def __init__(self, output_format: Format, compressor: Compressor, start: Mark = START) -> None:
        self._format = output_format
        self._compressor = compressor
        self._begun = start.parts > 0
        self._nulled = Counter(start.nulled)

    @property
    def nulled(self) -> dict[str, int]:
        """Values that became NULL, by column."""
        return dict(self._nulled + self._format.nulled)

    @property
    def plain(self) -> tuple[int, int]:
        """See `Compressor.plain`."""
        return self._compressor.plain

    def block(self, block: Block, fields: tuple[Field, ...]) -> list[bytes]:
        """Its bytes, in pieces. Raises `ExportError`, `CorruptCopy`."""
        head = self._head()
        pieces = self._format.compiled(block)
        if pieces is None:
            parts = [decode(block, fields)] if self._format.whole_blocks else slices(block, fields)
            pieces = [self._format.block(columns) for columns in parts]
        return self._compressor.block([head, *pieces])

    def finish(self) -> list[bytes]:
        """What follows the last block; the whole object when there was none."""
        tail = self._head() + self._format.footer()
        return [*(self._compressor.block([tail]) if tail else ()), self._compressor.finish()]

    def _head(self) -> bytes:
        begun, self._begun = self._begun, True
        return b"" if begun else self._format.header()


class Pipeline:
    """One pass over the rows. `send` is called from `SENDERS` threads at once."""

    def __init__(
        self,
        rows: Rows,
        encoder: Encoder,
        send: Callable[[Part], None],
        *,
        limits: Limits,
        meter: Meter,
        stop: Stop,
        key: tuple[str, ...] = (),
        start: Mark = START,
    ) -> None:
        """`key` is the order that the rows come in, empty if none; they come behind `start`."""
        self._key = key
        self._rows = rows
        self._encoder = encoder
        self._send = send
        self._limits = limits
        self._meter = meter
        self._stop = stop
        self._blocks: ByteQueue[Block] = ByteQueue(MOST_BLOCKS * limits.block_bytes, MOST_BLOCKS, stop)
        self._parts: ByteQueue[Part] = ByteQueue(MOST_PART_BYTES, SENDERS, stop)
        self._cutter = PartCutter(limits.part_bytes, start)

    def run(self) -> Encoded:
        """Raises the `ExportError` of the stage that failed first, or `Stopped`."""
        stages = [Task("fetch", self._fetch), Task("encode", self._encode)]
        stages += [Task(f"send-{number}", self._upload) for number in range(1, SENDERS + 1)]
        first: Task[None] | None = None
        while not all(stage.done for stage in stages):
            waiting = next(stage for stage in stages if not stage.done)
            waiting.join(LOOK_SECONDS)
            first = first or next((stage for stage in stages if stage.failed), None)
            if first is not None or self._stop.requested:
                self._stop.request()
                break
        first = first or next((stage for stage in stages if stage.failed), None)
        if first is not None or self._stop.requested:
            for stage in stages:
                stage.join(SETTLE_SECONDS)
            self._raise(first, stages)
        return Encoded(self._meter.rows, (self._cutter.whole(),), self._rows.ended, self._encoder.nulled)

    def _raise(self, first: Task[None] | None, stages: list[Task[None]]) -> None:
        for stage in (first, *stages):
            if stage is not None and stage.failed:
                try:
                    stage.result()
                except Stopped:
                    continue
        raise Stopped

    def _fetch(self) -> None:
        cutter = BlockCutter(self._limits.block_rows, self._limits.block_bytes)
        most = self._limits.max_rows
        with self._meter.timed("read"):
            for chunk in self._rows.chunks():
                self._meter.read_rows += chunk.rows
                if most and self._meter.read_rows > most:
                    raise ExportError(Failure.ROW_LIMIT_EXCEEDED, f"There are more than {most:,} rows (maxRows).")
                for block in cutter.add(chunk):
                    self._blocks.put(block)
                    del block
                del chunk
            for block in cutter.rest():
                self._blocks.put(block)
        self._blocks.close()

    def _encode(self) -> None:
        while (block := self._blocks.get()) is not None:
            with self._meter.timed("encode"):
                encoded = self._encoder.block(block, self._rows.fields)
                self._meter.rows += block.rows
                parts = [self._marked(part, block) for part in self._count(encoded)]
                del encoded
            self._blocks.done(block)
            del block
            while parts:
                self._parts.put(parts.pop(0))
        with self._meter.timed("encode"):
            cut = [*self._count(self._encoder.finish()), *self._cutter.rest()]
            parts = [self._marked(part, None) for part in cut]
            del cut
        while parts:
            self._parts.put(parts.pop(0))
        self._parts.close()

    def _marked(self, part: Part, block: Block | None) -> Part:
        """The part with how far the export is behind it: after `block`, or at its end."""
        from export_runner.source.keys import last_key

        plain_bytes, plain_crc = self._encoder.plain
        mark = Mark(
            parts=part.number,
            rows=self._meter.rows,
            bytes=self._cutter.bytes,
            crc=self._cutter.crc32,
            plain_bytes=plain_bytes,
            plain_crc=plain_crc,
            last_key=last_key(block, self._rows.fields, self._key) if block is not None else (),
            nulled=self._encoder.nulled,
            ended=block is None,
            complete=block is not None or self._rows.ended,
        )
        return replace(part, mark=mark)

    def _count(self, encoded: list[bytes]) -> Iterator[Part]:
        yield from self._cutter.add(encoded)
        self._meter.bytes = self._cutter.bytes
        most = self._limits.max_bytes
        if most and self._cutter.bytes > most:
            raise ExportError(Failure.BYTE_LIMIT_EXCEEDED, f"The object is larger than {most:,} bytes (maxBytes).")

    def _upload(self) -> None:
        while (part := self._parts.get()) is not None:
            with self._meter.timed("upload"):
                self._send(part)
            self._parts.done(part)
            del part
