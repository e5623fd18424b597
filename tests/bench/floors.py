"""What of an export of users nobody can leave out, in CPU seconds: PostgreSQL's own work, and hashes of the bytes.

PostgreSQL's is what all of its processes take for a COPY that goes nowhere; a hash's is its thread's.
"""

import hashlib
import time
from collections.abc import Callable, Mapping

from isal import isal_zlib

from tests.bench.contestants import Place
from tests.bench.measure import Gauge
from tests.cluster.problem import Problem
from tests.services import data

DEAR = ("balance", "tags", "settings")
BINARY = "FORMAT binary"


def _rows(columns: list[str]) -> str:
    return f"(SELECT {', '.join(columns)} FROM users)"


COPIES: Mapping[str, tuple[str, str]] = {
    "PostgreSQL makes a million of our rows": (_rows(list(data.COLUMNS)), BINARY),
    "the same without jsonb, array and numeric": (_rows([c for c in data.COLUMNS if c not in DEAR]), BINARY),
    "PostgreSQL makes a million rows of CSV": ("users", "FORMAT csv"),
}
"""What is copied and how, by title."""

HASHES: Mapping[str, Callable[[bytes], object]] = {
    "SHA-256 of a gigabyte": lambda block: hashlib.sha256(block).digest(),
    "CRC-32 of a gigabyte": isal_zlib.crc32,
    "MD5 of a gigabyte": lambda block: hashlib.md5(block, usedforsecurity=False).digest(),
}
BLOCK, BLOCKS = 8 * 1024 * 1024, 12


def table(gauge: Gauge, place: Place, rows: int, repeats: int) -> str:
    """For people, in Markdown: the least of so many of each. Raises `Problem`."""
    lines = ["| nobody can leave out | CPU seconds |", "| --- | --- |"]
    for title, (what, how) in COPIES.items():
        least = min(_copied(gauge, place, f"COPY {what} TO '/dev/null' ({how})") for _ in range(repeats))
        lines.append(f"| {title} | {least / rows * 1e6:.2f} |")
    for title, hashed in HASHES.items():
        lines.append(f"| {title} | {min(_hashed(hashed) for _ in range(BLOCKS)):.2f} |")
    return "\n".join(lines)


def _copied(gauge: Gauge, place: Place, statement: str) -> float:
    finished = gauge.run(place.psql(statement))
    if finished.code:
        raise Problem(f"{statement}: {finished.complained}")
    return finished.sample.server


def _hashed(hashed: Callable[[bytes], object]) -> float:
    """Seconds for a gigabyte."""
    block = bytes(BLOCK)
    began = time.thread_time()
    hashed(block)
    return (time.thread_time() - began) * 1e9 / BLOCK
