"""Layout PartObjects: every object a whole file, all of them together the rows, whatever is killed meanwhile."""

import dataclasses
import hashlib
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from export_contract.manifest import ObjectRef
from export_contract.runspec import Limits, RunSpec
from tests.integration.exporter import readers
from tests.integration.exporter.exporting import unpacked
from tests.integration.exporter.runner import BUCKET, Exporter, Running, with_limits
from tests.integration.exporter.spare import Spare, on
from tests.services import host
from tests.services.host import PostgresServer
from tests.services.proxies import Toxiproxy

pytestmark = pytest.mark.integration

ROWS = 40_000
COLUMNS = ("id", "region", "made", "filler")
LIMITS = Limits(run_deadline_seconds=300, block_rows=1_000, part_bytes=5 * 1024 * 1024, object_bytes=6 * 1024 * 1024)
FORMS = [
    ("CSV", "None"),
    ("CSV", "Gzip"),
    ("NDJSON", "Zstd"),
    ("JSON", "None"),
    ("Parquet", "Zstd"),
    ("Parquet", "None"),
    ("ArrowStream", "None"),
]


@pytest.fixture(scope="module")
def wide(postgres: PostgresServer) -> Iterator[str]:
    """About 45 MB that do not compress, stored in another order than that of the key."""
    postgres.psql(
        "CREATE TABLE several (region text NOT NULL, id bigint NOT NULL, made timestamptz NOT NULL, filler text,"
        " PRIMARY KEY (region, made, id));"
        "INSERT INTO several SELECT 'é' || n % 3, n, timestamptz '2026-01-01' + n * interval '1 second',"
        " (SELECT string_agg(encode(sha512((n::text || i)::bytea), 'hex'), '') FROM generate_series(1, 8) AS i)"
        f" FROM pg_catalog.generate_series(1, {ROWS}) AS n ORDER BY pg_catalog.md5(n::text); ANALYZE several"
    )
    yield "several"
    postgres.psql("DROP TABLE several")


def spec_of(
    exporter: Exporter, form: tuple[Any, Any], table: str | None = None, *, resume: Any = "Always", **source: Any
) -> RunSpec:
    made = exporter.spec(COLUMNS, table=table, output=form, limits=LIMITS, **source)
    place = f".export-operator/{made.run.id}/checkpoint.json"
    return dataclasses.replace(
        made,
        output=dataclasses.replace(made.output, layout="PartObjects"),
        destination=dataclasses.replace(made.destination, checkpoint_key=place),
        resume=resume,
    )


def name(number: int) -> str:
    return f"users-{number:05d}.out"


def names(count: int) -> list[str]:
    return ["manifest.json", *map(name, range(1, count + 1))]


def objects(exporter: Exporter, spec: RunSpec) -> list[bytes]:
    """As the manifest lists them, each held against what is told of it."""
    told = exporter.manifest(spec).objects
    found = [exporter.read(each.key) for each in told]
    assert [(each.bytes, each.sha256) for each in told] == [
        (len(data), hashlib.sha256(data).hexdigest()) for data in found
    ]
    return found


def finished(exporter: Exporter, spec: RunSpec) -> int:
    """Objects that are visible, as they stand on the server's disk."""
    folder = (exporter.s3.data / BUCKET / spec.destination.key).parent
    return len(list(folder.glob("users-*.out"))) if folder.exists() else 0


def leavings(exporter: Exporter, spec: RunSpec) -> list[str]:
    """What is visible of the checkpoint."""
    folder = spec.destination.checkpoint_key.rpartition("/")[0]
    listed = exporter.client().list_objects_v2(Bucket=BUCKET, Prefix=f"{folder}/")
    return [each["Key"] for each in listed.get("Contents", [])]


def uploads(exporter: Exporter, spec: RunSpec) -> list[str]:
    folder = spec.destination.key.rpartition("/")[0]
    listed = exporter.client().list_multipart_uploads(Bucket=BUCKET, Prefix=f"{folder}/")
    return [each["UploadId"] for each in listed.get("Uploads", [])]


