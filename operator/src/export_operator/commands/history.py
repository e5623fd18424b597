"""`export-operator history migrate`: makes the table of the history, or brings it up to the present release."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export_operator.adapters.history import SCHEMA, Database, HistoryError
from export_operator.settings import PREFIX, SettingsError, read_history

if TYPE_CHECKING:
    from sqlalchemy import Connection

FINE, UNABLE = 0, 1
MAX_DAYS = 36_500
LOCK = 0x6578706F72746A62  # "exportjb": of two that migrate at once the second waits
MIGRATIONS = Path(__file__).resolve().parent.parent / "migrations"

_KEEP = "UPDATE export_history.retention SET keep = make_interval(days => :days)"

DESCRIPTION = f"""\
Makes the schema {SCHEMA} with the table export_jobs, or brings it up to this release; makes the roles of those who
write and read it where they are not there; and sets for how long rows are kept. All of it in one transaction, as often
as you like. The login needs CREATE on the database, and CREATEROLE unless the roles are there.

The chart runs it after install and upgrade (history.migration). By hand, from the operator's image:

  export-operator history migrate --retention-days 1095
"""


def add_parser(commands: Any) -> None:
    """Add `history` to the commands of the operator's program."""
    parser = commands.add_parser("history", help="make or bring up to date the table of the history")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    migrate = actions.add_parser(
        "migrate",
        help="make the table, or bring it up to this release",
        description=DESCRIPTION,
        epilog=f"Where it is, {PREFIX}HISTORY_HOST, _PORT, _DATABASE, _SSL_MODE and _CREDENTIALS_DIR say.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    migrate.add_argument(
        "--retention-days",
        type=int,
        default=0,
        metavar="DAYS",
        help="rows are deleted so many days after the end of their run; 0, the default: never",
    )
    migrate.add_argument("--writer", default="export_history_writer", metavar="ROLE", help="may add rows")
    migrate.add_argument("--reader", default="export_history_reader", metavar="ROLE", help="may read rows")


def run(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Do what was asked; the answer is the exit code. Raises `SettingsError`."""
    database = read_history(environ)
    if database is None:
        raise SettingsError(f"{PREFIX}HISTORY_HOST is not set")
    if not 0 <= options.retention_days <= MAX_DAYS:
        raise SettingsError(f"--retention-days: {options.retention_days} is not between 0 and {MAX_DAYS}")
    try:
        revision = migrate(database, options.retention_days, options.writer, options.reader)
    except HistoryError as error:
        print(f"export-operator: {error}", file=sys.stderr)
        return UNABLE
    print(f"ok: {SCHEMA}.export_jobs in {database.database} on {database.host} is at revision {revision}")
    return FINE


def migrate(database: Database, retention_days: int, writer: str, reader: str) -> str:
    """The revision that it is at then. Raises `HistoryError`."""
    from alembic import command
    from alembic.config import Config
    from alembic.runtime.migration import MigrationContext
    from sqlalchemy import NullPool, create_engine, text
    from sqlalchemy.exc import DBAPIError

    options = database.options()
    engine = create_engine("postgresql+psycopg://", connect_args=options, poolclass=NullPool)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    try:
        with engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
            # CREATE SCHEMA IF NOT EXISTS asks for the right to make one even where it is there.
            if connection.scalar(text("SELECT to_regnamespace(:name)"), {"name": SCHEMA}) is None:
                connection.execute(text(f"CREATE SCHEMA {SCHEMA}"))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            _grant(connection, writer, reader)
            days = {"days": retention_days or None}
            connection.execute(text(_KEEP), days)
            known = MigrationContext.configure(connection, opts={"version_table_schema": SCHEMA})
            return str(known.get_current_revision())
    except DBAPIError as error:
        raise HistoryError(str(error.orig).strip()) from error


def _grant(connection: Connection, writer: str, reader: str) -> None:
    """Who writes can neither read nor change; who reads can only read. Made without LOGIN: logins become members."""
    from sqlalchemy import text

    quote = connection.dialect.identifier_preparer.quote_identifier
    for role in (writer, reader):
        if connection.scalar(text("SELECT to_regrole(:name)"), {"name": quote(role)}) is None:
            connection.exec_driver_sql(f"CREATE ROLE {quote(role)} NOLOGIN")
        connection.exec_driver_sql(f"REVOKE ALL ON ALL TABLES IN SCHEMA {SCHEMA} FROM {quote(role)}")
        connection.exec_driver_sql(f"GRANT USAGE ON SCHEMA {SCHEMA} TO {quote(role)}")
    for right in (
        f"INSERT ON {SCHEMA}.export_jobs TO {quote(writer)}",
        f"SELECT ON {SCHEMA}.retention TO {quote(writer)}, {quote(reader)}",
        f"EXECUTE ON FUNCTION {SCHEMA}.forget(integer) TO {quote(writer)}",
        f"SELECT ON {SCHEMA}.export_jobs TO {quote(reader)}",
    ):
        connection.exec_driver_sql(f"GRANT {right}")
