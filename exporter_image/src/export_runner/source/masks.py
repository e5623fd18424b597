"""What becomes of a masked column's values, as expressions of PostgreSQL, so that nothing unmasked leaves it.

Hash is HMAC-SHA-256 (RFC 2104) composed of PostgreSQL's own `sha256`, which needs no extension. Its key never stands in
a statement: the two padded keys are bound parameters of `set_config`, for the transaction, and the expressions refer to
the settings. So neither pg_stat_activity nor pg_stat_statements shows them. A server that logs bound parameters
(`log_statement = all`) does, unless `log_parameter_max_length` is 0 for the role.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence

from psycopg import sql

from export_contract import environment
from export_contract.failures import Failure
from export_contract.runspec import Mask, Source
from export_runner.errors import ExportError
from export_runner.source.connect import Connection

MIN_KEY_BYTES = 16
_BLOCK = 64  # bytes, of SHA-256: RFC 2104
_PADS: tuple[tuple[str, int], ...] = (("export_runner.mask_inner", 0x36), ("export_runner.mask_outer", 0x5C))


def masked(source: Source) -> frozenset[str]:
    """Columns whose values are hidden: never a key to resume at, which the checkpoint would tell, nor an order."""
    return frozenset(mask.column for mask in source.masks)


def validate(source: Source) -> None:
    """Raises `ExportError` (DatasetInvalid)."""
    hidden = masked(source)
    if len(hidden) < len(source.masks):
        raise ExportError(Failure.DATASET_INVALID, "A column has two masks; leave one.")
    if shown := next((name for name in (*source.order_by, *source.key) if name in hidden), None):
        raise ExportError(
            Failure.DATASET_INVALID, f"Column {shown!r} is masked, and its order would tell of it; order by another."
        )
    if wrong := next((mask for mask in source.masks if min(mask.keep_first, mask.keep_last) < 0), None):
        raise ExportError(
            Failure.DATASET_INVALID, f"The mask of {wrong.column!r} keeps fewer than 0 characters; give 0 or more."
        )
    if wrong := next((mask for mask in source.masks if "\0" in mask.text), None):
        raise ExportError(Failure.DATASET_INVALID, f"The mask of {wrong.column!r} has a NUL in its text; leave it out.")


def set_key(connection: Connection, masks: Sequence[Mask], variables: Mapping[str, str] | None = None) -> None:
    """Has each transaction that is to hash know the key. Raises `ExportError`, psycopg's errors."""
    if not any(mask.kind == "Hash" for mask in masks):
        return
    variables = os.environ if variables is None else variables
    key = os.fsencode(variables.get(environment.MASK_KEY, ""))
    if len(key) < MIN_KEY_BYTES:
        raise ExportError(
            Failure.DATASET_INVALID,
            f"Masks of kind Hash need {environment.MASK_KEY} with at least {MIN_KEY_BYTES} bytes; it has {len(key)}.",
        )
    if len(key) > _BLOCK:
        key = hashlib.sha256(key).digest()
    padded = key.ljust(_BLOCK, b"\0")
    for name, pad in _PADS:
        # The setting's name is a literal and its value a parameter: the value is in no statement's text.
        connection.execute(
            sql.SQL("SELECT pg_catalog.set_config({}, %s::pg_catalog.text, true) IS NULL").format(sql.Literal(name)),
            (bytes(byte ^ pad for byte in padded).hex(),),
        )


def text(value: sql.Composable) -> sql.Composed:
    """A value of any type as PostgreSQL writes it; NULL stays NULL.

    concat calls the output function; a cast to text is another thing for char(n), inet and types with own casts.
    IS DISTINCT FROM NULL, because a row of NULLs IS NULL and is none.
    """
    return sql.SQL("CASE WHEN {0} IS DISTINCT FROM NULL THEN pg_catalog.concat({0}) END").format(value)


def expression(mask: Mask) -> sql.Composed:
    """The masked column: text, but for Null, which keeps the column's type and modifier."""
    column = sql.Identifier(mask.column)
    if mask.kind == "Null":
        return sql.SQL("(SELECT {} WHERE FALSE)").format(column)  # a CASE would lose the modifier
    if mask.kind == "Redact":
        shown = sql.Literal(mask.text)
        return sql.SQL("CASE WHEN {} IS DISTINCT FROM NULL THEN {}::pg_catalog.text END").format(column, shown)
    if mask.kind == "Partial":
        return _partial(mask, text(column))
    return _hmac(text(column))


def _partial(mask: Mask, value: sql.Composed) -> sql.Composed:
    """A value that is no longer than what stays is hidden whole: else short ones would be shown whole."""
    return sql.SQL(
        "CASE WHEN pg_catalog.char_length({value}) <= {kept}"
        " THEN pg_catalog.repeat({mark}, pg_catalog.char_length({value}))"
        " ELSE pg_catalog.left({value}, {first})"
        " || pg_catalog.repeat({mark}, pg_catalog.char_length({value}) - {kept})"
        " || pg_catalog.right({value}, {last}) END"
    ).format(
        value=sql.SQL("({})").format(value),
        kept=sql.Literal(mask.keep_first + mask.keep_last),
        first=sql.Literal(mask.keep_first),
        last=sql.Literal(mask.keep_last),
        mark=sql.Literal(mask.text or "*"),
    )


def _hmac(value: sql.Composed) -> sql.Composed:
    # A subquery that refers to no column is evaluated once, not for each row.
    inner, outer = (
        sql.SQL("(SELECT pg_catalog.decode(pg_catalog.current_setting({}), 'hex'))").format(sql.Literal(name))
        for name, _ in _PADS
    )
    return sql.SQL(
        "pg_catalog.encode(pg_catalog.sha256({} || pg_catalog.sha256({} || pg_catalog.convert_to({}, 'UTF8'))), 'hex')"
    ).format(outer, inner, value)