def plain(form: tuple[Any, Any], value: str | None) -> str | None:
    return readers.value_of_json(value, raw=False) if form[0] in {"NDJSON", "JSON"} else value


def until_objects(exporter: Exporter, spec: RunSpec, running: Running, count: int) -> None:
    running.until(lambda: finished(exporter, spec) >= count, f"{count} objects")


@pytest.mark.parametrize("form", FORMS, ids="-".join)
def test_each_object_is_read_by_an_independent_reader_and_together_they_are_the_table(
    exporter: Exporter, postgres: PostgresServer, wide: str, form: tuple[Any, Any]
) -> None:
    spec = spec_of(exporter, form, wide, resume="Never")
    done = exporter.run(spec)
    assert done.code == 0, done.said
    inside = form[0] in {"Parquet", "ArrowStream"}
    found = [data if inside else unpacked(data, form[1]) for data in objects(exporter, spec)]
    told = exporter.manifest(spec).objects
    rows = [readers.rows_of(form[0], data, postgres) for data in found]
    assert len(told) >= 3
    assert [each.rows for each in told] == [len(each) for each in rows]
    assert [each.key.rpartition("/")[2] for each in told] == names(len(told))[1:]
    assert [(plain(form, row[0]), plain(form, row[3])) for each in rows for row in each] == [
        tuple(line.split("|")) for line in postgres.psql(f"SELECT id, filler FROM {wide}").splitlines()
    ]
    delivered = done.outcome.delivered
    assert delivered is not None
    assert (delivered.uri, delivered.objects, delivered.sha256, delivered.bytes, delivered.rows) == (
        f"s3://{BUCKET}/team-a/{spec.run.id}/users-*.out",
        len(told),
        "",
        sum(each.bytes for each in told),
        ROWS,
    )
    assert uploads(exporter, spec) == []


@pytest.mark.parametrize("form", [("CSV", "Gzip"), ("Parquet", "Zstd"), ("ArrowStream", "None")], ids="-".join)
def test_an_export_that_is_killed_again_and_again_has_the_objects_of_an_undisturbed_one(
    exporter: Exporter, wide: str, form: tuple[Any, Any]
) -> None:
    undisturbed, spec = spec_of(exporter, form, wide), spec_of(exporter, form, wide)
    assert exporter.run(undisturbed).code == 0
    for number in range(6):
        running, before = exporter.start(spec), finished(exporter, spec)
        while number % 3 != 1 and running.process.poll() is None and finished(exporter, spec) == before:
            time.sleep(0.003)
        running.signal(signal.SIGKILL)
        running.end()
    done = exporter.run(spec)
    assert done.code == 0, done.said
    assert objects(exporter, spec) == objects(exporter, undisturbed)
    manifest, plain = exporter.manifest(spec), exporter.manifest(undisturbed)

    def told(each: ObjectRef) -> tuple[int, int, str, str]:
        return each.rows, each.bytes, each.sha256, each.key.rpartition("/")[2]

    assert list(map(told, manifest.objects)) == list(map(told, plain.objects))
    assert (manifest.rows, sum(segment.rows for segment in manifest.segments)) == (ROWS, ROWS)
    assert (manifest.consistency, manifest.sha256_source) == ("Segmented", "Stream")
    assert manifest.resumed >= 1
    assert exporter.keys(spec) == names(len(plain.objects))
    assert leavings(exporter, spec) == uploads(exporter, spec) == []


