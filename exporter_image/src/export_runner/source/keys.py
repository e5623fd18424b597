"""A key whose order a run can be read and continued in.

`(key) > (last)` neither doubles nor loses a row only when no column of the key is NULL and no two rows have the same
values, in the very order that the comparison uses. So: a unique B-tree index that is valid, not partial, not deferrable
and not over expressions, of NOT NULL columns with the types' own operator classes and the columns' own collations.
Each column must be delivered, as it is, since its last value is written into the checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from export_contract.failures import Failure
from export_contract.runspec import Relation, Source
from export_runner.errors import ExportError
from export_runner.frames.kinds import Field, Kind
from export_runner.source.connect import Connection

_INEXACT = frozenset({Kind.FLOAT4, Kind.FLOAT8})

# Types of pg_catalog and enums: their operators are found with an empty search_path, which is how rows are read. Tables
# with children are left out: their indexes say nothing of the children's rows. (A partitioned table's index does.)
_CANDIDATES = """
SELECT i.indisprimary, pg_catalog.array_agg(a.attname::pg_catalog.text ORDER BY k.at)
FROM pg_catalog.pg_index AS i
JOIN pg_catalog.pg_class AS c ON c.oid = i.indrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_class AS x ON x.oid = i.indexrelid
JOIN pg_catalog.pg_am AS m ON m.oid = x.relam AND m.amname = 'btree'
CROSS JOIN LATERAL pg_catalog.generate_series(0, i.indnkeyatts - 1) AS k (at)
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[k.at]
JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
JOIN pg_catalog.pg_opclass AS o ON o.oid = i.indclass[k.at]
WHERE n.nspname = %s::pg_catalog.name AND c.relname = %s::pg_catalog.name
  AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL
  AND (c.relkind = 'p' OR c.relkind IN ('r', 'm') AND NOT c.relhassubclass)
GROUP BY i.indexrelid, i.indisprimary, i.indnkeyatts
HAVING pg_catalog.count(*) = i.indnkeyatts AND pg_catalog.bool_and(
  a.attnotnull AND o.opcdefault AND i.indcollation[k.at] = a.attcollation
  AND (t.typtype = 'e' OR t.typtype = 'b' AND t.typnamespace = 'pg_catalog'::pg_catalog.regnamespace)
)
"""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A unique index of the relation that fits, but for what the request asks for."""

    primary: bool
    columns: tuple[str, ...]


def candidates(connection: Connection, relation: Relation) -> list[Candidate]:
    """Within the transaction. Raises psycopg's errors."""
    found = connection.execute(_CANDIDATES, (relation.schema, relation.table)).fetchall()
    return [Candidate(bool(primary), tuple(columns)) for primary, columns in found]  # type: ignore[arg-type]


def choose(source: Source, fields: Sequence[Field], known: Sequence[Candidate]) -> tuple[str, ...]:
    """The key to read in the order of, empty when none is eligible: the primary key, else the one of fewest columns.

    A `source.key` of the platform team must be one of `known`; for a query it is trusted. Raises `ExportError`
    (DatasetInvalid) when it is no key.
    """
    if source.key and source.relation is not None and not any(set(each.columns) == set(source.key) for each in known):
        raise ExportError(
            Failure.DATASET_INVALID,
            f"The dataset's key ({', '.join(source.key)}) is not that of a valid, complete unique index of NOT NULL"
            f" columns of {source.relation.schema}.{source.relation.table}.",
        )
    offered = [Candidate(True, source.key)] if source.key else list(known)
    fitting = [each for each in offered if _usable(source, fields, each.columns)]
    best = min(fitting, key=lambda each: (not each.primary, len(each.columns), each.columns), default=None)
    return best.columns if best else ()


def _usable(source: Source, fields: Sequence[Field], key: tuple[str, ...]) -> bool:
    masked = {mask.column for mask in source.masks}
    names = [each.name for each in fields]
    kinds = {each.name: each.kind for each in fields}
    delivered = all(names.count(name) == 1 and name not in masked and kinds[name] not in _INEXACT for name in key)
    return delivered and key[: len(source.order_by)] == source.order_by


def ordered(query: sql.Composed, fields: Sequence[Field], key: Sequence[str], after: Sequence[str]) -> sql.Composed:
    """The query's rows in the order of the key: all of them, or those behind the last one's values."""
    types = {each.name: each.type_name for each in fields}
    columns = sql.SQL(", ").join(sql.Identifier(name) for name in key)
    behind: sql.Composable = sql.SQL("")
    if after:
        values = sql.SQL(", ").join(
            sql.SQL("{}::{}").format(sql.Literal(value), sql.SQL(types[name]))  # as format_type quotes it
            for name, value in zip(key, after, strict=True)
        )
        behind = sql.SQL(" WHERE ({}) > ({})").format(columns, values)
    return sql.SQL("SELECT * FROM ({}) AS keyed{} ORDER BY {}").format(query, behind, columns)
