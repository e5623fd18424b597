"""S3 is gone: rows go to the fallback, everybody is told, and when S3 is back they are moved, as the guide says."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from export_operator.adapters.totals import NAME as TOTALS
from tests.cluster.kubectl import Kubectl
from tests.e2e import links
from tests.e2e.conftest import World
from tests.e2e.furniture import BUCKET, DESTINATION, FEW, FICKLE, PLENTY, address, destination
from tests.e2e.team import Team, one_object
from tests.platform import catalogue, tenants
from tests.platform.api import Json
from tests.platform.names import RUN_NAMESPACE, SAMPLES
from tests.platform.storage import Storage, storage
from tests.platform.waiting import until

pytestmark = pytest.mark.e2e

REDELIVERS = {"app.kubernetes.io/component": "redeliver"}
"""What the guide labels pods with that move exports."""
SPARE, SCHEMA, SECRET = "e2e_spare", "exports", "e2e-spare"
"""The database of the fallback, and where its tables are; and the Secret of the role that writes there."""


@pytest.fixture(scope="module")
def team(world: World) -> Iterator[Team]:
    """A tenant whose two requests met an S3 server that was away. It is back now."""
    services, api = world.platform.services, world.platform.api
    spare_database(world)
    bucket = {
        "bucket": BUCKET,
        "prefix": "spare",
        "endpoint": services.s3_endpoint,
        "publicEndpoint": links.public(world.storage),
        "pathStyle": True,
        "credentialsSecret": {"name": DESTINATION},
    }
    database = {
        "host": services.postgres_host,
        "database": SPARE,
        "schema": SCHEMA,
        "credentialsSecret": {"name": SECRET},
    }
    fallbacks = {"e2e-or-bucket": {"bucket": bucket}, "e2e-or-database": {"database": database}}
    for name, fallback in fallbacks.items():
        api.apply(destination(services, name, endpoint=address(FICKLE), fallback=fallback))
    services.kubectl.run("scale", f"deployment/{FICKLE}", "--replicas=0")
    services.kubectl.run("wait", "--for=delete", "pod", "--selector", f"app={FICKLE}", "--timeout=60s")
    made = world.team(PLENTY, label="fallback")
    try:
        for name in fallbacks:
            made.ask(name, destination={"name": name}, deletionPolicy="Delete")
        for name in fallbacks:
            made.succeeded(name)
    finally:
        services.kubectl.run("scale", f"deployment/{FICKLE}", "--replicas=1")
    services.kubectl.rolled_out(FICKLE)
    yield made
    world.leave(made)
    services.psql(f"DROP DATABASE {SPARE} WITH (FORCE)")


def spare_database(world: World) -> None:
    """A database with the fallback's tables, and a role that may do there what the guide says."""
    services, api, role = world.platform.services, world.platform.api, "e2e_spare"
    services.psql(f"DROP DATABASE IF EXISTS {SPARE} WITH (FORCE)")
    services.psql(f"CREATE DATABASE {SPARE}")
    catalogue.reader(api, services, SECRET, role)
    command = [sys.executable, "-m", "export_runner", "artifact-tables", "--schema", SCHEMA]
    tables = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    services.psql(
        f"CREATE SCHEMA {SCHEMA}; {tables}; GRANT USAGE ON SCHEMA {SCHEMA} TO {role};"
        f" ALTER ROLE {role} RESET default_transaction_read_only;"
        f" GRANT SELECT, INSERT, UPDATE, DELETE ON {SCHEMA}.export_artifacts, {SCHEMA}.export_artifact_parts TO {role}",
        "--dbname",
        SPARE,
    )


