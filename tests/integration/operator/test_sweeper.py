"""Sweeps of a real S3 server, by what a real API server knows."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from export_operator import sweep_pass
from export_operator.adapters import artifact_tables, storage
from export_operator.adapters.cluster import Cluster, request_path
from export_operator.adapters.kube import ApiError, Kube, path_of
from export_operator.domain.identity import Subject
from export_operator.domain.model import API_VERSION, GROUP, VERSION, Key
from export_operator.domain.pages import Page
from export_operator.domain.sweep import Finding
from export_operator.domain.tombstones import Tombstones
from export_operator.domain.usage import render_usage, usage_name
from export_operator.sweep_report import Report, Total
from export_operator.sweeper import Sweeper
from export_runner.sinks.tables import script
from tests.services import host
from tests.services.recorder import recorder
from tests.services.sts import SecurityTokens
from tests.unit.operator.test_tombstones import stone

from .connections import Connect
from .remains import Remains, ended, folder, place

pytestmark = pytest.mark.integration

DESTINATIONS = path_of(GROUP, VERSION, "exportdestinations")
RUN, OTHER = "0" * 20, "f" * 20
CHECKPOINT, PART = f"prod/.export-operator/{RUN}/checkpoint.json", f"prod/team-a/broken/{OTHER}/broken-00001.csv"
EXPORT = [f"prod/team-a/gone/{RUN}/gone.csv", f"prod/team-a/gone/{RUN}/manifest.json"]
STRANGE = [f"prod/team-a/gone/{RUN}/notes.txt", "prod/team-a/readme", "zoo/file"]
CLAIM = "prod/.export-operator/owner.json"
SCHEMA = "spare 100%"
OPERATOR = "system:serviceaccount:export-operator:export-operator"
"""Who alone may write a status, where the admission policies are installed."""
UPLOAD = f"prod/team-a/broken/{OTHER}/broken.csv"
LEFT = [
    Finding("Upload", OTHER, f"prod/team-a/broken/{OTHER}/", (UPLOAD,), 8, Key("team-a", "broken")),
    Finding("Checkpoint", RUN, f"prod/.export-operator/{RUN}/", (CHECKPOINT,), 2),
    Finding("Unfinished", OTHER, f"prod/team-a/broken/{OTHER}/", (PART,), 2, Key("team-a", "broken")),
    Finding("Delivered", RUN, f"prod/team-a/gone/{RUN}/", tuple(EXPORT), 4, Key("team-a", "gone")),
]


class OnlyOne(Kube):
    """Destinations of other tests are not seen."""

    destination = ""

    async def pages(self, path: str, **query: str | int) -> AsyncIterator[dict[str, Any]]:
        async for page in super().pages(path, **query):
            others = path == DESTINATIONS
            items = [each for each in page["items"] if not others or each["metadata"]["name"] == self.destination]
            yield {**page, "items": items}


@dataclass
class Yard:
    """A destination with a bucket of its own, swept a week from now."""

    kube: OnlyOne
    namespace: str
    remains: Remains

    def sweeper(self, *, later: timedelta = timedelta(days=7), own_identity: bool = False) -> Sweeper:
        opened = functools.partial(storage.opened, self.kube, self.namespace, own_identity=own_identity)

        def clock() -> datetime:
            return datetime.now(UTC) + later

        served = (self.namespace, "team-a")
        tables = functools.partial(artifact_tables.opened, self.kube, self.namespace)
        return Sweeper(self.kube, self.namespace, served, opened, tables, clock=clock, grace=timedelta(days=1))

    async def sweep(self, *, dry_run: bool = False) -> Report:
        return await self.sweeper().sweep(dry_run=dry_run)


@pytest.fixture
async def yard(connect: Connect, cluster: Cluster, s3: host.S3Server, remains: Remains) -> AsyncIterator[Yard]:
    kube = await connect(OnlyOne)
    kube.destination = f"sweep-{secrets.token_hex(4)}"
    body = {"apiVersion": API_VERSION, "kind": "ExportDestination", "metadata": {"name": kube.destination}}
    made = await kube.create(DESTINATIONS, {**body, "spec": dict(place(s3))})
    yield Yard(kube, cluster.run_namespace, remains)
    await kube.delete(f"{DESTINATIONS}/{kube.destination}", uid=made["metadata"]["uid"])


def litter(remains: Remains) -> None:
    remains.put(CHECKPOINT, PART, *EXPORT, *STRANGE)
    remains.begin(UPLOAD)


def found(report: Report) -> list[Finding]:
    return [finding for _, finding in report.findings]


async def test_a_dry_run_tells_all_and_changes_nothing(yard: Yard) -> None:
    litter(yard.remains)
    report = await yard.sweep(dry_run=True)
    assert found(report) == LEFT
    assert report.totals == {
        yard.kube.destination: {
            "Upload": Total(1, 8),
            "Checkpoint": Total(1, 2),
            "Unfinished": Total(1, 2),
            "Delivered": Total(1, 4),
        }
    }
    assert (report.removed, report.blind, report.partial) == (0, [], [])
    assert (yard.remains.keys, yard.remains.uploads) == (sorted([CHECKPOINT, PART, *EXPORT, *STRANGE]), [UPLOAD])


async def test_a_sweep_removes_what_is_ours_old_and_of_no_use_and_nothing_else(yard: Yard) -> None:
    litter(yard.remains)
    report = await yard.sweep()
    assert (found(report), report.removed, report.removed_bytes) == (LEFT, 3, 12)
    name = yard.kube.destination
    orphaned = {
        (name, kind): 4 if kind == "Delivered" else 0 for kind in ("Upload", "Checkpoint", "Unfinished", "Delivered")
    }
    assert (report.orphaned, report.whole) == (orphaned, {name})
    assert (yard.remains.keys, yard.remains.uploads) == (sorted([*EXPORT, *STRANGE, CLAIM]), [])
    again = await yard.sweep()
    assert (found(again), again.removed) == (LEFT[3:], 0)


async def test_what_is_younger_than_the_grace_stays(yard: Yard) -> None:
    litter(yard.remains)
    report = await yard.sweeper(later=timedelta()).sweep()
    assert (found(report), yard.remains.uploads) == ([], [UPLOAD])


async def test_what_a_run_with_a_job_has_is_left_to_the_job(yard: Yard, cluster: Cluster, s3: host.S3Server) -> None:
    job = await ended(cluster, s3)
    keys = [f"{folder(job)}users.csv", f"prod/.export-operator/{job.run}/checkpoint.json"]
    yard.remains.put(*keys)
    yard.remains.begin(f"{folder(job)}users.csv")
    report = await yard.sweep()
    assert (found(report), yard.remains.keys, yard.remains.uploads) == (
        [],
        sorted([*keys, CLAIM]),
        [f"{folder(job)}users.csv"],
    )


async def test_an_export_that_its_request_tells_of_and_that_is_not_there_is_told(yard: Yard, connect: Connect) -> None:
    operator = await connect(Kube, OPERATOR)
    operator._api.set_default_header("Impersonate-Group", "system:masters")
    key = Key(yard.namespace, "lost")
    body = {"apiVersion": API_VERSION, "kind": "ExportRequest", "metadata": {"name": key.name}}
    path = request_path(key)
    await yard.kube.create(path.rpartition("/")[0], {**body, "spec": {"source": {"name": "app-db"}}})
    status = {
        "observedGeneration": 1,
        "phase": "Succeeded",
        "run": RUN,
        "completionTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "effective": {"destination": yard.kube.destination},
        "result": {"uri": f"s3://exports/prod/{yard.namespace}/lost/{RUN}/lost.csv"},
    }
    for _ in range(20):  # an operator that is installed here looks at the request, too
        with contextlib.suppress(ApiError):
            await operator.replace(f"{path}/status", {**await operator.get(path), "status": status})
            break
    assert found(await yard.sweep()) == [Finding("Missing", RUN, "", request=key)]


async def test_an_export_that_a_tombstone_tells_of_and_that_is_not_there_is_told(yard: Yard) -> None:
    lost, there = Key("team-a", "lost"), Key("team-a", "gone")
    stones = tuple(
        stone(key.name, datetime.now(UTC), run=run, result={"uri": f"s3://exports/prod/team-a/{key.name}/{run}/a.csv"})
        for key, run in ((lost, OTHER), (there, RUN))
    )
    page = render_usage(yard.namespace, Subject("User", "alice"), Page(tombstones=Tombstones(stones)))
    await yard.kube.create(path_of(GROUP, VERSION, "exportusages", namespace=yard.namespace), page)
    yard.remains.put(*EXPORT)
    report = await yard.sweep()
    assert found(report) == [LEFT[3], Finding("Missing", OTHER, "", request=lost)]
    kept = await yard.kube.get(
        path_of(GROUP, VERSION, "exportusages", usage_name(Subject("User", "alice")), namespace=yard.namespace)
    )
    assert kept["spec"] == page["spec"]


@pytest.fixture(scope="module")
def postgres() -> Iterator[host.PostgresServer]:
    with host.postgres_server(tls=True) as server:
        server.psql(f'CREATE SCHEMA "{SCHEMA}"')
        server.psql(script(SCHEMA).as_string(None))
        rights = (
            f'GRANT USAGE ON SCHEMA "{SCHEMA}" TO spare;'
            f' GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA "{SCHEMA}" TO spare'
        )
        server.psql(f"CREATE ROLE spare LOGIN PASSWORD 'spare'; {rights}")
        yield server


@pytest.fixture
async def tables(kube: Kube, yard: Yard, postgres: host.PostgresServer) -> host.PostgresServer:
    """The destination's fallback: an export, parts that are none, and parts of a run that has a Job."""
    values = {"username": "spare", "password": "spare", "ca.crt": postgres.certificate.read_text()}
    secret = {"metadata": {"name": "spare-db"}, "stringData": values}
    await kube.create(path_of("", "v1", "secrets", namespace=yard.namespace), secret)
    database = {
        "host": postgres.host,
        "port": postgres.port,
        "database": postgres.database,
        "schema": SCHEMA,
        "sslMode": "VerifyFull",
        "credentialsSecret": {"name": "spare-db"},
    }
    await kube.patch(f"{DESTINATIONS}/{yard.kube.destination}", {"spec": {"fallback": {"database": database}}})
    postgres.psql(
        f'TRUNCATE "{SCHEMA}".export_artifacts, "{SCHEMA}".export_artifact_parts;'
        f" INSERT INTO \"{SCHEMA}\".export_artifacts SELECT '{RUN}', 'a', 'team-a', 'gone', 'alice', 's', 'd',"
        " 'CSV', 'None', 'k', 't', 1, 8, '', 1, true, '{}', '{}';"
        + "".join(
            f' INSERT INTO "{SCHEMA}".export_artifact_parts'
            f" SELECT '{run}', 'a', 1, number, 1, '12345678', 0 FROM generate_series(1, 3) AS number;"
            for run in (RUN, OTHER)
        )
    )
    return postgres


