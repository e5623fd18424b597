"""`export-operator ledger` as a platform engineer runs it: the real process, API server and S3 server."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from export_contract import names
from export_contract.manifest import Column, Manifest, ObjectRef
from export_contract.runspec import Run
from export_operator.adapters.cells import LedgerError
from export_operator.adapters.kube import Kube, path_of
from export_operator.adapters.ledger import Ledger
from export_operator.adapters.mender import COPY, Mender
from export_operator.domain import quota
from export_operator.domain.evidence import Proof, Witness
from export_operator.domain.identity import Subject
from export_operator.domain.jobs import build_job
from export_operator.domain.ledger_rebuild import Mending
from export_operator.domain.model import GROUP, VERSION, Key
from export_operator.domain.pages import Entry, Page, State
from export_operator.domain.usage import FORMAT, SLOTS, parse_usage, render_usage, usage_name
from export_operator.domain.windows import Sliding
from export_runner.sinks import tables
from tests.services import host
from tests.unit.operator.builders import SETTINGS, plan, request

from .connections import synced, until

pytestmark = pytest.mark.integration

NOW = datetime.now(UTC).replace(microsecond=0)
ALICE = Subject("User", "alice")
BUCKET = "exports"


def entry(run: str, **changes: Any) -> Entry:
    base = Entry(run=run, request=Key("team-a", run), uid=f"uid-{run}", time=NOW, user="alice", policy="built-in")
    return replace(base, **changes)


@pytest.fixture(scope="module")
def s3() -> Iterator[host.S3Server]:
    with host.s3_server() as server:
        server.create_bucket(BUCKET)
        yield server


@dataclass(frozen=True)
class Desk:
    """Where the commands are typed, and what is there to be looked at. Requests are read in `namespace` alone."""

    kube: Kube
    kubeconfig: str
    namespace: str
    s3: host.S3Server

    def type(self, *words: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG"}}
        look_twice = ["--wait", "0"] if words[0] != "show" else []
        return subprocess.run(
            [sys.executable, "-m", "export_operator", "ledger", *words, "--run-namespace", self.namespace, *look_twice],
            env=kept | {"KUBECONFIG": self.kubeconfig, "EXPORT_OPERATOR_WATCH_NAMESPACES": self.namespace},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    async def ask(self, *words: str) -> tuple[int, Any]:
        """Exit code and document."""
        done = await asyncio.to_thread(self.type, *words, "--output", "json")
        assert done.returncode in {0, 1}, done.stderr
        return done.returncode, json.loads(done.stdout)

    async def put(self, subject: Subject, *entries: Entry, **spec: Any) -> dict[str, Any]:
        body = render_usage(self.namespace, subject, Page(entries))
        path = path_of(GROUP, VERSION, "exportusages", namespace=self.namespace)
        return await self.kube.create(path, {**body, "spec": body["spec"] | spec})

    async def page(self, subject: Subject) -> list[Entry]:
        """What the API server has in the subject's page, by run."""
        path = path_of(GROUP, VERSION, "exportusages", usage_name(subject), namespace=self.namespace)
        found = parse_usage(await self.kube.get(path))
        return sorted(found.page.entries, key=lambda one: one.run)

    def deliver(self, run_id: str) -> Entry:
        """A manifest of alice's in the bucket, in a folder of this test's; the entry that it proves."""
        key, manifest, proven = self.delivery(run_id)
        path = self.s3.data / BUCKET / key
        path.parent.mkdir(parents=True)
        path.write_text(manifest.to_json())
        return proven

    def delivery(self, run_id: str) -> tuple[str, Manifest, Entry]:
        """The key and the manifest of a run of alice's, and the entry that it proves."""
        name, run = "users", names.run_id("uid-of-alice", run_id)
        keys = names.object_keys(
            prefix=self.namespace,
            namespace="team-a",
            key_prefix="",
            name=name,
            run=run,
            output_format="CSV",
            compression="None",
        )
        stored = ObjectRef(bucket=BUCKET, key=keys.object, rows=3, bytes=30, sha256="ab" * 32, etag="e", parts=1)
        moment = NOW.isoformat().replace("+00:00", "Z")
        manifest = Manifest(
            run=Run(id=run, namespace="team-a", name=name, uid="uid-of-alice", run_id=run_id, requester="alice"),
            source="app-db",
            dataset="users",
            format="CSV",
            compression="None",
            columns=(Column(name="id", type="bigint"),),
            rows=3,
            objects=(stored,),
            complete=True,
            consistency="Snapshot",
            snapshot="1:1:",
            snapshot_time=moment,
            started_at=moment,
            finished_at=moment,
        )
        proven = Entry(
            run=run,
            request=Key("team-a", name),
            uid="uid-of-alice",
            time=NOW,
            user="alice",
            source="app-db",
            destination=self.namespace,
            state=State.SETTLED,
            rows=3,
            bytes=30,
        )
        return keys.manifest, manifest, proven


