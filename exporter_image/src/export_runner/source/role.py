"""The role that reads must be able to read and no more: else row level security would not bind it, or it could write.

Refused are superusers, roles with BYPASSRLS or REPLICATION, and owners: of the table and its partitions, or, since a
query may read whatever it names, of any relation of the database. Whoever may use the owner's rights as its member is
an owner too (postgresql.org/docs/current/ddl-rowsecurity.html). A view counts by its own owner; what it reads, it reads
with that owner's rights, which the platform team has chosen.
"""

from __future__ import annotations

from collections.abc import Iterator

from psycopg import sql

from export_contract.failures import Failure
from export_contract.runspec import Source
from export_runner.errors import ExportError
from export_runner.source.connect import Connection

_ATTRIBUTES: tuple[tuple[str, str], ...] = (
    ("SUPERUSER", "is a superuser"),
    ("BYPASSRLS", "bypasses row level security"),
    ("REPLICATION", "may replicate, and so read everything"),
)
_ROLES = """
SELECT r.rolname::text, r.rolsuper, r.rolbypassrls, r.rolreplication FROM pg_catalog.pg_roles AS r
WHERE r.rolname IN (current_user, session_user)
"""
# 'r', 'p', 'v', 'm', 'f': what holds or gives rows (pg_class.relkind); others' temporary tables cannot be read.
_OWNED = """
SELECT n.nspname::text, c.relname::text, pg_catalog.pg_get_userbyid(c.relowner)::text
FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relpersistence <> 't'
  AND (pg_catalog.pg_has_role(session_user, c.relowner, 'USAGE') OR pg_catalog.pg_has_role(c.relowner, 'USAGE'))
"""
_OF_TABLE = """
  AND c.oid IN (
    SELECT named.oid FROM pg_catalog.pg_class AS named JOIN pg_catalog.pg_namespace AS s ON s.oid = named.relnamespace
    WHERE s.nspname = %(schema)s::name AND named.relname = %(table)s::name
    UNION ALL
    SELECT tree.relid FROM pg_catalog.pg_class AS named JOIN pg_catalog.pg_namespace AS s ON s.oid = named.relnamespace,
      LATERAL pg_catalog.pg_partition_tree(named.oid) AS tree
    WHERE s.nspname = %(schema)s::name AND named.relname = %(table)s::name AND named.relkind = 'p')
"""
_FIRST = " ORDER BY 1, 2 LIMIT 1"


def check(connection: Connection, source: Source) -> None:
    """In the transaction, whose search_path is empty. Raises `ExportError` (SourceRoleTooPrivileged), psycopg's errors.

    The message says which property it is and the SQL that mends it.
    """
    if source.allow_privileged_role:
        return
    for role, *found in connection.execute(_ROLES).fetchall():
        name = str(role)
        held = [each for each, has in zip(_ATTRIBUTES, found, strict=True) if has]
        if held:
            said = ", ".join(text for _, text in held)
            mend = " ".join(f"NO{attribute}" for attribute, _ in held)
            raise _refused(connection, name, said, [f"ALTER ROLE {_quoted(connection, name)} {mend}"])
    if source.relation is None:
        owned = connection.execute(_OWNED + _FIRST).fetchone()
    else:
        place = {"schema": source.relation.schema, "table": source.relation.table}
        owned = connection.execute(_OWNED + _OF_TABLE + _FIRST, place).fetchone()
    if owned is not None:
        schema, table, owner = map(str, owned)
        name = connection.info.user
        said = f"owns {schema}.{table}" + ("" if owner == name else f" as a member of {owner}")
        raise _refused(connection, name, said, list(_disown(connection, name, owner, (schema, table))))


def _disown(connection: Connection, role: str, owner: str, relation: tuple[str, str]) -> Iterator[str]:
    quoted, table = _quoted(connection, role), _quoted(connection, *relation)
    if owner == role:
        yield f"ALTER TABLE {table} OWNER TO another_role"
    else:
        yield f"REVOKE {_quoted(connection, owner)} FROM {quoted}"
    yield f"GRANT SELECT ON {table} TO {quoted}"


def _quoted(connection: Connection, *names: str) -> str:
    return sql.Identifier(*names).as_string(connection)


def _refused(connection: Connection, role: str, said: str, statements: list[str]) -> ExportError:
    return ExportError(
        Failure.SOURCE_ROLE_TOO_PRIVILEGED,
        f"Role {_quoted(connection, role)} {said}. Use a role that may SELECT alone, or mend this one:"
        f" {'; '.join(statements)}; or allow it by allowPrivilegedRole.",
    )
