"""How lines of CSV are written: what a request may choose, and what a spreadsheet would take for a formula."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from export_runner.frames.kinds import MOMENTS, NUMBERS, Kind

BARE = frozenset({Kind.BOOL, *NUMBERS})
NO_FORMULA = frozenset({*BARE, *MOMENTS, Kind.UUID, Kind.JSON, Kind.JSONB})
"""Kinds whose values a spreadsheet takes for no formula, or that nobody can make one of."""
FORMULA_STARTS = "=+-@\t\r\n＝＋－＠"
"""owasp.org/www-community/attacks/CSV_Injection; the wide ones are taken likewise where such signs are typed."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """How lines are written. `null_text` is the one cell that stands without quotes and is that text."""

    delimiter: str
    line_end: str
    null_text: str
    quoting: Literal["Needed", "Text", "All"]
    neutralise_formulas: bool
