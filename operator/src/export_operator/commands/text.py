"""How commands print: columns, and colour where a person reads."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from typing import TextIO

RED, GREEN, YELLOW, BOLD = "31", "32", "33", "1"


def plain(text: str) -> str:
    """Names in a cluster are whatever somebody has chosen: nothing of them steers a terminal."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def painted(text: str, colour: str, stream: TextIO | None = None) -> str:
    """In colour on a terminal, unless NO_COLOR says otherwise (no-color.org)."""
    stream = sys.stdout if stream is None else stream
    if not stream.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return f"\033[{colour}m{text}\033[0m"


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines, each column as wide as its widest cell, three blanks apart, as kubectl does."""
    cells = [list(headings), *([plain(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]


def counted(number: int, one: str, many: str = "") -> str:
    """`1 difference`, `2 differences`."""
    return f"{number} {one if number == 1 else many or one + 's'}"