@pytest.fixture
async def desk(kube: Kube, kubeconfig: str, namespace: str, s3: host.S3Server) -> AsyncIterator[Desk]:
    """With an ExportDestination of the namespace's name."""
    keys = {"AWS_ACCESS_KEY_ID": s3.access_key, "AWS_SECRET_ACCESS_KEY": s3.secret_key}
    data = {key: base64.b64encode(value.encode()).decode() for key, value in keys.items()}
    await kube.create(path_of("", "v1", "secrets", namespace=namespace), {"metadata": {"name": "s3"}, "data": data})
    spec = {
        "bucket": BUCKET,
        "prefix": namespace,
        "endpoint": s3.endpoint,
        "pathStyle": True,
        "credentialsSecret": {"name": "s3"},
    }
    kind = {"apiVersion": f"{GROUP}/{VERSION}", "kind": "ExportDestination"}
    path = path_of(GROUP, VERSION, "exportdestinations")
    made = await kube.create(path, {**kind, "metadata": {"name": namespace}, "spec": spec})
    yield Desk(kube, kubeconfig, namespace, s3)
    await kube.delete(f"{path}/{namespace}", uid=made["metadata"]["uid"])


def told(document: Any) -> list[tuple[str, str]]:
    return [(each["page"], each["kind"]) for each in document["differences"]]


async def test_a_ledger_that_agrees_with_the_world_is_fine(desk: Desk) -> None:
    delivered = desk.deliver("")
    await desk.put(ALICE, delivered)
    assert (await desk.ask("verify"))[0] == 0
    done = await asyncio.to_thread(desk.type, "verify")
    assert done.stdout.startswith("The ledger says what requests, Jobs and manifests prove.\n")


async def test_a_lost_object_is_made_again_from_manifests_when_its_loss_is_accepted(desk: Desk) -> None:
    delivered = sorted((desk.deliver(each) for each in ("", "again")), key=lambda one: one.run)
    code, document = await desk.ask("verify")
    assert (code, told(document)) == (1, [("User alice", "Missing")])

    code, document = await desk.ask("rebuild")
    assert (code, document["done"], len(document["losses"])) == (1, False, 1 + len(document["notes"]))
    refused = await asyncio.to_thread(desk.type, "rebuild", "--yes")
    assert (refused.returncode, refused.stdout.splitlines()[-1]) == (
        1,
        "Nothing was changed. To do it: add --accept-loss",
    )

    assert (await desk.ask("rebuild", "--yes", "--accept-loss"))[0] == 0
    assert await desk.page(ALICE) == delivered
    assert (await desk.ask("verify"))[0] == 0


async def test_what_a_manifest_claims_elsewhere_counts_against_nobody(desk: Desk) -> None:
    desk.deliver("")
    folder = desk.s3.data / BUCKET / desk.namespace
    (folder / "team-a").rename(folder / "team-b")
    code, document = await desk.ask("verify")
    assert (code, told(document)) == (0, [])
    assert [note for note in document["notes"] if "team-b/users" in note and "no manifests of their places" in note]


async def test_the_bucket_of_a_fallback_is_searched(desk: Desk) -> None:
    delivered = desk.deliver("")
    at = path_of(GROUP, VERSION, "exportdestinations", desk.namespace)
    elsewhere = (await desk.kube.get(at))["spec"]
    fallback = {name: elsewhere[name] for name in ("bucket", "prefix", "endpoint", "pathStyle", "credentialsSecret")}
    await desk.kube.patch(at, {"spec": {"prefix": "nothing/there", "fallback": {"bucket": fallback}}})
    assert (await desk.ask("rebuild", "--yes", "--accept-loss"))[0] == 0
    assert await desk.page(ALICE) == [delivered]


