"""Before the first row: what cannot come to a good end is refused and costs nothing; what might not is warned of."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from export_contract.report import EstimateSource
from export_contract.runspec import Compression, Limits, Relation, RunSpec
from export_runner.source.estimate import row_bytes
from tests.integration.exporter.exporting import snapshot
from tests.integration.exporter.runner import BUCKET, Exporter
from tests.services import data, host

pytestmark = pytest.mark.integration

ROWS = 10_000
TABLES = f"""
CREATE SCHEMA sized;
CREATE TABLE sized.counted AS SELECT n AS id, repeat('x', 1000) AS filler, NULL::text AS nothing
  FROM generate_series(1, {ROWS}) AS n;
CREATE TABLE sized.changed (LIKE sized.counted); INSERT INTO sized.changed SELECT * FROM sized.counted;
CREATE TABLE sized.uncounted AS TABLE sized.counted;
ALTER TABLE sized.uncounted SET (autovacuum_enabled = off); ALTER TABLE sized.changed SET (autovacuum_enabled = off);
CREATE TABLE sized.guarded AS TABLE sized.counted; ALTER TABLE sized.guarded ENABLE ROW LEVEL SECURITY;
CREATE POLICY anyone ON sized.guarded USING (id > 0);
CREATE VIEW sized.view AS TABLE sized.counted;
CREATE MATERIALIZED VIEW sized.kept AS TABLE sized.counted;
CREATE TABLE sized.parts (LIKE sized.counted) PARTITION BY RANGE (id);
CREATE TABLE sized.low PARTITION OF sized.parts FOR VALUES FROM (0) TO (5000);
CREATE TABLE sized.high PARTITION OF sized.parts FOR VALUES FROM (5000) TO (20000);
INSERT INTO sized.parts TABLE sized.counted;
"""
# A session tells of its changes when it ends, and only then are they known to be older than what it gathered.
STATISTICS = "ANALYZE sized.counted, sized.changed, sized.guarded, sized.kept, sized.parts, sized.low, sized.high"
CHANGES = f"UPDATE sized.changed SET id = id WHERE id <= {ROWS} / 5"


@pytest.fixture(scope="module")
def sized(postgres: host.PostgresServer) -> Iterator[str]:
    for statements in (TABLES, STATISTICS, CHANGES):
        postgres.psql(statements)
    yield "sized"
    postgres.psql("DROP SCHEMA sized CASCADE")


def spec_of(
    exporter: Exporter, schema: str, table: str, limits: Limits | None = None, compression: Compression = "None"
) -> RunSpec:
    made = exporter.spec(("id", "filler"), output=("CSV", compression), limits=limits)
    source = dataclasses.replace(made.source, relation=Relation(schema=schema, table=table))
    return dataclasses.replace(made, source=source)


@pytest.mark.parametrize(
    ("table", "source", "expected"),
    [
        ("counted", {}, "Statistics"),
        ("kept", {}, "Statistics"),
        ("parts", {}, "Statistics"),
        ("changed", {}, "StaleStatistics"),
        ("uncounted", {}, "StaleStatistics"),
        ("guarded", {}, "Planner"),
        ("view", {}, "Planner"),
        ("counted", {"row_filter": "id > 1"}, "Planner"),
    ],
)
def test_an_estimate_tells_what_it_rests_on(
    postgres: host.PostgresServer, sized: str, table: str, source: dict[str, Any], expected: EstimateSource
) -> None:
    place = Relation(schema=sized, table=table)
    with snapshot(postgres, ("id",), None, relation=place, **source) as (_, opened):
        assert opened.estimate.source == expected


@pytest.mark.parametrize("table", ["counted", "parts"])
def test_the_least_size_of_a_row_is_not_more_than_it_is(
    exporter: Exporter, postgres: host.PostgresServer, sized: str, table: str
) -> None:
    columns = ("id", "filler", "nothing")
    with snapshot(postgres, columns, None, relation=Relation(schema=sized, table=table)) as (connection, _):
        source = dataclasses.replace(spec_of(exporter, sized, table).source, columns=columns)
        least = row_bytes(connection, source)
    assert 1000 < least <= len("12345,") + 1000 + len(",") + len("\n")


@pytest.mark.parametrize(
    ("limits", "reason"),
    [(Limits(max_rows=ROWS // 5 - 1), "RowLimitExceeded"), (Limits(max_bytes=1_000_000), "ByteLimitExceeded")],
)
def test_a_table_far_over_the_limit_is_refused_before_its_first_row(
    exporter: Exporter, sized: str, limits: Limits, reason: str
) -> None:
    spec = spec_of(exporter, sized, "counted", limits)
    done = exporter.run(spec)
    assert done.reason == reason, done.said
    assert done.message.startswith("Refused before the first row: sized.counted has about 10,000 rows")
    assert done.outcome.rows == 0
    assert exporter.leaves_nothing(spec)


def test_rows_are_counted_where_statistics_are_stale(exporter: Exporter, sized: str) -> None:
    done = exporter.run(spec_of(exporter, sized, "changed", Limits(max_rows=ROWS // 5 - 1)))
    assert (done.reason, done.message) == ("RowLimitExceeded", "There are more than 1,999 rows (maxRows).")


def test_what_compresses_into_the_limit_is_delivered(exporter: Exporter, sized: str) -> None:
    done = exporter.run(spec_of(exporter, sized, "counted", Limits(max_bytes=1_000_000), "Gzip"))
    assert done.code == 0, done.said
    told = [(each.estimated_rows, each.estimate_source) for each in done.progress if each.rows]
    assert told[-1] == (ROWS, "Statistics")


@pytest.fixture(scope="module")
def standby() -> Iterator[host.PostgresStandby]:
    with host.postgres_standby() as server:
        data.load_users(server.primary, 1000)
        yield server


def test_a_run_on_a_standby_is_delivered_with_a_warning(
    standby: host.PostgresStandby, s3: host.S3Server, tmp_path: Path
) -> None:
    lsn = standby.primary.psql("SELECT pg_current_wal_lsn()")
    exporter = Exporter(standby, s3, tmp_path)
    spec = exporter.spec()
    caught_up = f"DO $$ BEGIN WHILE pg_last_wal_replay_lsn() < '{lsn}' LOOP PERFORM pg_sleep(0.01); END LOOP; END $$"
    standby.psql(caught_up)
    done = exporter.run(spec)
    warning = (
        "The source is a hot standby (hot_standby_feedback is off, max_standby_streaming_delay is 0): what its primary"
        " changes may cancel the reading. A second time ends the run."
    )
    assert (done.code, done.outcome.rows, done.outcome.warnings) == (0, 1000, (warning,)), done.said
    assert done.said.count(warning) == 2  # where it is noted, and in the outcome


@pytest.fixture
def guarded_s3() -> Iterator[host.S3Server]:
    with host.s3_server(users=True) as server:
        server.create_bucket(BUCKET)
        yield server


class Guarded:
    """A bucket whose policy lets the exporter do anything but what it denies."""

    def __init__(self, postgres: host.PostgresServer, s3: host.S3Server, directory: Path) -> None:
        self.root = Exporter(postgres, s3, directory)
        keys = {"AWS_ACCESS_KEY_ID": "writer", "AWS_SECRET_ACCESS_KEY": s3.writer_secret_key}
        self.exporter = Exporter(postgres, s3, directory, keys)

    def deny(self, action: str, prefix: str) -> None:
        everything = [f"arn:aws:s3:::{BUCKET}", f"arn:aws:s3:::{BUCKET}/*"]
        under = f"arn:aws:s3:::{BUCKET}/{prefix}*"
        statements = [
            {"Effect": "Allow", "Principal": {"AWS": ["writer"]}, "Action": "s3:*", "Resource": everything},
            {"Effect": "Deny", "Principal": {"AWS": ["writer"]}, "Action": action, "Resource": under},
        ]
        policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
        self.root.client().put_bucket_policy(Bucket=BUCKET, Policy=policy)

    def spec(self, *, large: bool) -> RunSpec:
        """Without a key, and so without a checkpoint."""
        made = self.exporter.spec(("email",), limits=Limits(resume_above_bytes=1 if large else 10**9))
        place = f".export-operator/{made.run.id}/checkpoint.json"
        return dataclasses.replace(made, destination=dataclasses.replace(made.destination, checkpoint_key=place))

    def probes(self) -> list[str]:
        listed = self.root.client().list_objects_v2(Bucket=BUCKET, Prefix=".export-operator/")
        return [each["Key"] for each in listed.get("Contents", [])]

    def uploads(self) -> int:
        return len(self.root.client().list_multipart_uploads(Bucket=BUCKET).get("Uploads", []))


@pytest.fixture
def guarded(postgres: host.PostgresServer, guarded_s3: host.S3Server, tmp_path: Path) -> Guarded:
    return Guarded(postgres, guarded_s3, tmp_path)


def test_a_large_run_is_refused_before_its_first_row_where_parts_may_not_be_written(guarded: Guarded) -> None:
    guarded.deny("s3:PutObject", ".export-operator/")
    spec = guarded.spec(large=True)
    done = guarded.exporter.run(spec)
    assert (done.reason, done.outcome.rows) == ("DestinationAccessDenied", 0), done.said
    assert guarded.root.leaves_nothing(spec)


def test_a_small_run_is_not_held_up_by_a_probe(guarded: Guarded) -> None:
    guarded.deny("s3:PutObject", ".export-operator/")
    assert guarded.exporter.run(guarded.spec(large=False)).code == 0


def test_a_large_run_leaves_no_probe(guarded: Guarded) -> None:
    guarded.deny("s3:DeleteObject", "elsewhere/")
    done = guarded.exporter.run(guarded.spec(large=True))
    assert (done.code, done.outcome.warnings, guarded.probes(), guarded.uploads()) == (0, (), [], 0), done.said


@pytest.mark.parametrize("action", ["s3:AbortMultipartUpload", "s3:DeleteObject"])
def test_what_may_not_be_taken_back_is_warned_of(guarded: Guarded, action: str) -> None:
    guarded.deny(action, ".export-operator/")
    done = guarded.exporter.run(guarded.spec(large=True))
    assert done.code == 0, done.said
    (warning,) = done.outcome.warnings
    assert action in warning
    assert "lifecycle rule" in warning
