"""What a later attempt needs to go on where an earlier one stopped. Its size does not grow with the rows.

A checkpoint holds values of the key's columns, so it is written to S3 alone, beside data that hold them too, and never
shown.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import platform
import sys
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from itertools import accumulate
from pathlib import Path
from typing import Literal

from export_contract.codec import dumps, encode, loads
from export_contract.manifest import Segment
from export_contract.runspec import RunSpec
from export_runner.frames.kinds import Field

ENCODING = 4
"""Raised whenever the exporter makes other bytes of the same rows."""
_LIBRARIES = ("polars", "numpy", *(() if sys.version_info >= (3, 14) else ("backports.zstd",)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """How far an export is behind a part. `crc` is of the object, `plain_*` of what was compressed.

    Layout PartObjects: behind the last part of an object, the `objects`th; the next one begins as the first did.
    """

    objects: int = 0
    """Whole ones, of several."""
    parts: int = 0
    rows: int = 0
    bytes: int = 0
    crc: int = 0
    plain_bytes: int = 0
    plain_crc: int = 0
    last_key: tuple[str, ...] = field(default=(), repr=False)
    nulled: dict[str, int] = field(default_factory=dict)
    ended: bool = False
    """No row follows."""
    complete: bool = True
    """No row was left unread; means something when `ended`."""


START = Mark()
"""Before the first row."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A part as S3 lists it. `crc32` is None where S3 does not tell."""

    etag: str
    bytes: int
    crc32: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What two attempts must agree on for the second to go on: the content to be made, and the encoder of its bytes;
    and the snapshot that this one reads."""

    content: str
    fingerprint: str
    snapshot: str
    snapshot_time: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The document. `etag_digest` is of the ETags of the parts that `mark` counts. `ahead` are the marks of the parts
    after those, in order, which were under way. `segments` tell of the rows of all of them.

    Layout PartObjects: `etag_digest` is of the list of the objects that `mark` counts, which stands beside the
    checkpoint and has their ETags; `upload_id` and `nonce` are of the object after those.
    """

    version: Literal[1] = 1
    run: str
    content: str
    fingerprint: str
    attempt: int
    writer: str
    upload_id: str
    nonce: str
    etag_digest: str
    mark: Mark = field(repr=False)
    ahead: tuple[Mark, ...] = field(default=(), repr=False)
    segments: tuple[Segment, ...] = ()

    def to_json(self) -> str:
        return dumps(self)

    @staticmethod
    def from_json(text: str | bytes) -> Checkpoint:
        """Raises `ContractError`."""
        return loads(Checkpoint, text)

    def fits(self, run: str, terms: Terms) -> bool:
        """May an attempt with these terms go on from here?"""
        mine = (run, terms.content, terms.fingerprint)
        return (self.run, self.content, self.fingerprint) == mine

    def reached(self, listed: Mapping[int, Listed]) -> Checkpoint | None:
        """What it would tell had it been written when these parts, by number, were stored. None when those that it
        counts are not there as they were."""
        if not all(number in listed for number in range(1, self.mark.parts + 1)):
            return None
        if _digest(listed, self.mark) != self.etag_digest:
            return None
        mark = self.mark
        for following in self.ahead:
            part = listed.get(following.parts)
            if part is None or (part.bytes, part.crc32) != _between(mark, following):
                break
            mark = following
        segments = _first(self.segments, mark.rows)
        return replace(self, mark=mark, ahead=(), etag_digest=_digest(listed, mark), segments=segments)


def _digest(listed: Mapping[int, Listed], mark: Mark) -> str:
    return etag_digest([listed[number].etag for number in range(1, mark.parts + 1)])


def _between(mark: Mark, following: Mark) -> tuple[int, int]:
    """Bytes and CRC32 of what lies between two marks: zlib combines two CRCs by moving the first behind so many bytes,
    and XOR with the second."""
    from isal import isal_zlib

    size = following.bytes - mark.bytes
    return size, isal_zlib.crc32_combine(mark.crc, 0, size) ^ following.crc


def etag_digest(etags: Sequence[str]) -> str:
    """Of the parts' ETags, in order of their numbers."""
    return hashlib.sha256("\n".join(etag.strip('"') for etag in etags).encode()).hexdigest()


def _first(of: Sequence[Segment], rows: int) -> tuple[Segment, ...]:
    """What tells of the first `rows` rows."""
    ends = accumulate(each.rows for each in of)
    cut = [replace(each, rows=each.rows - max(0, end - rows)) for each, end in zip(of, ends, strict=True)]
    return tuple(each for each in cut if each.rows > 0)


def segments(before: Sequence[Segment], terms: Terms, rows: int) -> tuple[Segment, ...]:
    """Those of earlier attempts, and the `rows` of this one."""
    if not rows:
        return tuple(before)
    return (*before, Segment(snapshot=terms.snapshot, snapshot_time=terms.snapshot_time, rows=rows))


def content(spec: RunSpec, fields: Sequence[Field], key: Sequence[str], mask_key: str) -> str:
    """A digest of all that decides the object's bytes, given the rows. Where the database runs is not among it."""
    source, target, limits = spec.source, spec.destination, spec.limits
    parts = {
        "relation": source.relation,
        "query": source.query,
        "parameters": source.parameters,
        "columns": source.columns,
        "masks": source.masks,
        "filter": source.row_filter,
        "output": spec.output,
        "blocks": [limits.block_rows, limits.block_bytes, limits.part_bytes, limits.object_bytes],
        "object": [target.bucket, target.key],
        "fields": [[each.name, each.type_name, each.as_text] for each in fields],
        "key": list(key),
        "mask": hmac.new(mask_key.encode(), spec.run.id.encode(), "sha256").hexdigest(),
    }
    text = json.dumps({name: encode(value) for name, value in parts.items()}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def fingerprint() -> str:
    """Of what makes bytes of rows: this release, the libraries, the CPU, since compressors differ across CPUs."""
    known = [f"{name} {version(name)}" for name in ("export-runner", *_LIBRARIES)]
    text = "\n".join([str(ENCODING), platform.machine(), _cpu_flags(), f"zlib {zlib.ZLIB_RUNTIME_VERSION}", *known])
    return hashlib.sha256(text.encode()).hexdigest()


def _cpu_flags() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line for line in lines if line.lower().startswith(("flags", "features"))), "")
