"""Chunks, as they come from the network, into blocks, which show in the output.

A block is the shortest run of whole rows, in order, whose COPY BINARY bytes reach `block_bytes` or whose count reaches
`block_rows`, decided row by row. So the bytes of an object depend on rows and spec, not on how rows arrived.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # numpy takes a tenth of the start to load: when the first rows are there, and not before
    import numpy as np
    from numpy.typing import NDArray

Bytes = bytes | memoryview
"""Of memory that nobody changes any more."""

PADDING = bytes(16)
"""Follows the rows in a block's data, so that the decoder may read up to 16 bytes at the start of any value."""


class CorruptCopy(ValueError):  # noqa: N818 - says what was found
    """The bytes are not rows of the expected columns."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Whole rows as COPY BINARY writes them, without file header and trailer. `lengths` are bytes by row."""

    data: Bytes
    lengths: NDArray[np.int64]

    @property
    def rows(self) -> int:
        return len(self.lengths)


class Block:
    """The unit of encoding, compression and row group. `first_row` counts from 0.

    Its `chunks` are what came, not copied. Who needs the rows in one piece reads `data`, for one copy of them.
    """

    def __init__(self, chunks: Sequence[Chunk], first_row: int) -> None:
        self.chunks = tuple(chunks)
        self.first_row = first_row
        self.rows = sum(chunk.rows for chunk in self.chunks)
        self.size = sum(len(chunk.data) for chunk in self.chunks)

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Bytes by row."""
        import numpy as np

        return np.concatenate([chunk.lengths for chunk in self.chunks])

    @cached_property
    def data(self) -> bytes:
        """All rows, then `PADDING`. The chunks are let go of: what they hold is here."""
        lengths = self.lengths
        data = b"".join((*(chunk.data for chunk in self.chunks), PADDING))
        self.chunks = (Chunk(memoryview(data)[: -len(PADDING)], lengths),)
        return data


class BlockCutter:
    """Takes chunks, gives blocks. Holds less than one block and one chunk."""

    def __init__(self, block_rows: int, block_bytes: int) -> None:
        if block_rows < 1 or block_bytes < 1:
            raise ValueError("a block holds at least one row and one byte")
        self._block_rows = block_rows
        self._block_bytes = block_bytes
        self._chunks: list[Chunk] = []
        self._size = self._rows = 0
        self._first_row = 0

    def add(self, chunk: Chunk) -> Iterator[Block]:
        """The blocks that the chunk completes."""
        import numpy as np

        ends = np.cumsum(chunk.lengths)
        row = offset = 0
        while row < chunk.rows:
            # The first row whose bytes or whose count reaches a bound belongs to the block and ends it.
            by_bytes = int(np.searchsorted(ends, offset + self._block_bytes - self._size, side="left"))
            by_rows = row + self._block_rows - self._rows - 1
            last = min(by_bytes, by_rows)
            stop = min(last + 1, chunk.rows)
            end = int(ends[stop - 1])
            self._chunks.append(Chunk(memoryview(chunk.data)[offset:end], chunk.lengths[row:stop]))
            self._size += end - offset
            self._rows += stop - row
            row, offset = stop, end
            if last < chunk.rows:
                yield self._cut()

    def rest(self) -> Iterator[Block]:
        """The last block, if rows are left."""
        if self._rows:
            yield self._cut()

    def _cut(self) -> Block:
        block = Block(self._chunks, self._first_row)
        self._first_row += self._rows
        self._chunks, self._size, self._rows = [], 0, 0
        return block