def rows(postgres: host.PostgresServer) -> dict[str, int]:
    """How many parts each run has."""
    told = postgres.psql(
        f"SELECT run, count(*) FROM \"{SCHEMA}\".export_artifact_parts WHERE run <> '.owner' GROUP BY run"
    )
    return {run: int(count) for run, count in (line.split("|") for line in told.split())}


IN_TABLES = Finding("Delivered", RUN, RUN, bytes=8, request=Key("team-a", "gone"))


async def test_rows_of_a_fallback_that_are_no_export_go_a_grace_after_a_sweep_has_seen_them(
    yard: Yard, tables: host.PostgresServer
) -> None:
    tried = await yard.sweep(dry_run=True)
    assert (found(tried), tried.blind, rows(tables)) == ([IN_TABLES], [], {RUN: 3, OTHER: 3})
    first = await yard.sweep()
    assert (found(first), first.removed) == ([IN_TABLES], 0)
    again = await yard.sweep()
    assert (found(again), again.removed) == ([IN_TABLES], 0)
    later = await yard.sweeper(later=timedelta(days=9)).sweep()
    assert (found(later), later.removed, later.removed_bytes) == (
        [Finding("Unfinished", OTHER, OTHER, bytes=24), IN_TABLES],
        4,
        24,
    )
    assert (rows(tables), later.whole) == ({RUN: 3}, {yard.kube.destination})