@pytest.fixture(scope="module")
def returned(world: World, team: Team) -> Iterator[Storage]:
    """The S3 server that is back, with an empty bucket."""
    del team  # it has to have been away first
    with storage(world.platform.services, FICKLE) as found:
        found.have_bucket(BUCKET)
        yield found


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("e2e-or-bucket", "s3://e2e/spare/{namespace}/e2e-or-bucket/{run}/e2e-or-bucket.csv"),
        ("e2e-or-database", "postgresql://{host}:5432/e2e_spare/exports.export_artifacts/{run}"),
    ],
)
def test_an_export_that_went_to_the_fallback_says_so_wherever_one_looks(
    world: World, team: Team, name: str, place: str
) -> None:
    status = team.status(name)
    result = status["result"]
    host = world.platform.services.postgres_host
    assert result["uri"] == place.format(namespace=team.namespace, run=status["run"], host=host)
    assert (result["rows"], result["usedFallback"], status["attempts"]) == (FEW, True, 1)
    conditions = {each["type"]: (each["status"], each["reason"]) for each in status["conditions"]}
    assert (status["reason"], conditions["Complete"]) == ("DeliveredToFallback", ("True", "DeliveredToFallback"))
    (warning,) = [each for each in team.events(name) if each["reason"] == "DeliveredToFallback"]
    assert warning["type"] == "Warning"
    assert result["uri"] in warning["message"]


def test_links_lead_to_the_fallback_bucket_and_wait_for_what_is_in_a_database(
    world: World, team: Team, returned: Storage
) -> None:
    del returned  # a bucket that is there, and has nothing yet
    tenants.let_link(world.platform.api, team.namespace)
    for name in ("e2e-or-bucket", "e2e-or-database"):
        links.ask(team, name, name)
    (url,) = links.ready(team, "e2e-or-bucket")["urls"].split()
    code, content = links.fetch(url)
    assert (code, hashlib.sha256(content).hexdigest()) == (200, team.status("e2e-or-bucket")["result"]["sha256"])
    told = links.until_it_says(team, "e2e-or-database", "Pending", "InFallbackDatabase")["message"]
    assert f"export-runner fetch {team.status('e2e-or-database')['result']['uri']} --to FILE" in told


def test_a_fallback_bucket_is_read_like_any_other_and_moved_by_the_runs_own_job(
    world: World, team: Team, runs: Kubectl, returned: Storage
) -> None:
    status = team.status("e2e-or-bucket")
    held = world.storage.read(status["result"]["uri"])
    assert world.database.compare_csv(held, "few", columns(held)).none
    job = world.platform.api.get("Job", status["jobRef"]["name"], RUN_NAMESPACE)
    pod = job["spec"]["template"]["spec"]
    container = pod["containers"][0]
    container["args"] = ["redeliver"]
    del container["livenessProbe"]
    moved = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": f"redeliver-{status['run']}", "namespace": RUN_NAMESPACE},
        "spec": {"backoffLimit": 3, "template": {"metadata": {"labels": REDELIVERS}, "spec": pod}},
    }
    said = run_job(runs, f"redeliver-{status['run']}", json.dumps(moved))
    assert "redelivered to s3://e2e/tests/" in said
    moved_to_s3(returned, team, "e2e-or-bucket", held)
    assert world.storage.keys(BUCKET, f"spare/{team.namespace}") == []


def test_a_fallback_database_is_emptied_by_the_samples_cronjob(
    world: World, team: Team, runs: Kubectl, returned: Storage
) -> None:
    status = team.status("e2e-or-database")
    host = world.platform.services.postgres_host
    text = (SAMPLES / "redeliver.yaml").read_text()
    for sample, ours in {
        "name: redeliver\n": "name: e2e-redeliver\n",
        '"*/15 * * * *"': '"0 0 1 1 *"',
        "ghcr.io/export-operator/export-runner:0.1.0": world.platform.images.exporter,
        "postgres.spare.svc:5432/artifacts": f"{host}:5432/{SPARE}",
        "name: spare-db": f"name: {SECRET}",
        "name: exports-bucket": f"name: {DESTINATION}",
    }.items():
        assert sample in text
        text = text.replace(sample, ours)
    runs.run("apply", "-f", "-", stdin=text)
    try:
        name = f"redeliver-{status['run']}"
        made = runs.output("create", "job", name, "--from=cronjob/e2e-redeliver", "--dry-run=client", "-o", "yaml")
        said = run_job(runs, name, made)
    finally:
        runs.run("delete", "cronjob", "e2e-redeliver")
    assert said.splitlines() == [f"{status['run']} redelivered to {primary(team, 'e2e-or-database')}"]
    held = returned.read(primary(team, "e2e-or-database"))
    assert world.database.compare_csv(held, "few", columns(held)).none
    moved_to_s3(returned, team, "e2e-or-database", held)
    # The download that waits for it looks again every few minutes, and now, since it is changed.
    world.platform.api.patch("ExportDownload", "e2e-or-database", team.namespace, {"metadata": {"labels": {"x": "y"}}})
    linked = links.until_it_says(team, "e2e-or-database", "Ready", "LinksMade")
    assert "their host" in linked["message"], "it is known in the cluster alone"


