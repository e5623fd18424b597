"""The demo's data: made by the server itself, in SQL, so that a hundred thousand rows cost a second.

data.load_users(services, 100_000)  # services of `cluster.deploy`, or a server of `host.postgres_server`
services.pgbench(scale=10)
"""

from pathlib import Path
from typing import Protocol

from tests.cluster import templates

ROWS = 100_000
SQL = Path(__file__).resolve().parent / "users.sql"
COLUMNS = (
    *("id", "email", "full_name", "bio", "country", "is_active", "balance", "score", "settings", "tags"),
    *("created_at", "last_login", "birth_date"),
)


class Database(Protocol):
    """A database that runs SQL as its superuser and returns what psql printed."""

    def psql(self, sql: str, *options: str) -> str: ...


def users_sql(rows: int = ROWS) -> str:
    """The script that makes the table of so many users."""
    return templates.render(SQL.read_text(), {"ROWS": str(int(rows))})


def load_users(database: Database, rows: int = ROWS) -> int:
    """Make the table, replacing one that exists; returns how many rows it has, as the server counts."""
    database.psql(users_sql(rows))
    return int(database.psql("SELECT count(*) FROM users"))


def reader_sql(role: str, password: str) -> str:
    """A role that may read every table and nothing else, for an ExportSource; calling again sets the password."""
    name, quoted = '"' + role.replace('"', '""') + '"', "'" + password.replace("'", "''") + "'"
    literal = "'" + role.replace("'", "''") + "'"
    return f"""
DO $do$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {literal}) THEN CREATE ROLE {name} LOGIN; END IF;
END $do$;
ALTER ROLE {name} PASSWORD {quoted};
ALTER ROLE {name} SET default_transaction_read_only = on;
GRANT pg_read_all_data TO {name};
"""