async def test_rows_of_a_run_that_has_a_job_or_became_an_export_stay(
    yard: Yard, cluster: Cluster, s3: host.S3Server, tables: host.PostgresServer
) -> None:
    await yard.sweep()
    job = await ended(cluster, s3)
    tables.psql(f"UPDATE \"{SCHEMA}\".export_artifact_parts SET run = '{job.run}' WHERE run = '{OTHER}'")
    later = await yard.sweeper(later=timedelta(days=9)).sweep()
    assert (found(later), rows(tables)) == ([IN_TABLES], {RUN: 3, job.run: 4})


async def test_tables_that_another_installation_sweeps_are_left_alone(yard: Yard, tables: host.PostgresServer) -> None:
    tables.psql(
        f"INSERT INTO \"{SCHEMA}\".export_artifact_parts VALUES ('.owner', '', 0, 0, 0, 'theirs', 0),"
        f" ('{OTHER}', '.seen', 0, 0, 0, '2020-01-01T00:00:00Z', 0)"
    )
    report = await yard.sweep()
    assert (found(report), rows(tables)) == ([], {RUN: 3, OTHER: 4})
    row = "the row of run '.owner' in export_artifact_parts"
    assert [each.partition(" says ")[0] for each in report.blind] == [
        f"the tables of ExportDestination {yard.kube.destination!r} are not swept: {row}"
    ]


