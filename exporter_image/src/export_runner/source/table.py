"""A plain table as it is stored, as far as the snapshot sees it: what its pages and its large values allow."""

from __future__ import annotations

from dataclasses import dataclass

from export_contract.runspec import Relation
from export_runner.source.connect import Connection

# Whatever the snapshot sees was stored before: pages that are added and values that are moved out later hold nothing
# of it. A virtual generated column ('v', PostgreSQL 18) is computed when it is read, so nothing is known of its size.
_STORED = """
SELECT pg_catalog.pg_relation_size(c.oid) / b.bytes, b.bytes,
  c.reltoastrelid <> 0 AND pg_catalog.pg_relation_size(c.reltoastrelid) > 0,
  EXISTS (SELECT FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = c.oid AND a.attgenerated = 'v')
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
CROSS JOIN (SELECT pg_catalog.current_setting('block_size')::pg_catalog.int8) AS b (bytes)
WHERE n.nspname = %s::pg_catalog.name AND c.relname = %s::pg_catalog.name
  AND c.relkind = 'r' AND NOT c.relhassubclass
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """`toasted`: values may lie outside of their rows' pages. `computed`: a column may be more than what is stored."""

    pages: int
    page_bytes: int
    toasted: bool = True
    computed: bool = False


def stored(connection: Connection, relation: Relation) -> Table | None:
    """Within the transaction, once its snapshot is taken; None when it is no plain table. Raises psycopg's errors."""
    found = connection.execute(_STORED, (relation.schema, relation.table)).fetchone()
    if found is None:
        return None
    pages, page_bytes, toasted, computed = found
    return Table(pages=int(str(pages)), page_bytes=int(str(page_bytes)), toasted=bool(toasted), computed=bool(computed))
