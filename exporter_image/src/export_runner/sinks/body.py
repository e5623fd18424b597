"""What is sent in one request, of pieces that lie apart: to put them together would copy all of an export once more."""

from __future__ import annotations

import os
from collections.abc import Sequence

from export_runner.frames.blocks import Bytes


class Body:
    """As much of a file as botocore and http.client use: `read` until there is nothing, from the beginning again for
    another try. No byte is copied."""

    def __init__(self, pieces: Sequence[Bytes]) -> None:
        self._pieces = [memoryview(piece) for piece in pieces]
        self._size = sum(map(len, self._pieces))
        self._at = self._piece = self._begin = 0

    def __len__(self) -> int:
        return self._size

    def tell(self) -> int:
        """Bytes before the next one that is read."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As files do; beyond the end is the end."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = min(max(base + offset, 0), self._size)
        self._piece = self._begin = 0
        return self._at

    def read(self, size: int = -1) -> Bytes:
        """At most `size` bytes, and none of two pieces; nothing at the end."""
        while self._piece < len(self._pieces):
            piece = self._pieces[self._piece]
            offset = self._at - self._begin
            if offset < len(piece):
                taken = piece[offset:] if size < 0 else piece[offset : offset + size]
                self._at += len(taken)
                return taken
            self._piece += 1
            self._begin += len(piece)
        return b""