async def test_tables_that_are_not_there_or_away_are_no_end_of_a_sweep(
    kube: Kube, yard: Yard, tables: host.PostgresServer
) -> None:
    place = f"{DESTINATIONS}/{yard.kube.destination}"
    await kube.patch(place, {"spec": {"fallback": {"database": {"schema": "none"}}}})
    assert (await yard.sweep()).blind == []
    tables.psql("ALTER ROLE spare NOLOGIN")
    try:
        litter(yard.remains)
        report = await yard.sweep()
    finally:
        tables.psql("ALTER ROLE spare LOGIN")
    assert found(report) == LEFT
    assert [each.partition(": ")[0] for each in report.blind] == [
        f"the tables of ExportDestination {yard.kube.destination!r} could not be swept"
    ]


async def test_a_place_without_a_secret_is_swept_by_the_operators_own_identity_if_it_has_one(
    kube: Kube, yard: Yard, s3: host.S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a service account that is annotated with a role; STS is a stand-in."""
    tokens = SecurityTokens(s3, 3600)
    (tmp_path / "token").write_text("of the operator")
    litter(yard.remains)
    with recorder(answer=tokens.answer) as sts, recorder(s3.port, answer=tokens.admit, sign=tokens.sign) as wire:
        spec = {"credentialsSecret": None, "endpoint": wire.endpoint}
        await kube.patch(f"{DESTINATIONS}/{yard.kube.destination}", {"spec": spec})
        for name, value in {
            "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/sweeps",
            "AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "token"),
            "AWS_ENDPOINT_URL_STS": sts.endpoint,
        }.items():
            monkeypatch.setenv(name, value)
        unseen = await yard.sweep()
        assert (found(unseen), tokens.seen) == ([], [])
        why = "bucket 'exports': no Secret; only the service account of export pods has access"
        assert unseen.blind == [f"ExportDestination {yard.kube.destination!r} could not be swept: {why}"]
        report = await yard.sweeper(own_identity=True).sweep()
    assert (found(report), report.blind, report.removed) == (LEFT, [], 3)
    assert {each["WebIdentityToken"] for each in tokens.seen} == {"of the operator"}


async def test_a_key_with_the_least_rights_sweeps_uploads_and_says_that_it_sees_no_more(
    kube: Kube, yard: Yard, bound: host.S3Server
) -> None:
    spec = {**place(bound), "credentialsSecret": {"name": "bound-keys"}}
    await kube.patch(f"{DESTINATIONS}/{yard.kube.destination}", {"spec": spec})
    remains = Remains(bound)
    litter(remains)
    report = await yard.sweep()
    assert (found(report), remains.uploads) == (LEFT[:1], [])
    assert report.blind == [
        f"ExportDestination {yard.kube.destination!r} could not be swept: bucket 'exports': S3 answers AccessDenied"
    ]
    assert remains.keys == sorted([CHECKPOINT, PART, *EXPORT, *STRANGE, CLAIM])


async def test_another_installations_places_are_not_swept(yard: Yard) -> None:
    litter(yard.remains)
    yard.remains.put(CLAIM)
    report = await yard.sweep()
    assert (found(report), yard.remains.uploads) == ([], [UPLOAD])
    place = f"ExportDestination {yard.kube.destination!r}"
    assert report.blind == [
        f"{place} is not swept: {CLAIM!r} says that another installation does. Delete it if none does"
    ]


async def test_another_installations_folder_within_ours_is_not_swept(yard: Yard) -> None:
    theirs = [f"prod/theirs/{each.removeprefix('prod/')}" for each in (CLAIM, CHECKPOINT, PART)]
    yard.remains.put(*theirs)
    assert (found(await yard.sweep()), yard.remains.keys) == ([], sorted([*theirs, CLAIM]))


async def test_what_one_pass_does_not_take_is_gone_on_with(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep_pass, "MAX_REMOVED", 2)
    monkeypatch.setattr(storage, "PAGE", 3)
    folders = [f"prod/team-a/broken/{number:020}/broken.csv" for number in range(7)]
    yard.remains.put(*folders)
    work = yard.sweeper()
    reports = [await work.sweep()]
    while reports[-1].partial:
        assert len(reports) < 10
        reports.append(await work.sweep())
    assert (sum(report.removed for report in reports), yard.remains.keys) == (7, [CLAIM])
    assert reports[-1].totals == {yard.kube.destination: {"Unfinished": Total(7, 14, 14)}}


async def test_a_bucket_that_is_away_is_told_and_the_next_sweep_looks_again(yard: Yard, s3: host.S3Server) -> None:
    litter(yard.remains)
    s3.stop()
    away = await yard.sweep()
    s3.start()
    assert (found(away), [each.partition(":")[0] for each in away.blind]) == (
        [],
        [f"ExportDestination {yard.kube.destination!r} could not be swept"],
    )
    assert found(await yard.sweep()) == LEFT


async def test_the_command_tells_what_a_sweep_would_do(yard: Yard, kubeconfig: str) -> None:
    litter(yard.remains)
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG"}}
    done = await asyncio.to_thread(
        subprocess.run,
        [
            *(sys.executable, "-m", "export_operator", "sweep", "--dry-run", "--output", "json"),
            *("--run-namespace", yard.namespace),
        ],
        env=kept | {"KUBECONFIG": kubeconfig, "EXPORT_OPERATOR_WATCH_NAMESPACES": yard.namespace},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    told = json.loads(done.stdout)
    assert (done.returncode in {0, 1}, told["findings"], told["removed"]) == (True, [], {"keys": 0, "bytes": 0})
    assert yard.remains.uploads == [UPLOAD]
