"""The table of the history on a real PostgreSQL: who may do what to it, what is written once, and what goes when."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import errors

from export_operator.__main__ import main
from export_operator.adapters.history import HistoryError, HistoryTable
from export_operator.domain import times

from .conftest import READER, WRITER, Place

pytestmark = pytest.mark.integration

RUN = "0" * 20
NOW = datetime.now(UTC).replace(microsecond=0)


def row(run: str = RUN, completed: datetime = NOW, **more: Any) -> Mapping[str, Any]:
    return {
        "run": run,
        "request_uid": "uid-1",
        "namespace": "team-a",
        "request": "users",
        "phase": "Succeeded",
        "completed_at": times.render(completed),
        "told_by": "request",
        **more,
    }


async def test_a_row_is_written_whole_and_once(place: Place) -> None:
    told: dict[str, Any] = {
        "requester": "alice",
        "submitted_by": "system:serviceaccount:ci:deploy",
        "columns": ["id", "e\"ma'il", "ünïcode"],
        "rows": 2**53 + 1,
        "complete": True,
        "timings": {"read": 1.25},
        "snapshot_at": "2026-11-24T12:00:00.123456Z",
    }
    assert await place.table.write([row(**told)]) == {}
    assert await place.table.write([row(requester="mallory"), row("1" * 20)]) == {}
    assert place.runs() == [RUN, "1" * 20]
    with place.connect("auditor") as connection:
        cursor = connection.execute(
            "SELECT requester, submitted_by, columns, rows, complete, timings, snapshot_at, completed_at, run_id,"
            " bytes, recorded_by, recorded_at BETWEEN now() - interval '1 hour' AND now()"
            " FROM export_history.export_jobs WHERE run = %s",
            [RUN],
        )
        assert cursor.fetchall() == [
            (
                "alice",
                "system:serviceaccount:ci:deploy",
                ["id", "e\"ma'il", "ünïcode"],
                2**53 + 1,
                True,
                {"read": 1.25},
                datetime(2026, 11, 24, 12, 0, 0, 123456, UTC),
                NOW,
                "",
                None,
                "export_operator",
                True,
            )
        ]


async def test_one_that_is_refused_keeps_no_other_out(place: Place) -> None:
    refused = await place.table.write([row("a"), row("b", rows="many"), row("c", phase=None), row("d")])
    assert place.runs() == ["a", "d"]
    assert refused.keys() == {"b", "c"}
    assert await place.table.write([row("b", rows="many")]) == {"b": refused["b"]}


async def test_releases_of_operator_and_table_may_differ(place: Place) -> None:
    assert await place.table.write([row(of_a_newer_operator="?")]) == {}
    place.server.psql("ALTER TABLE export_history.export_jobs ADD COLUMN newer text", "--dbname=audit")
    assert await place.table.write([row("1" * 20)]) == {}
    assert place.runs() == [RUN, "1" * 20]


CHANGES = (
    "UPDATE export_history.export_jobs SET requester = 'bob'",
    "DELETE FROM export_history.export_jobs",
    "TRUNCATE export_history.export_jobs",
)


@pytest.mark.parametrize("statement", [*CHANGES, "SELECT * FROM export_history.export_jobs"])
async def test_who_writes_can_neither_change_nor_read(place: Place, statement: str) -> None:
    await place.table.write([row()])
    with place.connect("export_operator") as connection, pytest.raises(errors.InsufficientPrivilege):
        connection.execute(statement)
    assert not await place.table.unguarded()


@pytest.mark.parametrize("statement", [*CHANGES, "INSERT INTO export_history.export_jobs (run) VALUES ('f')"])
async def test_who_reads_can_only_read(place: Place, statement: str) -> None:
    await place.table.write([row()])
    with place.connect("auditor") as connection:
        assert connection.execute("SELECT count(*) FROM export_history.export_jobs").fetchone() == (1,)
        for each in (statement, "SELECT export_history.forget(1)"):
            with pytest.raises(errors.InsufficientPrivilege):
                connection.execute(each)


@pytest.mark.parametrize("statement", CHANGES)
async def test_not_even_owner_or_superuser_change_what_is_written(place: Place, statement: str) -> None:
    await place.table.write([row()])
    with place.connect("owner") as connection, pytest.raises(errors.InsufficientPrivilege, match="append-only"):
        connection.execute(statement)
    dsn = place.server.dsn.replace("/app", "/audit")
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        with pytest.raises(errors.InsufficientPrivilege, match="append-only"):
            connection.execute(statement)
    assert place.runs() == [RUN]
    assert await HistoryTable(place.database("owner")).unguarded()


async def test_nobody_chooses_when_and_by_whom_a_row_was_written(place: Place) -> None:
    forged: dict[str, Any] = {"recorded_at": "2001-01-01T00:00:00Z", "recorded_by": "somebody else"}
    assert await place.table.write([row(**forged)]) == {}
    with place.connect("auditor") as connection:
        cursor = connection.execute("SELECT recorded_by, recorded_at > '2026-01-01' FROM export_history.export_jobs")
        assert cursor.fetchall() == [("export_operator", True)]


async def test_rows_go_when_they_were_kept_long_enough_and_do_not_come_back(place: Place) -> None:
    old, young = row("a", NOW - timedelta(days=31)), row("b", NOW - timedelta(days=29))
    await place.table.write([old, young])
    assert await place.table.forget() == 0  # for ever, until somebody says otherwise
    place.migrate(retention_days=30)
    assert await place.table.forget() == 1
    await place.table.write([old, young])
    assert place.runs() == ["b"]
    with place.connect("owner") as connection, pytest.raises(errors.InsufficientPrivilege):
        connection.execute("DELETE FROM export_history.export_jobs")


async def test_only_the_owner_says_how_long_rows_are_kept(place: Place) -> None:
    for login in ("export_operator", "auditor"):
        with place.connect(login) as connection, pytest.raises(errors.InsufficientPrivilege):
            connection.execute("UPDATE export_history.retention SET keep = interval '1 second'")


async def test_migrating_again_changes_nothing_but_the_retention(place: Place) -> None:
    await place.table.write([row()])
    assert [place.migrate(10), place.migrate(20), place.migrate(0)] == ["0001"] * 3
    assert place.runs() == [RUN]
    assert place.server.psql("SELECT keep IS NULL FROM export_history.retention", "--dbname=audit") == "t"


async def test_two_that_migrate_at_once_do_it_one_after_the_other(place: Place) -> None:
    place.server.psql("DROP SCHEMA export_history CASCADE", "--dbname=audit")
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(place.migrate, range(4))) == ["0001"] * 4


async def test_an_owner_that_may_make_neither_roles_nor_schemas_uses_those_that_are_there(place: Place) -> None:
    place.server.psql(
        "DROP SCHEMA export_history CASCADE; CREATE ROLE plain LOGIN PASSWORD 'not-told';"
        " CREATE SCHEMA export_history AUTHORIZATION plain",
        "--dbname=audit",
    )
    try:
        assert place.migrate(login="plain") == "0001"
        await place.table.write([row()])
        assert place.runs() == [RUN]
    finally:
        place.server.psql("DROP SCHEMA export_history CASCADE; DROP ROLE plain", "--dbname=audit")


async def test_what_is_wrong_is_told_without_the_password(place: Place) -> None:
    (place.login("export_operator") / "password").write_text("wrong-one")
    with pytest.raises(HistoryError) as refused:
        await place.table.write([row()])
    assert 'password authentication failed for user "export_operator"' in str(refused.value)
    assert "wrong-one" not in str(refused.value)
    (place.login("export_operator") / "password").write_text("not-told")  # the Secret is mended
    assert await place.table.write([row()]) == {}
    (place.login("export_operator") / "password").unlink()
    with pytest.raises(HistoryError, match=r"credentials cannot be read: No such file or directory: .*/password"):
        await place.table.write([row()])


async def test_a_table_that_is_not_there_yet_is_an_outage(place: Place) -> None:
    place.server.psql("DROP SCHEMA export_history CASCADE", "--dbname=audit")
    with pytest.raises(HistoryError, match="export_history"):
        await place.table.write([row()])
    place.migrate()
    assert await place.table.write([row()]) == {}


def test_the_roles_are_made_with_no_login(place: Place) -> None:
    logins = place.server.psql(f"SELECT bool_or(rolcanlogin) FROM pg_roles WHERE rolname IN ('{WRITER}', '{READER}')")
    assert logins == "f"


def test_the_command_says_what_it_has_done(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    where = {
        "HOST": place.server.host,
        "PORT": str(place.server.port),
        "DATABASE": "audit",
        "CREDENTIALS_DIR": str(place.login("owner")),
    }
    for name, value in where.items():
        monkeypatch.setenv(f"EXPORT_OPERATOR_HISTORY_{name}", value)
    assert main(["history", "migrate", "--retention-days=1095"]) == 0
    told = f"ok: export_history.export_jobs in audit on {place.server.host} is at revision 0001\n"
    assert capsys.readouterr().out == told
    assert place.server.psql("SELECT keep FROM export_history.retention", "--dbname=audit") == "1095 days"
