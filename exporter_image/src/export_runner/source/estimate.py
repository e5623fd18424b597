"""What is expected of the source, what that rests on, and what is refused for it before the first row.

EXPLAIN is a guess. Only for a table that is read whole does it rest on rows that were counted, and then only as long as
few of them changed since. Filters, views, queries, row level security and foreign tables fool it by orders of
magnitude, so runs over these are never refused for it; the hard limits, counted while rows come, end them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from export_contract.failures import Failure
from export_contract.report import EstimateSource
from export_contract.runspec import Relation, RunSpec, Source
from export_runner.errors import ExportError
from export_runner.source.connect import Connection

EXCESS = 5
"""An estimate is refused when it is more than so many times the limit."""
_TEXTS = frozenset({"CSV", "JSON", "NDJSON"})

# Of each table that holds rows of the relation: itself, or the partitions. Tables with children are left out, since a
# child may be foreign or have no statistics. A standby has gathered none of its own, nor has a server that crashed.
_STATISTICS = """
WITH named AS (
  SELECT c.oid, c.relkind, c.relhassubclass FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
  WHERE n.nspname = %s::name AND c.relname = %s::name AND NOT c.relrowsecurity
), holding AS (
  SELECT oid FROM named WHERE relkind IN ('r', 'm') AND NOT relhassubclass
  UNION ALL
  SELECT tree.relid FROM named, pg_partition_tree(named.oid) AS tree WHERE named.relkind = 'p' AND tree.isleaf
), known AS (
  SELECT c.relkind, greatest(c.reltuples, 0) AS rows, pg_stat_get_mod_since_analyze(c.oid) AS changed,
    greatest(pg_stat_get_last_analyze_time(c.oid), pg_stat_get_last_autoanalyze_time(c.oid)) AS gathered
  FROM holding JOIN pg_class AS c ON c.oid = holding.oid
)
SELECT coalesce(bool_and(relkind IN ('r', 'm')), false), coalesce(sum(rows), 0)::int8, coalesce(sum(changed), 0)::int8,
  CASE WHEN bool_and(gathered IS NOT NULL) THEN to_char(min(gathered), 'YYYY-MM-DD"T"HH24:MI:SS"Z"') ELSE '' END
FROM known
"""
# The shortest text that a row of the columns can be on average: one byte for a value, a text's own bytes for a text,
# none for NULL, and one that ends each column. Compressed and TOASTed values count as stored, which is less.
_ROW_BYTES = """
SELECT cardinality(%(all)s::text[]) + coalesce(sum((1 - s.null_frac) * CASE
    WHEN t.typlen = -1 AND (t.typcategory = 'S' OR t.typname IN ('bytea', 'json', 'xml')) THEN s.avg_width ELSE 1 END
  ), 0)::float8
FROM pg_stats AS s JOIN pg_namespace AS n ON n.nspname = s.schemaname
JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = s.tablename
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = s.attname JOIN pg_type AS t ON t.oid = a.atttypid
WHERE n.nspname = %(schema)s::name AND c.relname = %(table)s::name AND s.inherited = (c.relkind = 'p')
  AND s.attname = ANY(%(plain)s::name[])
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """Of a relation whose rows all come from tables: `rows` when they were gathered, how many were `changed` since.
    `gathered` is RFC 3339 in UTC, of the oldest; empty when there is a table that has none."""

    rows: int
    changed: int
    gathered: str

    @property
    def fresh(self) -> bool:
        """Few enough changes that autovacuum, as it comes, would not gather them anew: postgresql.org/docs/current/
        routine-vacuuming.html#AUTOVACUUM (50 rows and a tenth of the table)."""
        return bool(self.gathered) and self.changed <= 50 + self.rows // 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Rows, and bytes of one as the planner counts them (None: it says nothing). `gathered` as in `Statistics`."""

    rows: int | None = None
    row_bytes: int | None = None
    source: EstimateSource = ""
    gathered: str = ""

    @property
    def bytes(self) -> int | None:
        return None if self.rows is None or self.row_bytes is None else self.rows * self.row_bytes


def statistics(connection: Connection, relation: Relation) -> Statistics | None:
    """In the transaction, whose search_path is empty. None: it is no table, or not all of it may be seen. Raises
    psycopg's errors."""
    found = connection.execute(_STATISTICS, (relation.schema, relation.table)).fetchone()
    assert found is not None, "an aggregate is one row"
    tables, rows, changed, gathered = found
    if not tables:
        return None
    return Statistics(rows=int(str(rows)), changed=int(str(changed)), gathered=str(gathered))


def judged(source: Source, rows: int | None, row_bytes: int | None, known: Statistics | None) -> Estimate:
    """The planner's figures, with what they rest on."""
    if rows is None:
        return Estimate()
    if known is None or source.row_filter.strip():
        return Estimate(rows=rows, row_bytes=row_bytes, source="Planner")
    kind: EstimateSource = "Statistics" if known.fresh else "StaleStatistics"
    return Estimate(rows=rows, row_bytes=row_bytes, source=kind, gathered=known.gathered)


def refuse(spec: RunSpec, estimate: Estimate, row_bytes: Callable[[], float]) -> None:
    """Raises `ExportError` for a run that could only end at a hard limit. `row_bytes` is asked only where bytes are
    limited and can be foretold: not of compressed objects, whose size depends on the values."""
    if estimate.rows is None or estimate.source != "Statistics":
        return
    limits, rows = spec.limits, estimate.rows
    if limits.max_rows and rows > EXCESS * limits.max_rows:
        raise _refused(spec, estimate, Failure.ROW_LIMIT_EXCEEDED, f"maxRows ({limits.max_rows:,}) allows")
    plain = spec.output.format in _TEXTS and spec.output.compression == "None"
    if limits.max_bytes and plain and (least := int(rows * row_bytes())) > EXCESS * limits.max_bytes:
        allowed = f"maxBytes ({limits.max_bytes:,}) allows, since they are {least:,} bytes at least"
        raise _refused(spec, estimate, Failure.BYTE_LIMIT_EXCEEDED, allowed)


def row_bytes(connection: Connection, source: Source) -> float:
    """The least that a row of the relation is as text, on average, without masked columns. In the transaction. Raises
    psycopg's errors."""
    assert source.relation is not None, "a query has no statistics"
    masked = {mask.column for mask in source.masks}
    found = connection.execute(
        _ROW_BYTES,
        {
            "schema": source.relation.schema,
            "table": source.relation.table,
            "all": list(source.columns),
            "plain": [name for name in source.columns if name not in masked],
        },
    ).fetchone()
    assert found is not None, "an aggregate is one row"
    return float(str(found[0]))


def _refused(spec: RunSpec, estimate: Estimate, failure: Failure, allowed: str) -> ExportError:
    assert spec.source.relation is not None, "a query has no statistics"
    table = f"{spec.source.relation.schema}.{spec.source.relation.table}"
    return ExportError(
        failure,
        f"Refused before the first row: {table} has about {estimate.rows:,} rows, more than {EXCESS} times what"
        f" {allowed}. This rests on statistics of {estimate.gathered}; if much changed since, ANALYZE {table}.",
    )
