"""The history on a real cluster: the chart's migration, rows of real runs, an outage, and a run under which its request
is deleted."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import psycopg
import pytest

from export_operator.adapters.unwritten import NAME
from tests.e2e.conftest import MakeTeam, World
from tests.e2e.furniture import DESTINATION, FEW, PLENTY, SOURCE
from tests.e2e.team import SECONDS, Team
from tests.platform import chart
from tests.platform.api import Json
from tests.platform.names import NAMESPACE, OPERATOR, RUN_NAMESPACE
from tests.platform.waiting import until

pytestmark = pytest.mark.e2e

DATABASE, OWNER, WRITER, AUDITOR = "e2e_audit", "e2e_history_owner", "e2e_history_writer", "e2e_auditor"
ROLES = ("e2e_may_write", "e2e_may_read")
PASSWORD = "not-told-4a61"
HOLD = 20
"""Seconds for which a request is kept for its row."""
RECORDED = 30.0
"""A bound: rows are written every two seconds, and asked for anew within a minute after an outage."""


def secret(name: str, user: str) -> Json:
    data = {"username": user, "password": PASSWORD}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "stringData": data,
    }


class History:
    """The table, as an auditor reads it."""

    def __init__(self, world: World, connection: psycopg.Connection[tuple[object, ...]]) -> None:
        self.world = world
        self._connection = connection

    def rows(self, team: Team) -> Mapping[str, tuple[object, ...]]:
        """By name of the request: who asked, for whom, what, how it ended, how much, who told."""
        found = self._connection.execute(
            "SELECT request, run_id, submitted_by, requester, source, dataset, destination, phase, reason, rows,"
            " told_by FROM export_history.export_jobs WHERE namespace = %s",
            [team.namespace],
        ).fetchall()
        assert len({row[:2] for row in found}) == len(found)
        return {f"{row[0]}/{row[1]}".rstrip("/"): row[2:] for row in found}

    def until(self, team: Team, *requests: str, seconds: float = RECORDED) -> Mapping[str, tuple[object, ...]]:
        """The rows, as soon as there are those of all these requests."""

        def look() -> Mapping[str, tuple[object, ...]] | None:
            found = self.rows(team)
            return found if set(requests) <= set(found) else None

        return until(f"rows of {', '.join(requests)}", look, seconds)

    @contextmanager
    def away(self) -> Iterator[None]:
        """Nobody can log in to the database any more."""
        psql = self.world.platform.services.psql
        psql(f"ALTER ROLE {WRITER} NOLOGIN")
        try:
            yield
        finally:
            psql(f"ALTER ROLE {WRITER} LOGIN")


@pytest.fixture(scope="module")
def history(world: World) -> Iterator[History]:
    services, platform = world.platform.services, world.platform
    for login, more in ((OWNER, "CREATEROLE"), (WRITER, ""), (AUDITOR, "")):
        services.psql(
            f"DO $$ BEGIN IF to_regrole('{login}') IS NULL THEN CREATE ROLE {login}; END IF; END $$;"
            f"ALTER ROLE {login} LOGIN {more} PASSWORD '{PASSWORD}'"
        )
    services.psql(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
    services.psql(f"CREATE DATABASE {DATABASE} OWNER {OWNER}")
    for name, user in (("history-owner", OWNER), ("history", WRITER)):
        platform.api.apply(secret(name, user))
    settings = {
        "enabled": "true",
        "host": services.postgres_host,
        "port": str(services.postgres_port),
        "database": DATABASE,
        "sslMode": "Prefer",
        "holdSeconds": str(HOLD),
        "credentialsSecret.name": "history",
        "migration.credentialsSecret.name": "history-owner",
        "migration.writerRole": ROLES[0],
        "migration.readerRole": ROLES[1],
    }
    try:
        chart.install(
            platform.cluster, platform.images, *(f"history.{name}={value}" for name, value in settings.items())
        )
        services.psql(f"GRANT {ROLES[0]} TO {WRITER}; GRANT {ROLES[1]} TO {AUDITOR}")
        with (
            services.kubectl.forwarded("service/postgres", 5432) as port,
            psycopg.connect(
                host="127.0.0.1", port=port, dbname=DATABASE, user=AUDITOR, password=PASSWORD, autocommit=True
            ) as connection,
        ):
            yield History(world, connection)
    finally:
        chart.install(platform.cluster, platform.images)
        services.psql(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        for role in (*ROLES, OWNER, WRITER, AUDITOR):
            services.psql(f"DROP ROLE IF EXISTS {role}")
        for name in ("history-owner", "history"):
            platform.api.delete("Secret", name, NAMESPACE)


def told(
    team: Team, phase: str, reason: str, rows: int | None, *, dataset: str = "few", by: str = "request"
) -> tuple[object, ...]:
    return (team.user, team.user, SOURCE, dataset, DESTINATION, phase, reason, rows, by)


def unwritten(world: World) -> Json | None:
    return world.platform.api.find("ConfigMap", NAME, RUN_NAMESPACE)


def test_each_end_has_its_row(history: History, team: Team) -> None:
    team.ask("good")
    team.ask("bad", dataset="nowhere")
    team.succeeded("good")
    team.until("bad", "Rejected")
    team.patch("good", runID="again")
    team.succeeded("good", run_id="again")
    assert history.until(team, "good", "bad", "good/again") == {
        "good": told(team, "Succeeded", "Delivered", FEW),
        "good/again": told(team, "Succeeded", "Delivered", FEW),
        "bad": told(team, "Rejected", "DatasetNotFound", None, dataset="nowhere"),
    }


def test_through_an_outage_exports_end_requests_go_and_no_row_is_lost(
    history: History, world: World, teams: MakeTeam
) -> None:
    """The operator's pods are replaced meanwhile: what is not written is known from the cluster alone."""
    team = teams(PLENTY)
    with history.away():
        team.ask("deleted")
        team.ask("anew")
        team.ask("expires", ttlSecondsAfterFinished=1)
        team.ask("held")
        for name in ("deleted", "anew", "expires", "held"):
            assert team.succeeded(name)["rows"] == FEW
        team.patch("anew", runID="second")
        team.succeeded("anew", run_id="second")
        team.delete("deleted")
        until(
            "the end of its hold",
            lambda: team.admin.find("ExportRequest", "expires", team.namespace) is None,
            HOLD + 2 * SECONDS,
        )
        assert unwritten(world) is not None
        assert history.rows(team) == {}
        world.platform.kubectl.run("delete", "pod", "--selector", OPERATOR, "--wait=true")
        world.platform.kubectl.run("rollout", "status", "deployment/export-operator", "--timeout=120s")
    good = told(team, "Succeeded", "Delivered", FEW)
    all_of_them = ("deleted", "anew", "anew/second", "expires", "held")
    assert history.until(team, *all_of_them, seconds=60 + RECORDED) == dict.fromkeys(all_of_them, good)


def test_a_request_that_is_deleted_under_its_run_leaves_a_row(history: History, team: Team) -> None:
    team.ask("gone", dataset="slow", source={"name": SOURCE, "dataset": "slow", "parameters": {"rows": "500"}})
    team.running_pod("gone")
    team.delete("gone")
    row = history.until(team, "gone", seconds=SECONDS)["gone"]
    assert row == told(team, "Cancelled", "NotWanted", None, dataset="slow", by="job")


def test_nobody_of_the_product_can_change_what_is_written(history: History, world: World, team: Team) -> None:
    team.ask("kept")
    team.succeeded("kept")
    history.until(team, "kept")
    with (
        world.platform.services.kubectl.forwarded("service/postgres", 5432) as port,
        psycopg.connect(
            host="127.0.0.1", port=port, dbname=DATABASE, user=WRITER, password=PASSWORD, autocommit=True
        ) as connection,
    ):
        for statement in ("DELETE FROM", "TRUNCATE", "SELECT * FROM"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(f"{statement} export_history.export_jobs")