def test_a_process_that_slept_while_another_did_its_work_spoils_nothing(exporter: Exporter, wide: str) -> None:
    spec = spec_of(exporter, ("CSV", "None"), wide)
    zombie = exporter.start(spec)
    until_objects(exporter, spec, zombie, 2)
    zombie.signal(signal.SIGSTOP)
    done = exporter.run(spec)
    assert done.code == 0, done.said
    whole, told = objects(exporter, spec), exporter.manifest(spec)
    zombie.signal(signal.SIGCONT)
    late = zombie.finish()
    assert late.code == 0 or late.reason == "Interrupted"
    assert exporter.manifest(spec) == told
    assert objects(exporter, spec) == whole
    assert exporter.keys(spec) == names(len(whole))
    assert leavings(exporter, spec) == uploads(exporter, spec) == []


def test_sigterm_leaves_the_finished_objects_to_the_next_attempt(exporter: Exporter, wide: str) -> None:
    spec = spec_of(exporter, ("Parquet", "None"), wide)
    running = exporter.start(spec)
    until_objects(exporter, spec, running, 2)
    running.signal(signal.SIGTERM)
    assert running.finish().reason == "Interrupted"
    assert leavings(exporter, spec)
    assert exporter.run(spec).code == 0
    assert exporter.manifest(spec).resumed == 1


def test_a_failure_for_good_takes_back_also_the_objects_that_an_earlier_attempt_left(
    exporter: Exporter, wide: str
) -> None:
    spec = spec_of(exporter, ("CSV", "None"), wide)
    running = exporter.start(spec)
    until_objects(exporter, spec, running, 2)
    running.signal(signal.SIGKILL)
    running.end()
    folder = spec.destination.key.rpartition("/")[0]
    exporter.client().create_multipart_upload(Bucket=BUCKET, Key=f"{folder}/{name(9)}")  # no checkpoint names it yet
    assert exporter.run(spec, PGPASSWORD="wrong").reason == "SourceAuthenticationFailed"
    assert leavings(exporter, spec) == uploads(exporter, spec) == []
    assert finished(exporter, spec) <= 1  # one that became visible before a checkpoint named it


SLOW = (
    "SELECT n AS id, 'r' AS region, 1 AS made, repeat(md5(n::text), 200) AS filler, pg_sleep(0.0005)::text AS z"
    " FROM generate_series(1, 100000) AS n"
)


def test_the_deadline_takes_back_objects_uploads_and_checkpoint(
    exporter: Exporter, proxies: Toxiproxy, wide: str
) -> None:
    spec = with_limits(spec_of(exporter, ("CSV", "None"), wide), run_deadline_seconds=20)
    with proxies.to(exporter.s3.port) as link:
        link.add("bandwidth", "upstream", rate=1_500)
        target = dataclasses.replace(spec.destination, endpoint=f"http://127.0.0.1:{link.port}")
        running = exporter.start(dataclasses.replace(spec, destination=target))
        until_objects(exporter, spec, running, 1)
        assert running.finish().reason == "DeadlineExceeded"
    assert exporter.keys(spec) == leavings(exporter, spec) == uploads(exporter, spec) == []


def test_without_a_checkpoint_nothing_is_visible_before_all_is_there(exporter: Exporter) -> None:
    spec = spec_of(exporter, ("CSV", "None"), resume="Never", query=SLOW)
    running = exporter.start(spec)
    running.until(lambda: len(uploads(exporter, spec)) >= 3, "three uploads")
    assert exporter.keys(spec) == []
    running.signal(signal.SIGTERM)
    assert running.finish().reason == "Interrupted"
    assert exporter.keys(spec) == uploads(exporter, spec) == []


def test_what_an_earlier_attempt_left_behind_the_last_object_is_removed(exporter: Exporter, wide: str) -> None:
    spec = spec_of(exporter, ("CSV", "None"), wide, resume="Never")
    for number in range(1, 100):
        key = spec.destination.key.replace("users.", f"users-{number:05d}.")
        exporter.client().put_object(Bucket=BUCKET, Key=key, Body=b"left")
    assert exporter.run(spec).code == 0
    assert exporter.keys(spec) == names(len(objects(exporter, spec)))


