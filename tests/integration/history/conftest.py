"""A real PostgreSQL with the table of the history, and the logins that the guide gives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from export_operator.adapters.history import Database, HistoryTable
from export_operator.commands.history import migrate
from tests.services import host

WRITER, READER = "export_history_writer", "export_history_reader"
PASSWORD = "not-told"


@dataclass(frozen=True)
class Place:
    """The server, and directories with the credentials of its logins."""

    server: host.PostgresServer
    directory: Path

    def database(self, login: str, name: str = "audit") -> Database:
        server = self.server
        return Database(
            host=server.host, port=server.port, database=name, ssl_mode="VerifyFull", credentials=self.login(login)
        )

    def login(self, name: str) -> Path:
        """What the Secret of a login holds."""
        found = self.directory / name
        if not found.exists():
            found.mkdir()
            (found / "username").write_text(name)
            (found / "password").write_text(f"{PASSWORD}\n")
            (found / "ca.crt").write_bytes(self.server.certificate.read_bytes())
        return found

    def connect(self, login: str) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(**self.database(login).options(), autocommit=True)

    @property
    def table(self) -> HistoryTable:
        """As the operator reaches it."""
        return HistoryTable(self.database("export_operator"))

    def migrate(self, retention_days: int = 0, login: str = "owner") -> str:
        return migrate(self.database(login), retention_days, WRITER, READER)

    def runs(self) -> list[str]:
        return self.server.psql("SELECT run FROM export_history.export_jobs ORDER BY 1", "--dbname=audit").split()


@pytest.fixture(scope="module")
def server() -> Iterator[host.PostgresServer]:
    with host.postgres_server(tls=True) as server:
        server.psql(f"CREATE ROLE owner LOGIN CREATEROLE PASSWORD '{PASSWORD}'")
        yield server


@pytest.fixture
def place(server: host.PostgresServer, tmp_path: Path) -> Iterator[Place]:
    """A database of the test's own, migrated, with the logins of operator and auditor."""
    server.psql("CREATE DATABASE audit OWNER owner")
    made = Place(server, tmp_path)
    made.migrate()
    for login, role in (("export_operator", WRITER), ("auditor", READER)):
        server.psql(f"CREATE ROLE {login} LOGIN PASSWORD '{PASSWORD}' IN ROLE {role}")
    server.psql("CHECKPOINT")  # the servers of tests lose what they did last when they are killed; rows must not
    yield made
    server.psql("DROP DATABASE audit WITH (FORCE); DROP ROLE export_operator; DROP ROLE auditor;")
    server.psql(f"DROP ROLE {WRITER}; DROP ROLE {READER};")
