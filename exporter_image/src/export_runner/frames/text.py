"""Dates, times and UUIDs as text, in numpy: digits from tables into rows of bytes of one width.

Dates and times in the years 1 to 9999 have a fixed width. The rare others (BC, later years, infinity) are written one
by one, as PostgreSQL's `date_out` and `timestamp_out` write them with DateStyle ISO. Fractions always have 6 digits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export_runner.frames.blocks import PADDING
from export_runner.frames.decoder import Column, Fixed, Varying
from export_runner.frames.kinds import Kind

DAY_US = 86_400_000_000
EPOCH_DAYS = 10_957  # 2000-01-01, where PostgreSQL counts from, in days since 1970-01-01
FIRST_PLAIN = -719_162 - EPOCH_DAYS  # 0001-01-01 in days since 2000-01-01
LAST_PLAIN = 2_932_896 - EPOCH_DAYS  # 9999-12-31

INFINITY = {np.dtype(np.int32): (-(2**31), 2**31 - 1), np.dtype(np.int64): (-(2**63), 2**63 - 1)}
"""What stands for -infinity and infinity in a date and a timestamp (src/include/utils/date.h, timestamp.h)."""

_TWO = np.array([f"{number:02d}".encode() for number in range(100)], dtype="S2")
_FOUR = np.array([f"{number:04d}".encode() for number in range(10_000)], dtype="S4")
_HEX = np.array([f"{number:02x}".encode() for number in range(256)], dtype="S2")
_UUID_GROUPS = ((0, 4), (4, 6), (6, 8), (8, 10), (10, 16))  # bytes between the hyphens


@dataclass(frozen=True, slots=True)
class Style:
    """What stands between date and time, and after a time with zone."""

    separator: str
    utc: str


POSTGRESQL = Style(" ", "+00")
RFC3339 = Style("T", "Z")


def is_infinite(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Which dates or timestamps are -infinity or infinity."""
    low, high = INFINITY[values.dtype]
    infinite: NDArray[np.bool_] = (values == low) | (values == high)
    return infinite


def rendered(column: Column, style: Style) -> Varying:
    """A column of dates, timestamps or UUIDs as text. Raises ValueError for another kind."""
    kind = column.field.kind
    if isinstance(column, Fixed):
        if kind is Kind.DATE:
            return _moments(column, style, days=column.values.astype(np.int64), micros=None, zone="")
        if kind in {Kind.TIMESTAMP, Kind.TIMESTAMPTZ}:
            days = column.values // DAY_US
            zone = style.utc if kind is Kind.TIMESTAMPTZ else ""
            return _moments(column, style, days=days, micros=column.values - days * DAY_US, zone=zone)
    elif kind is Kind.UUID:
        return _uuids(column)
    raise ValueError(f"{kind.name} is not rendered here")


def _moments(
    column: Fixed, style: Style, *, days: NDArray[np.int64], micros: NDArray[np.int64] | None, zone: str
) -> Varying:
    plain = (days >= FIRST_PLAIN) & (days <= LAST_PLAIN)
    years, months, monthdays = _calendar(np.where(plain, days, 0))
    layout = [("y", "S4"), ("-", "S1"), ("m", "S2"), ("_", "S1"), ("d", "S2")]
    if micros is not None:
        layout += [("T", "S1"), ("H", "S2"), (":", "S1"), ("M", "S2"), (";", "S1"), ("S", "S2"), (".", "S1")]
        layout += [("1", "S2"), ("2", "S4"), ("Z", f"S{len(zone) or 1}")]
    lines = np.zeros(len(days), dtype=layout)
    lines["y"], lines["m"], lines["d"] = _FOUR[years], _TWO[months], _TWO[monthdays]
    lines["-"] = lines["_"] = b"-"
    width = 10
    if micros is not None:
        seconds, fraction = micros // 1_000_000, micros % 1_000_000
        lines["T"], lines[":"], lines[";"], lines["."] = style.separator.encode(), b":", b":", b"."
        lines["H"], lines["M"], lines["S"] = _TWO[seconds // 3600], _TWO[seconds // 60 % 60], _TWO[seconds % 60]
        lines["1"], lines["2"], lines["Z"] = _TWO[fraction // 10_000], _FOUR[fraction % 10_000], zone.encode()
        width = 26 + len(zone)
    begin = np.arange(len(days), dtype=np.int64) * lines.dtype.itemsize
    length = np.full(len(days), width, dtype=np.int64)
    special = ~plain if column.valid is None else ~plain & column.valid
    texts = [_special(column, style, int(row), days=days, micros=micros, zone=zone) for row in np.flatnonzero(special)]
    if texts:
        sizes = np.array([len(text) for text in texts], dtype=np.int64)
        begin[special] = lines.nbytes + np.cumsum(sizes) - sizes
        length[special] = sizes
    return _varying(column, lines.tobytes() + b"".join(texts), begin, length)


def _calendar(days: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Year (0 is 1 BC), month and day of days since 2000-01-01, in the proleptic Gregorian calendar."""
    dates = (days + EPOCH_DAYS).astype("datetime64[D]")
    month_starts = dates.astype("datetime64[M]")
    months = month_starts.astype(np.int64)
    return months // 12 + 1970, months % 12 + 1, (dates - month_starts).astype(np.int64) + 1


def _special(
    column: Fixed, style: Style, row: int, *, days: NDArray[np.int64], micros: NDArray[np.int64] | None, zone: str
) -> bytes:
    low, high = INFINITY[column.values.dtype]
    value = int(column.values[row])
    if value in {low, high}:
        return b"-infinity" if value == low else b"infinity"
    year, month, day = (int(part[0]) for part in _calendar(days[row : row + 1]))
    text = f"{year if year > 0 else 1 - year:04d}-{month:02d}-{day:02d}"
    if micros is not None:
        seconds, fraction = divmod(int(micros[row]), 1_000_000)
        clock = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{fraction:06d}"
        text += f"{style.separator}{clock}{zone}"
    return (text if year > 0 else text + " BC").encode()


def _uuids(column: Varying) -> Varying:
    rows = len(column.begin)
    begin = column.begin if column.valid is None else np.where(column.valid, column.begin, 0)
    digits = _HEX[column.data[begin[:, None] + np.arange(16)]].view("S1").reshape(rows, 32)
    lines = np.full((rows, 36), b"-", dtype="S1")
    for group, (first, last) in enumerate(_UUID_GROUPS):
        lines[:, 2 * first + group : 2 * last + group] = digits[:, 2 * first : 2 * last]
    starts = np.arange(rows, dtype=np.int64) * 36
    return _varying(column, lines.tobytes(), starts, np.full(rows, 36, dtype=np.int64))


def _varying(column: Column, data: bytes, begin: NDArray[np.int64], length: NDArray[np.int64]) -> Varying:
    if column.valid is not None:
        length = np.where(column.valid, length, 0)
    return Varying(column.field, np.frombuffer(data + PADDING, dtype=np.uint8), begin, length, column.valid)
