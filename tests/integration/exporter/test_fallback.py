"""S3 gone for good: the same rows go to the fallback, whole, and the run says so."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from export_contract.codec import decode
from export_contract.failures import FAILURES, Failure
from export_contract.manifest import Manifest
from export_contract.names import fallback_manifest_uri, fallback_uri
from export_contract.runspec import FallbackDatabase, Limits, RunSpec
from tests.integration.exporter.runner import BUCKET, Exporter, Finished
from tests.integration.exporter.spare import PASSWORD, Spare, holds, on
from tests.integration.exporter.vanishing import vanishing
from tests.services import host

pytestmark = pytest.mark.integration

SLOW = (
    "SELECT n AS x, pg_catalog.repeat('é', 2000) AS y, pg_sleep(0.0005)::text AS z FROM generate_series(1, 3000) AS n"
)
"""Takes a few seconds and makes several parts."""


@dataclass(frozen=True)
class Away:
    """What became of runs that found their S3 server down. They wait for it side by side."""

    exporter: Exporter
    specs: dict[str, RunSpec]
    done: dict[str, Finished]


@pytest.fixture(scope="module")
def away(postgres: host.PostgresServer, spare: Spare, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Away]:
    with host.s3_server() as s3:
        s3.create_bucket(BUCKET)
        s3.kill()
        own = _exporter(postgres, s3, spare, tmp_path_factory.mktemp("away"))
        same = FallbackDatabase(host="localhost", port=postgres.port, database=postgres.database)
        whole = own.spec(output=("CSV", "Gzip"))
        specs = {
            "database": spare.in_database(whole),
            "bucket": spare.in_bucket(own.spec(output=("CSV", "Gzip"))),
            "password": spare.in_database(own.spec(("id",))),
            "bytes": spare.in_database(own.spec(("id",)), max_bytes=1000),
            "source": spare.in_database(own.spec(("id",)), database=same),
        }
        environments = {
            "password": {"EXPORT_FALLBACK_PGPASSWORD": "planted-wrong-password"},
            "source": {"EXPORT_FALLBACK_PGUSER": postgres.user, "EXPORT_FALLBACK_PGPASSWORD": postgres.password},
        }
        running = {name: own.start(spec, **environments.get(name, {})) for name, spec in specs.items()}
        yield Away(own, specs, {name: each.finish() for name, each in running.items()})


def _exporter(postgres: host.PostgresServer, s3: host.S3Server, spare: Spare, directory: Path) -> Exporter:
    return Exporter(postgres, s3, directory, dict(spare.environment))


@pytest.mark.parametrize("kind", ["database", "bucket"])
def test_with_s3_down_the_fallback_gets_the_bytes_that_s3_would_have_got(
    away: Away, exporter: Exporter, spare: Spare, kind: str
) -> None:
    spec, done = away.specs[kind], away.done[kind]
    assert done.code == 0, done.said
    assert holds(done, spare.data(spec) if kind == "database" else spare.object(spec))
    usual = exporter.run(exporter.spec(output=("CSV", "Gzip"))).outcome.delivered
    told = done.outcome.delivered
    assert usual is not None
    assert told is not None
    fallback = spec.destination.fallback
    assert fallback is not None
    assert told == dataclasses.replace(
        usual,
        uri=fallback_uri(fallback, spec.run.id),
        manifest_uri=fallback_manifest_uri(fallback, spec.run.id),
        used_fallback=True,
        snapshot_time=told.snapshot_time,
    )


def test_the_artifacts_row_says_what_it_is(away: Away, spare: Spare) -> None:
    spec, told = away.specs["database"], away.done["database"].outcome.delivered
    assert told is not None
    row = spare.row(spec)
    manifest = decode(Manifest, row["manifest"])
    assert {name: row[name] for name in ("namespace", "name", "dataset", "format", "compression", "object_key")} == {
        "namespace": "team-a",
        "name": "users",
        "dataset": "users",
        "format": "CSV",
        "compression": "Gzip",
        "object_key": spec.destination.key,
    }
    assert (row["rows"], row["bytes"], row["sha256"], row["complete"], row["redelivered_at"]) == (
        *(told.rows, told.bytes, told.sha256, True, None),
    )
    assert (manifest.used_fallback, manifest.rows, manifest.objects[0].sha256) == (True, told.rows, told.sha256)


def test_no_credential_is_in_what_a_run_says_or_leaves_in_the_fallback(away: Away, spare: Spare) -> None:
    own = away.exporter
    said = "".join(done.said for done in away.done.values()) + str(spare.row(away.specs["database"]))
    planted = (own.postgres.password, own.s3.secret_key, own.s3.access_key, spare.s3.secret_key, PASSWORD)
    assert [each for each in (*planted, "planted-wrong-password") if each in said] == []


def test_when_the_fallback_fails_as_well_both_reasons_are_told(away: Away) -> None:
    done = away.done["password"]
    assert (done.reason, done.code) == ("DestinationUnavailable", FAILURES[Failure.DESTINATION_UNAVAILABLE].exit_code)
    assert "S3 cannot be reached" in done.message
    assert "The fallback 'spare' failed as well: The fallback's database: PostgreSQL" in done.message


def test_what_the_fallback_takes_at_most_is_its_own_and_nothing_of_a_refused_export_stays(
    away: Away, spare: Spare
) -> None:
    done = away.done["bytes"]
    assert done.reason == "ByteLimitExceeded"
    assert "S3 cannot be reached" in done.message
    assert spare.count("export_artifact_parts", away.specs["bytes"]) == 0


def test_a_fallback_that_proves_to_be_the_source_is_refused_and_left_alone(
    away: Away, postgres: host.PostgresServer
) -> None:
    assert "the source's own database" in away.done["source"].message
    assert postgres.psql("SELECT to_regclass('public.export_artifacts') IS NULL") == "t"


def test_a_fallback_that_is_written_as_the_source_is_refused_before_anything_is_read(
    exporter: Exporter, spare: Spare
) -> None:
    spec = exporter.spec(("id",))
    own = FallbackDatabase(host=spec.source.host, port=spec.source.port, database=spec.source.database)
    done = exporter.run(spare.in_database(spec, database=own))
    assert (done.reason, "the source's own database" in done.message) == ("DestinationRefused", True)


@pytest.mark.parametrize("kind", ["database", "bucket"])
def test_a_later_attempt_reports_what_the_fallback_has_also_when_s3_is_back(
    away: Away, exporter: Exporter, spare: Spare, kind: str
) -> None:
    back = on(exporter, spare)
    spec = away.specs[kind]
    destination = dataclasses.replace(spec.destination, endpoint=back.s3.endpoint)
    again = back.run(dataclasses.replace(spec, destination=destination))
    assert again.outcome.delivered == away.done[kind].outcome.delivered
    assert back.leaves_nothing(spec)


@pytest.mark.parametrize("mistake", ["bucket", "key"])
def test_a_mistake_in_the_destination_is_seen_and_does_not_fall_back(
    exporter: Exporter, spare: Spare, mistake: str
) -> None:
    own = on(exporter, spare)
    spec = spare.in_database(own.spec(("id",), bucket="no-such-bucket" if mistake == "bucket" else BUCKET))
    done = own.run(spec, **({"AWS_SECRET_ACCESS_KEY": "wrong"} if mistake == "key" else {}))
    assert done.reason == ("BucketNotFound" if mistake == "bucket" else "DestinationAuthenticationFailed")
    assert "begins again" not in done.said


def test_a_fallback_that_is_away_as_well_hinders_no_run_that_reaches_s3(exporter: Exporter, spare: Spare) -> None:
    own = on(exporter, spare)
    nowhere = dataclasses.replace(spare.place, port=1)
    done = own.run(spare.in_database(own.spec(("id",)), database=nowhere))
    assert done.code == 0, done.said
    assert not done.outcome.delivered.used_fallback  # type: ignore[union-attr]


def test_s3_that_dies_in_mid_run_or_before_the_manifest_makes_the_export_begin_again(
    exporter: Exporter, spare: Spare, fragile_s3: host.S3Server
) -> None:
    middle, end = on(exporter, spare, fragile_s3), on(exporter, spare)
    limits = Limits(block_rows=200, block_bytes=1024 * 1024)
    dies = spare.in_database(middle.spec(("x", "y"), table=None, query=SLOW, limits=limits))
    late = spare.in_database(end.spec(("id",)))
    manifest = f"PUT /{BUCKET}/{late.destination.manifest_key}".encode()
    with vanishing(end.s3.host, end.s3.port, manifest) as way:
        late = dataclasses.replace(late, destination=dataclasses.replace(late.destination, endpoint=way.endpoint))
        running, second = middle.start(dies), end.start(late)
        running.until(lambda: any(each.bytes > 1_000_000 for each in running.progress()), "bytes")
        fragile_s3.kill()
        done, last = running.finish(), second.finish()
    assert (done.code, last.code) == (0, 0), done.said + last.said
    data = spare.data(dies)
    assert holds(done, data)
    assert [int(line.split(",")[0]) for line in data.decode().splitlines()[1:]] == list(range(1, 3001))
    assert spare.largest() <= 8 * 2**20
    assert end.keys(late) == ["users.out"], "the object was completed, and no manifest makes it official"
    assert holds(last, spare.data(late))
    assert last.outcome.delivered.used_fallback  # type: ignore[union-attr]


def test_memory_does_not_grow_with_what_the_fallback_takes(away: Away, spare: Spare) -> None:
    large = "SELECT n AS x, pg_catalog.repeat(pg_catalog.md5(n::text), 320) AS y FROM generate_series(1, 12000) AS n"
    spec = spare.in_database(away.exporter.spec(("x", "y"), table=None, query=large))
    done = away.exporter.run(spec)
    assert done.code == 0, done.said
    assert done.outcome.delivered.bytes > 120 * 10**6  # type: ignore[union-attr]
    assert done.outcome.peak_memory_bytes < 260 * 2**20