def test_no_rows_make_one_object(exporter: Exporter) -> None:
    spec = spec_of(exporter, ("Parquet", "None"), query=SLOW.replace("100000", "0"), key=("id",))
    assert exporter.run(spec).code == 0
    assert exporter.keys(spec) == names(1)
    assert readers.table("Parquet", exporter.read(spec.destination.key.replace("users.", "users-00001."))).num_rows == 0


def test_a_delivered_run_is_not_done_again_unless_an_object_is_gone(exporter: Exporter, wide: str) -> None:
    spec = spec_of(exporter, ("CSV", "None"), wide, resume="Never")
    first = exporter.run(spec).outcome.delivered
    before = exporter.manifest(spec)
    assert exporter.run(spec).outcome.delivered == first
    assert exporter.manifest(spec) == before
    exporter.client().delete_object(Bucket=BUCKET, Key=before.objects[2].key)
    done = exporter.run(spec)
    assert done.code == 0, done.said
    assert [each.sha256 for each in exporter.manifest(spec).objects] == [each.sha256 for each in before.objects]


@pytest.mark.parametrize("layout", ["SingleObject", "PartObjects"])
def test_what_a_run_left_when_it_lost_s3_half_way_is_replaced_by_what_is_redelivered(
    exporter: Exporter, spare: Spare, wide: str, layout: Any
) -> None:
    with host.s3_server() as s3:
        s3.create_bucket(BUCKET)
        own = on(exporter, spare, s3)
        made = spare.in_database(spec_of(own, ("CSV", "None"), wide))
        spec = dataclasses.replace(made, output=dataclasses.replace(made.output, layout=layout))
        running = own.start(spec)
        running.until((s3.data / BUCKET / spec.destination.checkpoint_key).exists, "a checkpoint")
        s3.kill()
        away = running.finish().outcome.delivered
        assert away is not None
        assert away.used_fallback
        s3.start()
        file = own.directory / f"half-way-{layout}.json"
        file.write_text(spec.to_json())
        moved = own.command("redeliver", "--spec", str(file))
        assert moved.returncode == 0, moved.stderr
        found = objects(own, spec)
        assert (len(found), sum(map(len, found))) == (away.objects, away.bytes)
        assert own.keys(spec) == (["manifest.json", "users.out"] if layout == "SingleObject" else names(away.objects))
        assert leavings(own, spec) == uploads(own, spec) == []


@pytest.mark.parametrize("kind", ["database", "bucket"])
def test_several_objects_go_to_the_fallback_come_back_and_are_fetched(
    exporter: Exporter, spare: Spare, wide: str, kind: str
) -> None:
    with host.s3_server() as s3:
        s3.create_bucket(BUCKET)
        s3.kill()
        own = on(exporter, spare, s3)
        into = spare.in_bucket if kind == "bucket" else spare.in_database
        spec = into(spec_of(own, ("CSV", "Gzip"), wide, resume="Never"))
        away = own.run(spec).outcome.delivered
        assert away is not None
        s3.start()
        file = own.directory / f"several-{kind}.json"
        file.write_text(spec.to_json())
        refused = own.command("fetch", "--spec", str(file), "--to", "-")
        assert (refused.returncode, b"give --object 1" in refused.stderr) == (2, True)
        planned = own.command("redeliver", "--spec", str(file), "--dry-run")
        assert planned.stdout.rstrip().endswith(f"would go to s3://{BUCKET}/team-a/{spec.run.id}/users-*.out".encode())
        moved = own.command("redeliver", "--spec", str(file))
        assert moved.returncode == 0, moved.stderr
        assert f"redelivered to s3://{BUCKET}/team-a/{spec.run.id}/users-*.out".encode() in moved.stdout
        found = objects(own, spec)
        assert own.keys(spec) == names(away.objects)
        assert (len(found), sum(map(len, found)), own.manifest(spec).used_fallback) == (
            *(away.objects, away.bytes, False),
        )
        fetched = own.command("fetch", "--spec", str(file), "--object", "2", "--to", "-")
        assert fetched.stdout == found[1]
