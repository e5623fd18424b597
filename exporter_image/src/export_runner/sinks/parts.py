"""Encoded blocks into parts: the shortest run of whole blocks whose bytes reach the part size.

S3 takes at most 10,000 parts of an object and, but for the last, at least 5 MiB each. So that 10,000 parts hold the
largest object, the size doubles after each 1,000 parts: with 8 MiB the first 120 GiB go in parts of at most 64 MiB, and
8 TiB are reached. What this costs: up to `MAX_HELD` parts are in memory at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from export_contract.failures import Failure
from export_runner.checkpoint import START, Mark
from export_runner.errors import ExportError
from export_runner.frames.blocks import Bytes

MIN_PART = 5 * 1024 * 1024
MAX_PARTS = 10_000
DOUBLING = 1_000
SENDERS = 2
"""Parts that are sent at once: one connection does not fill a link with latency."""
MAX_HELD = 1 + SENDERS
"""One being filled, and those that wait or are being sent."""


@dataclass(frozen=True, slots=True)
class Part:
    """`number` counts from 1 within its object, `object` from 1 within the export; `crc32` is of its bytes alone."""

    number: int
    pieces: tuple[Bytes, ...] = field(repr=False)
    crc32: int
    object: int = 1
    mark: Mark = field(default=START, repr=False)
    """How far the export is when this part and all before it are stored."""
    whole: Whole | None = None
    """Its object, if no other part of it follows."""

    @property
    def size(self) -> int:
        return sum(map(len, self.pieces))

    @property
    def data(self) -> bytes:
        """Its bytes in one piece: a copy of them, unless they are."""
        return b"".join(self.pieces)


@dataclass(frozen=True, slots=True)
class Whole:
    """An object all of whose parts were cut, and the rows in it. `sha256` is hex; `crc32` and `sha256` are of all its
    bytes.

    `sha256` is empty when another process sent the first parts: the object must be read to know it.
    """

    bytes: int
    parts: int
    sha256: str
    crc32: int
    object: int = 1
    rows: int = 0
    complete: bool = True
    """No row was left unread."""


def part_size(number: int, base: int) -> int:
    """Bytes that part `number` must reach."""
    return grown(number, max(base, MIN_PART))


def grown(number: int, base: int) -> int:
    """`base`, twice as much after each thousand numbers from 1."""
    return int(base) << (number - 1) // DOUBLING


class PartCutter:
    """Takes encoded bytes of one object, gives parts; knows size and SHA-256 of the whole, CRC32 of what was cut."""

    def __init__(self, part_bytes: int, start: Mark = START, *, number: int = 1) -> None:
        """`number` is the object's; its parts come behind `start`."""
        from isal import isal_zlib

        self._crc32, self._combine = isal_zlib.crc32, isal_zlib.crc32_combine
        self._base = part_bytes
        self._pieces: list[Bytes] = []
        self._held = self._crc = 0
        self._sha = hashlib.sha256()
        self._from_first = start.parts == 0
        self._object = number
        self.number = start.parts
        self.bytes = start.bytes
        self.crc32 = start.crc

    def whole(self) -> Whole:
        """The object, when its last part was cut."""
        sha256 = self._sha.hexdigest() if self._from_first else ""
        return Whole(self.bytes, self.number, sha256, self.crc32, self._object)

    def add(self, pieces: Sequence[Bytes]) -> Iterator[Part]:
        """The part that an encoded block, given in pieces, completes, if it does.

        Raises `ExportError` after the last part that S3 takes.
        """
        for data in (each for each in pieces if each):
            self._pieces.append(data)
            self._held += len(data)
            self.bytes += len(data)
            self._sha.update(data)
            self._crc = self._crc32(data, self._crc)
        if self._held >= part_size(self.number + 1, self._base):
            yield self._cut()

    def rest(self) -> Iterator[Part]:
        """The last part. An object without bytes is one empty part."""
        if self._held or self.number == 0:
            yield self._cut()

    def _cut(self) -> Part:
        self.number += 1
        if self.number > MAX_PARTS:
            raise ExportError(Failure.DESTINATION_REFUSED, f"S3 takes no object of more than {MAX_PARTS:,} parts.")
        self.crc32 = self._combine(self.crc32, self._crc, self._held)
        part = Part(self.number, tuple(self._pieces), self._crc, self._object)
        self._pieces, self._held, self._crc = [], 0, 0
        return part
