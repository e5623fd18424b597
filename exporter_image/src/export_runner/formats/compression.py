"""Compression of the object's bytes, cut at blocks.

gzip is one member, because many readers open only the first of several; a full flush at each block makes every block
readable on its own. zstd is one frame a block, which the format's specification asks readers to join. Both at level 1:
zlib's usual level 6 would cost three times what the rest of the export does. It is zlib that deflates, though isal is
faster: what isal makes depends, once in some thousand blocks, on where in memory its stream lies (ADR 0004).
"""

from __future__ import annotations

import struct
import sys
import zlib
from collections.abc import Sequence
from typing import Any, Protocol

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

from export_contract.runspec import Compression
from export_runner.frames.blocks import Bytes

GZIP_LEVEL = 1
ZSTD_LEVEL = 1
_GZIP_HEADER = struct.pack("<BBBBLBB", 0x1F, 0x8B, 8, 0, 0, 4, 255)  # RFC 1952: deflate, no name, no time, fastest


def content_type(name: str, compression: Compression, *, inside: bool) -> str:
    """The object's media type. A compressed object is a file of its own kind: with `Content-Encoding` instead, some
    clients would unpack it on the way, and its size and SHA-256 would not be the manifest's."""
    if inside or compression == "None":
        return name
    return "application/gzip" if compression == "Gzip" else "application/zstd"


class Compressor(Protocol):
    """Takes the encoded blocks in order."""

    def block(self, pieces: Sequence[Bytes]) -> Sequence[Bytes]:
        """What the block becomes, whose bytes come in pieces."""

    def finish(self) -> bytes:
        """What follows the last block."""

    @property
    def plain(self) -> tuple[int, int]:
        """Bytes so far and their CRC32, before compression, where going on in another process needs them."""


class Uncompressed:
    """Bytes as they are."""

    def block(self, pieces: Sequence[Bytes]) -> Sequence[Bytes]:
        return pieces

    def finish(self) -> bytes:
        return b""

    @property
    def plain(self) -> tuple[int, int]:
        return 0, 0


class Gzip:
    """RFC 1952, one member."""

    def __init__(self, plain: tuple[int, int] | None = None) -> None:
        from isal import isal_zlib

        self._crc32 = isal_zlib.crc32
        self._started = plain is not None
        self._size, self._crc = plain or (0, 0)

    @property
    def plain(self) -> tuple[int, int]:
        return self._size, self._crc

    def block(self, pieces: Sequence[Bytes]) -> Sequence[Bytes]:
        data = b"".join(pieces)  # what deflate makes of it must not depend on the pieces
        self._crc = self._crc32(data, self._crc)
        self._size += len(data)
        deflate = self._deflate()
        return [self._head(), deflate.compress(data), deflate.flush(zlib.Z_FULL_FLUSH)]

    def finish(self) -> bytes:
        trailer = struct.pack("<LL", self._crc, self._size & 0xFFFFFFFF)
        return b"".join((self._head(), self._deflate().flush(zlib.Z_FINISH), trailer))

    def _deflate(self) -> Any:
        """A new stream for each block: it knows nothing of those before, so another process makes the same of it."""
        return zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)

    def _head(self) -> bytes:
        started, self._started = self._started, True
        return b"" if started else _GZIP_HEADER


class Zstd:
    """RFC 8878, one frame with its checksum a block."""

    def __init__(self, *, begun: bool = False) -> None:
        parameter = zstd.CompressionParameter
        self._options: dict[int, int] = {parameter.compression_level: ZSTD_LEVEL, parameter.checksum_flag: 1}
        self._empty = not begun

    def block(self, pieces: Sequence[Bytes]) -> Sequence[Bytes]:
        self._empty = False
        return [zstd.compress(b"".join(pieces), options=self._options)]

    def finish(self) -> bytes:
        return zstd.compress(b"", options=self._options) if self._empty else b""

    @property
    def plain(self) -> tuple[int, int]:
        return 0, 0


def compressor(compression: Compression, *, inside: bool, plain: tuple[int, int] | None = None) -> Compressor:
    """The compressor of a run; none when the format compresses inside. With `plain`, an earlier one's, it goes on."""
    if inside or compression == "None":
        return Uncompressed()
    return Gzip(plain) if compression == "Gzip" else Zstd(begun=plain is not None)