@dataclass(frozen=True)
class Spare:
    """The database of a fallback, with a role that may read its table. There is none before it is made."""

    server: host.PostgresServer
    schema: str

    def make(self) -> None:
        self.server.psql(f"CREATE SCHEMA {self.schema}")
        self.server.psql(tables.script(self.schema).as_string(None))
        self.server.psql(f"GRANT USAGE ON SCHEMA {self.schema} TO {self.server.reader}")
        self.server.psql(f"GRANT SELECT ON {self.schema}.{tables.ARTIFACTS} TO {self.server.reader}")

    def put(self, run: str, manifest: Manifest, destination: str) -> None:
        """The row that the exporter writes last."""
        values = {
            **dict.fromkeys(("attempt", "object_key", "content_type", "sha256"), "x"),
            "run": run,
            "namespace": manifest.run.namespace,
            "name": manifest.run.name,
            "requester": manifest.run.requester,
            "source": manifest.source,
            "dataset": manifest.dataset,
            "format": manifest.format,
            "compression": manifest.compression,
            "rows": manifest.rows,
            "bytes": 30,
            "parts": 1,
            "complete": True,
            "destination": Jsonb({"name": destination}),
            "manifest": Jsonb(json.loads(manifest.to_json())),
        }
        columns, places = ", ".join(values), ", ".join(["%s"] * len(values))
        with psycopg.connect(self.server.dsn) as connection:
            connection.execute(
                f"INSERT INTO {self.schema}.{tables.ARTIFACTS} ({columns}) VALUES ({places})".encode(),
                list(values.values()),
            )


@pytest.fixture(scope="module")
def postgres() -> Iterator[host.PostgresServer]:
    with host.postgres_server() as server:
        yield server


@pytest.fixture
async def spare(desk: Desk, postgres: host.PostgresServer) -> Spare:
    """The fallback of the only ExportDestination."""
    keys = {"username": postgres.reader, "password": postgres.reader_password}
    data = {key: base64.b64encode(value.encode()).decode() for key, value in keys.items()}
    secrets = path_of("", "v1", "secrets", namespace=desk.namespace)
    await desk.kube.create(secrets, {"metadata": {"name": "spare"}, "data": data})
    found = Spare(postgres, f"spare_{desk.namespace.replace('-', '_')}")
    database = {
        "host": postgres.host,
        "port": postgres.port,
        "database": postgres.database,
        "schema": found.schema,
        "credentialsSecret": {"name": "spare"},
    }
    at = path_of(GROUP, VERSION, "exportdestinations", desk.namespace)
    await desk.kube.patch(at, {"spec": {"fallback": {"database": database}}})
    return found


async def test_what_waits_in_the_database_of_a_fallback_is_counted(desk: Desk, spare: Spare) -> None:
    assert (await desk.ask("verify"))[0] == 0
    spare.make()
    _, manifest, proven = desk.delivery("")
    spare.put(proven.run, replace(manifest, used_fallback=True), desk.namespace)
    code, document = await desk.ask("rebuild", "--yes", "--accept-loss")
    assert (code, await desk.page(ALICE)) == (0, [proven])
    assert not [note for note in document["notes"] if "the database" in note]
    assert (await desk.ask("verify"))[0] == 0


async def test_a_row_that_tells_of_another_run_counts_against_nobody(desk: Desk, spare: Spare) -> None:
    spare.make()
    _, manifest, _ = desk.delivery("")
    spare.put("0" * 20, manifest, desk.namespace)
    code, document = await desk.ask("verify")
    assert (code, told(document)) == (0, [])
    title = f"the database that is the fallback of ExportDestination {desk.namespace!r}"
    assert f"{title}: no manifests of their places: {'0' * 20}" in document["notes"]


async def test_a_database_of_a_fallback_that_cannot_be_read_is_named(desk: Desk, spare: Spare) -> None:
    at = path_of("", "v1", "secrets", "spare", namespace=desk.namespace)
    await desk.kube.patch(at, {"data": {"password": base64.b64encode(b"not this").decode()}})
    _, document = await desk.ask("verify")
    title = f"the database that is the fallback of ExportDestination {desk.namespace!r}"
    (told_of,) = [note for note in document["notes"] if note.startswith(title)]
    assert told_of.startswith(f"{title} could not be searched: database {spare.server.database!r}: connection failed")


async def test_a_damaged_object_is_kept_as_a_copy_and_its_sound_entries_stay(desk: Desk) -> None:
    sound = entry("sound")
    good = render_usage(desk.namespace, ALICE, Page((sound,)))["spec"]["entries"]
    damaged = await desk.put(ALICE, entries=[*good, {"run": "torn"}])
    code, document = await desk.ask("rebuild", "--yes", "--accept-loss")
    assert (code, told(document)) == (0, [("User alice", "Damaged")])
    assert await desk.page(ALICE) == [sound]
    (mending,) = document["mendings"]
    copy = await desk.kube.get(path_of("", "v1", "configmaps", mending["copy"], namespace=desk.namespace))
    assert json.loads(gzip.decompress(base64.b64decode(copy["binaryData"][COPY]))) == damaged


