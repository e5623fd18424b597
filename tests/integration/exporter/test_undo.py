"""`export-runner undo`: what runs have left goes, and nothing else."""

import dataclasses
import json
import signal
from pathlib import Path

import pytest

from export_contract import environment
from export_contract.names import object_keys
from export_contract.runspec import Limits, RunSpec
from export_runner import log
from tests.integration.exporter.runner import BUCKET, Exporter
from tests.integration.exporter.spare import Spare, on
from tests.services import host

pytestmark = pytest.mark.integration

SLOW = "SELECT n AS x, repeat('y', 4000) AS y, pg_sleep(0.001)::text AS z FROM generate_series(1, 30000) AS n"
PARTS = Limits(block_rows=200, block_bytes=1024 * 1024, part_bytes=5 * 1024 * 1024, run_deadline_seconds=300)


def placed(spec: RunSpec) -> RunSpec:
    """Where the operator would have put it."""
    keys = object_keys(
        prefix="prod",
        namespace=spec.run.namespace,
        key_prefix="",
        name=spec.run.name,
        run=spec.run.id,
        output_format=spec.output.format,
        compression=spec.output.compression,
    )
    place = dataclasses.replace(
        spec.destination, key=keys.object, manifest_key=keys.manifest, checkpoint_key=keys.checkpoint
    )
    return dataclasses.replace(spec, destination=place)


def undo(exporter: Exporter, spec: RunSpec, *words: str) -> int:
    done = exporter.command("undo", *words, EXPORT_RUN_SPEC=spec.to_json())
    return done.returncode


def visible(exporter: Exporter, spec: RunSpec) -> list[str]:
    """Keys that speak of the run."""
    listed = exporter.client().list_objects_v2(Bucket=BUCKET, Prefix="prod/")
    return sorted(each["Key"] for each in listed.get("Contents", []) if spec.run.id in each["Key"])


def test_what_a_killed_run_left_goes(exporter: Exporter) -> None:
    spec = placed(exporter.spec(("x", "y", "z"), table=None, query=SLOW, key=("x",), limits=PARTS))
    spec = dataclasses.replace(spec, resume="Always")
    running = exporter.start(spec)
    checkpoint = exporter.s3.data / BUCKET / spec.destination.checkpoint_key
    running.until(checkpoint.exists, "a checkpoint")
    running.signal(signal.SIGKILL)
    running.end()
    assert exporter.uploads(spec) != []
    strange = f"{spec.destination.key.rpartition('/')[0]}/notes.txt"
    exporter.client().put_object(Bucket=BUCKET, Key=strange, Body=b"mine")
    assert (undo(exporter, spec), exporter.uploads(spec), visible(exporter, spec)) == (0, [], [strange])
    assert undo(exporter, spec) == 0


def test_an_export_goes_only_if_that_is_asked_for(exporter: Exporter) -> None:
    spec = placed(exporter.spec(("id",)))
    assert exporter.run(spec).code == 0
    export = sorted([spec.destination.key, spec.destination.manifest_key])
    assert (undo(exporter, spec), visible(exporter, spec)) == (0, export)
    assert (undo(exporter, spec, "--objects"), visible(exporter, spec)) == (0, [])


@pytest.mark.parametrize("key", ["", "wrong"])
def test_in_a_pod_each_thing_that_it_says_is_a_line_about_the_run(exporter: Exporter, key: str) -> None:
    spec = placed(exporter.spec(("id",)))
    assert exporter.run(spec).code == 0
    given = {"AWS_SECRET_ACCESS_KEY": key} if key else {}
    done = exporter.command(
        "undo", "--objects", EXPORT_RUN_SPEC=spec.to_json(), **{environment.LOG_FORMAT: "json"}, **given
    )
    lines = [json.loads(line) for line in (done.stderr if key else done.stdout).decode().splitlines()]
    marks = log.about(spec).fields()
    assert [{name: line[name] for name in marks} for line in lines] == [marks] * len(lines)
    told = [(line["level"], line["message"]) for line in lines]
    if key:
        ((level, message),) = told
        assert (done.returncode == 0, level, spec.run.id in message) == (False, "error", True)
    else:
        gone = {
            ("info", f"removed s3://{BUCKET}/{name}") for name in (spec.destination.key, spec.destination.manifest_key)
        }
        assert (done.returncode, set(told)) == (0, gone)


def test_an_artifact_in_the_fallbacks_database_goes_only_if_that_is_asked_for(
    exporter: Exporter, spare: Spare, fragile_s3: host.S3Server
) -> None:
    own = on(exporter, spare, fragile_s3)
    spec = spare.in_database(placed(own.spec(("id",))))
    fragile_s3.kill()
    assert own.run(spec).code == 0
    fragile_s3.start()
    assert undo(own, spec) == 0
    assert spare.count("export_artifacts", spec) == 1
    assert spare.count("export_artifact_parts", spec) > 0
    assert undo(own, spec, "--objects") == 0
    assert [spare.count(table, spec) for table in ("export_artifacts", "export_artifact_parts")] == [0, 0]


def test_parts_that_are_no_artifact_go(exporter: Exporter, spare: Spare) -> None:
    own = on(exporter, spare)
    spec = spare.in_database(placed(own.spec(("id",))))
    other = spare.in_database(placed(own.spec(("id",))))
    assert own.run(spec).code == 0  # S3 is there: nothing goes to the fallback, and it may have no tables yet
    tables = own.command("artifact-tables", "--schema", "artifacts").stdout.decode()
    spare.postgres.psql(f"SET ROLE artifact_writer; {tables}")
    for each in (spec, other):
        spare.postgres.psql(
            "INSERT INTO artifacts.export_artifact_parts (run, attempt, object, number, piece, data, crc32)"
            f" VALUES ('{each.run.id}', 'a', 1, 1, 1, 'x', 0)"
        )
    assert undo(own, spec) == 0
    assert [spare.count("export_artifact_parts", each) for each in (spec, other)] == [0, 1]


def test_a_spec_that_cannot_be_read_is_wrong_usage(exporter: Exporter, tmp_path: Path) -> None:
    file = tmp_path / "spec.json"
    file.write_text("{}")
    assert exporter.command("undo", "--spec", str(file)).returncode == 2