def test_what_was_moved_is_counted(runs: Kubectl) -> None:
    def counted() -> dict[str, float]:
        kept = json.loads(runs.output("get", "configmap", TOTALS, "-o", r"jsonpath={.data.totals\.json}"))
        return {key[1]: number for key, number in kept.get("facts", []) if key[0] == "redeliveries"}

    until("both to be counted", lambda: {"e2e-or-bucket", "e2e-or-database"} <= counted().keys(), 30)


def test_a_request_that_says_so_takes_along_what_it_left_in_a_fallback(world: World, team: Team) -> None:
    """Where there is a database only a pod has access."""
    with storage(world.platform.services, FICKLE) as found:
        found.have_bucket(BUCKET)
    team.ask("left", destination={"name": "e2e-or-database"}, deletionPolicy="Delete")
    result = team.succeeded("left")
    run = result["uri"].split("/")[-2]
    services = world.platform.services
    row = (
        f"INSERT INTO {SCHEMA}.export_artifact_parts (run, attempt, object, number, piece, data, crc32)"
        f" VALUES ('{run}', 'cut off', 1, 1, 1, 'x', 0)"
    )
    services.psql(row, "--dbname", SPARE)
    for name in ("left", "e2e-or-database", "e2e-or-bucket"):
        team.delete(name)
    until("their Jobs to go", lambda: not [job for name in team.asked for job in team.jobs(name)], 120)
    counts = (
        f"SELECT count(*) FROM {SCHEMA}.export_artifact_parts WHERE run <> '.owner'"  # of the sweep
        f" UNION ALL SELECT count(*) FROM {SCHEMA}.export_artifacts"
    )
    assert services.psql(counts, "--dbname", SPARE).split() == ["0", "0"]
    with storage(services, FICKLE) as found:
        assert found.keys(BUCKET, f"tests/{team.namespace}/") == []
    assert world.storage.keys(BUCKET, f"spare/{team.namespace}") == []
    until("the Job that did it to go", lambda: not undoing(world), 30)


def undoing(world: World) -> list[Json]:
    jobs = world.platform.api.items("Job", RUN_NAMESPACE, "app.kubernetes.io/component=undo")
    return [job for job in jobs if "deletionTimestamp" not in job["metadata"]]


def run_job(runs: Kubectl, name: str, manifest: str) -> str:
    """What a Job said that ended well."""
    runs.run("create", "-f", "-", stdin=manifest)
    try:
        ended = runs.run("wait", "--for=condition=Complete", f"job/{name}", "--timeout=60s", check=False)
        said = runs.output("logs", f"job/{name}")
        assert ended.returncode == 0, said
        return said
    finally:
        runs.run("delete", "job", name, "--wait=false")


def primary(team: Team, name: str) -> str:
    """Where the export was meant to go."""
    return f"s3://{BUCKET}/tests/{team.namespace}/{name}/{team.status(name)['run']}/{name}.csv"


def moved_to_s3(returned: Storage, team: Team, name: str, expected: bytes) -> None:
    """The object is in its destination, to the byte, with a manifest that says so; `status` keeps what it said."""
    result: Json = team.status(name)["result"]
    uri = primary(team, name)
    content = returned.read(uri)
    assert content == expected
    assert (len(content), hashlib.sha256(content).hexdigest()) == (result["bytes"], result["sha256"])
    one_object(returned, {"uri": uri})
    manifest = json.loads(returned.read(f"{uri.rpartition('/')[0]}/manifest.json"))
    assert (manifest["usedFallback"], bool(manifest["redeliveredAt"])) == (False, True)


def columns(content: bytes) -> list[str]:
    return content.partition(b"\n")[0].decode().split(",")
