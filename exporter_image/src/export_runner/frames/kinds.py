"""Which PostgreSQL types have a decoder of their own. All others come as PostgreSQL's own text.

OIDs are fixed for built-in types: src/include/catalog/pg_type.dat of PostgreSQL. Layouts are those of the types' send
functions (src/backend/utils/adt). A domain arrives as its base type.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto


class Kind(Enum):
    """How a column's bytes in COPY BINARY are read."""

    BOOL = auto()
    INT2 = auto()
    INT4 = auto()
    INT8 = auto()
    OID = auto()
    FLOAT4 = auto()
    FLOAT8 = auto()
    TEXT = auto()
    JSON = auto()
    JSONB = auto()
    BYTEA = auto()
    DATE = auto()
    TIMESTAMP = auto()
    TIMESTAMPTZ = auto()
    UUID = auto()
    DECIMAL = auto()
    """numeric of no more digits than a decimal of 128 bits has. Decoded to its text, by the helper also to a number."""
    NUMERIC = auto()
    """Any other: text that is a number, `NaN`, `Infinity` or `-Infinity`. Ten bytes may stand for 131,072 digits, so
    that its binary form says nothing of the memory that it takes."""
    ARRAY = auto()
    """Of elements whose text is simple. Decoded to its text."""
    RENDERED = auto()
    """Text by the type's output function."""


NUMERIC_OID = 1700
ARRAY_OIDS = frozenset({1000, 1005, 1007, 1009, 1014, 1015, 1016, 1028, 2951})
"""Arrays that are decoded: of bool, int2, int4, text, char(n), varchar, int8, oid, uuid."""

_BY_OID: dict[int, Kind] = {
    16: Kind.BOOL,
    17: Kind.BYTEA,
    19: Kind.TEXT,  # name
    20: Kind.INT8,
    21: Kind.INT2,
    23: Kind.INT4,
    25: Kind.TEXT,
    26: Kind.OID,
    114: Kind.JSON,
    700: Kind.FLOAT4,
    701: Kind.FLOAT8,
    1042: Kind.TEXT,  # char(n), sent with its blanks
    1043: Kind.TEXT,  # varchar
    1082: Kind.DATE,
    1114: Kind.TIMESTAMP,
    1184: Kind.TIMESTAMPTZ,
    NUMERIC_OID: Kind.NUMERIC,
    2950: Kind.UUID,
    3802: Kind.JSONB,
    **dict.fromkeys(ARRAY_OIDS, Kind.ARRAY),
}

MAX_DIGITS = 38
"""Of a decimal in 128 bits."""

WRITTEN: frozenset[Kind] = frozenset({Kind.DECIMAL, Kind.ARRAY})
"""Kinds that come in binary and that every format writes as text."""

RENDERED_IN_SQL: frozenset[Kind] = frozenset({Kind.NUMERIC, Kind.RENDERED})
"""Kinds that the query turns into text before COPY sends them."""

WIDTHS: dict[Kind, int] = {
    Kind.BOOL: 1,
    Kind.INT2: 2,
    Kind.INT4: 4,
    Kind.INT8: 8,
    Kind.OID: 4,
    Kind.FLOAT4: 4,
    Kind.FLOAT8: 8,
    Kind.DATE: 4,
    Kind.TIMESTAMP: 8,
    Kind.TIMESTAMPTZ: 8,
    Kind.UUID: 16,
}
"""Bytes of a value; kinds that are not here vary."""

MOMENTS: frozenset[Kind] = frozenset({Kind.DATE, Kind.TIMESTAMP, Kind.TIMESTAMPTZ})
FLOATS: frozenset[Kind] = frozenset({Kind.FLOAT4, Kind.FLOAT8})
NUMERICS: frozenset[Kind] = frozenset({Kind.DECIMAL, Kind.NUMERIC})
MAY_NOT_BE_FINITE: frozenset[Kind] = frozenset({*NUMERICS, *FLOATS})
NUMBERS: frozenset[Kind] = frozenset({Kind.INT2, Kind.INT4, Kind.INT8, Kind.OID, *NUMERICS, *FLOATS})


@dataclass(frozen=True, slots=True)
class Field:
    """A column of the export: its name, PostgreSQL's name of its type, its OID and modifier (-1: none).

    `as_text`: it is to come as PostgreSQL's own text, whatever decoder its type has. `fixed`: all values of the type
    take the same room in a table.
    """

    name: str
    type_name: str
    oid: int
    modifier: int = -1
    as_text: bool = False
    fixed: bool = False

    @property
    def kind(self) -> Kind:
        if self.as_text:
            return Kind.RENDERED
        return Kind.DECIMAL if self.decimal is not None else _BY_OID.get(self.oid, Kind.RENDERED)

    @property
    def decimal(self) -> tuple[int, int] | None:
        """Precision and scale of a `numeric(p, s)` that a decimal holds; None for all else.

        numeric.c: make_numeric_typmod.
        """
        if self.oid != NUMERIC_OID or self.modifier < 4 or self.as_text:
            return None
        packed = self.modifier - 4
        precision, scale = (packed >> 16) & 0xFFFF, ((packed & 0x7FF) ^ 1024) - 1024
        return (precision, scale) if 0 <= scale <= precision <= MAX_DIGITS else None


def may_not_fit(field: Field) -> bool:
    """Has PostgreSQL values of its type that Arrow's type has no place for?"""
    return field.kind in MOMENTS or field.kind is Kind.DECIMAL