async def test_a_job_that_lost_its_slot_gets_it_back_without_any_loss(desk: Desk) -> None:
    job = build_job(request(), plan(), replace(SETTINGS.pods, namespace=desk.namespace))
    job["spec"]["parallelism"] = 0  # nothing runs
    created = await desk.kube.create(path_of("batch", "v1", "jobs", namespace=desk.namespace), job)
    run = request().run
    await desk.put(ALICE, entry(run, uid=request().uid))
    code, document = await desk.ask("rebuild", "--yes")
    assert (code, told(document), document["losses"]) == (0, [("Slots all", "Missing")], [])
    (slot,) = await desk.page(SLOTS)
    assert (slot.run, slot.user, slot.source, slot.destination) == (run, "alice", "app-db", "bucket")
    await desk.kube.delete(
        path_of("batch", "v1", "jobs", created["metadata"]["name"], namespace=desk.namespace),
        uid=created["metadata"]["uid"],
    )


async def test_what_a_newer_release_wrote_is_told_and_left(desk: Desk) -> None:
    written = await desk.put(ALICE, version=FORMAT + 1)
    code, document = await desk.ask("rebuild", "--yes", "--accept-loss")
    assert (code, told(document), document["mendings"]) == (1, [("User alice", "Newer")], [])
    path = path_of(GROUP, VERSION, "exportusages", usage_name(ALICE), namespace=desk.namespace)
    assert await desk.kube.get(path) == written


async def test_a_rebuild_and_an_operator_that_reserves_lose_nothing_to_each_other(desk: Desk) -> None:
    ledger = Ledger(desk.kube, desk.namespace, lambda: None)
    limit = quota.WindowLimit(ALICE, "User", Sliding(timedelta(days=1)), "built-in", 100)
    proven = [entry(f"proven-{number:02}", state=State.SETTLED) for number in range(10)]
    proofs = tuple(Proof(each, Witness.REQUEST, frozenset({ALICE}), more=False) for each in proven)
    mender = Mender(desk.kube, desk.namespace)
    mending = Mending(usage_name(ALICE), ALICE, proofs)
    async with synced(ledger.informer):
        reserved = [
            ledger.reserve(entry(f"new-{number:02}"), quota.Demand(), [limit], NOW + timedelta(seconds=1))
            for number in range(20)
        ]
        await asyncio.gather(*reserved, *(mender.mend(mending, NOW) for _ in range(3)))
    assert [one.run for one in await desk.page(ALICE)] == [f"new-{number:02}" for number in range(20)] + [
        one.run for one in proven
    ]


async def test_an_operator_that_admitted_nobody_goes_on_by_itself_after_a_rebuild(desk: Desk) -> None:
    await desk.put(ALICE, entries=[{"run": "torn"}])
    ledger = Ledger(desk.kube, desk.namespace, lambda: None)
    limit = quota.WindowLimit(ALICE, "User", Sliding(timedelta(days=1)), "built-in", 5)
    async with synced(ledger.informer):
        with pytest.raises(LedgerError):
            await ledger.reserve(entry("a"), quota.Demand(), [limit], NOW)
        await Mender(desk.kube, desk.namespace).mend(Mending(usage_name(ALICE), ALICE), NOW)
        await until(lambda: ledger.page(ALICE) is not None, "the operator sees the new object")
        assert (await ledger.reserve(entry("a"), quota.Demand(), [limit], NOW)).granted


async def test_show_says_who_has_used_how_much_and_when_there_is_room(desk: Desk) -> None:
    # Of alice a demo on the same cluster has a policy.
    anna = Subject("User", "anna")
    await desk.put(anna, *(entry(f"run-{number}", user="anna", rows=5) for number in range(5)))
    await desk.put(Subject("User", "bob\x1b[31m"), entry("other", user="bob\x1b[31m"))
    await desk.put(SLOTS, entry("run-4", user="anna", source="app-db", destination="bucket"))
    free = (NOW + timedelta(days=1)).isoformat().replace("+00:00", "Z")
    done = await asyncio.to_thread(desk.type, "show")
    assert (done.returncode, [" ".join(line.split()) for line in done.stdout.splitlines()]) == (
        0,
        [
            "SUBJECT RESOURCE USED LIMIT WINDOW POLICY ROOM",
            f"User anna requests 5 5 within 24 h built-in {free}",
            "User bob\\x1b[31m requests 1 5 within 24 h built-in now",
            "",
            "LIVE RUN REQUEST USER SOURCE DESTINATION RESERVED",
            f"run-4 team-a/run-4 anna app-db bucket {NOW.isoformat().replace('+00:00', 'Z')}",
        ],
    )
    _, document = await desk.ask("show", "--user", "anna")
    assert ([each["name"] for each in document["usage"]], len(document["runs"])) == (["anna"], 5)


def test_a_context_that_is_not_there_is_an_error(kubeconfig: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "export_operator", "ledger", "show", "--context", "nowhere"],
        env={"PATH": os.environ["PATH"], "KUBECONFIG": kubeconfig},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, "no way to reach a cluster" in done.stderr) == (2, True)
