"""What cannot be done is said at once, by its name, and leaves nothing behind. No secret and no value is ever shown."""

import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from export_contract.failures import FAILURES, Failure
from export_contract.runspec import Limits, Parameter, RunSpec
from export_runner.__main__ import WATCHDOG_SECONDS
from tests.integration.exporter.runner import Exporter, Finished, with_limits
from tests.services.processes import free_port

pytestmark = pytest.mark.integration

PLANTED = "planted-Zq7-value"


def refused(exporter: Exporter, spec: RunSpec, failure: Failure, **environment: str) -> Finished:
    done = exporter.run(spec, **environment)
    assert (done.reason, done.code) == (failure.value, FAILURES[failure].exit_code), done.said
    for secret in (exporter.environment["PGPASSWORD"], exporter.environment["AWS_SECRET_ACCESS_KEY"], PLANTED):
        assert secret not in done.said
    return done


def query(exporter: Exporter, text: str, columns: tuple[str, ...] = ("x",), **more: Any) -> RunSpec:
    return exporter.spec(columns, table=None, query=text, **more)


def test_a_wrong_password_is_an_authentication_failure(exporter: Exporter) -> None:
    spec = exporter.spec()
    done = refused(exporter, spec, Failure.SOURCE_AUTHENTICATION_FAILED, PGPASSWORD=PLANTED)
    assert "is tried again" not in done.said
    assert exporter.leaves_nothing(spec)


def test_an_unknown_database_is_named(exporter: Exporter) -> None:
    done = refused(exporter, exporter.spec(database="elsewhere"), Failure.SOURCE_NOT_FOUND)
    assert "elsewhere" in done.message


def test_a_role_without_rights_is_refused_access(exporter: Exporter) -> None:
    exporter.postgres.psql("DROP ROLE IF EXISTS stranger; CREATE ROLE stranger LOGIN PASSWORD 'stranger-password'")
    done = refused(
        exporter, exporter.spec(), Failure.SOURCE_ACCESS_DENIED, PGUSER="stranger", PGPASSWORD="stranger-password"
    )
    assert "users" in done.message
    assert "stranger-password" not in done.said


def test_a_missing_table_is_named(exporter: Exporter) -> None:
    done = refused(exporter, exporter.spec(table="customers"), Failure.DATASET_INVALID)
    assert "public.customers" in done.message


def test_a_missing_column_is_named(exporter: Exporter) -> None:
    spec = exporter.spec(("id", "shoe_size"))
    done = refused(exporter, spec, Failure.DATASET_INVALID)
    assert "shoe_size" in done.message
    assert exporter.leaves_nothing(spec)


def test_a_query_with_unqualified_names_is_told_about_the_search_path(exporter: Exporter) -> None:
    done = refused(exporter, query(exporter, "SELECT id AS x FROM users"), Failure.DATASET_INVALID)
    assert "schema" in done.message


def test_a_query_cannot_write(exporter: Exporter) -> None:
    exporter.postgres.psql("CREATE SEQUENCE IF NOT EXISTS public.counter; GRANT USAGE ON public.counter TO reader")
    done = refused(exporter, query(exporter, "SELECT nextval('public.counter') AS x"), Failure.SOURCE_QUERY_FAILED)
    assert "read only" in done.message


def test_values_in_errors_of_postgresql_are_not_shown(exporter: Exporter) -> None:
    text = f"SELECT 'planted-' || 'Zq7-value' AS x, ('{PLANTED[:8]}' || 'Zq7-value')::integer AS y"
    done = refused(exporter, query(exporter, text, ("x", "y")), Failure.SOURCE_QUERY_FAILED)
    assert "22P02" in done.message


def test_postgresql_that_is_down_is_tried_four_times(exporter: Exporter) -> None:
    spec = exporter.spec(port=free_port())
    done = refused(exporter, spec, Failure.SOURCE_UNAVAILABLE)
    assert "4 tries" in done.message
    assert done.said.count("is tried again") == 3
    assert done.outcome.retries == {"PostgreSQL/SourceUnavailable": 3}
    assert done.seconds >= 7  # 1 + 2 + 4
    assert exporter.leaves_nothing(spec)


def test_a_missing_bucket_is_named(exporter: Exporter) -> None:
    done = refused(exporter, exporter.spec(bucket="nowhere-to-be-found"), Failure.BUCKET_NOT_FOUND)
    assert "nowhere-to-be-found" in done.message
    assert "is tried again" not in done.said
    assert done.outcome.retries == {}


@pytest.mark.parametrize("variable", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_a_wrong_key_is_an_authentication_failure_of_the_destination(exporter: Exporter, variable: str) -> None:
    refused(exporter, exporter.spec(), Failure.DESTINATION_AUTHENTICATION_FAILED, **{variable: PLANTED})


def test_s3_that_is_down_is_tried_four_times(exporter: Exporter) -> None:
    spec = exporter.spec()
    nowhere = dataclasses.replace(spec.destination, endpoint=f"http://127.0.0.1:{free_port()}")
    done = refused(exporter, dataclasses.replace(spec, destination=nowhere), Failure.DESTINATION_UNAVAILABLE)
    assert "4 tries" in done.message


def test_a_parameter_of_the_wrong_type_is_named_before_anything_is_connected_to(exporter: Exporter) -> None:
    wrong = Parameter(name="since", type="date", value="yesterday")
    spec = query(exporter, "SELECT {since} AS x", parameters=(wrong,), port=free_port())
    done = refused(exporter, spec, Failure.INVALID_PARAMETER)
    assert "'since'" in done.message
    assert "date" in done.message


@pytest.mark.parametrize(
    "value", ["repeat('planted-Zq7-value', 100)", "repeat('planted', 100)::bytea", "to_jsonb(repeat('planted', 100))"]
)
def test_a_value_that_is_too_large_is_named_by_column_and_row(exporter: Exporter, value: str) -> None:
    text = f"SELECT n, CASE WHEN n = 500 THEN {value} END AS big FROM generate_series(1, 1000) AS n"
    spec = with_limits(query(exporter, text, ("n", "big")), max_value_bytes=600)
    done = refused(exporter, spec, Failure.VALUE_TOO_LARGE)
    assert "'big'" in done.message
    assert "row" in done.message


def test_parquet_refuses_what_its_types_cannot_hold_and_names_the_column(exporter: Exporter) -> None:
    for value in ("'infinity'::date", "'infinity'::timestamptz", "'294276-01-01'::timestamp", "'NaN'::numeric(5, 2)"):
        spec = dataclasses.replace(
            query(exporter, f"SELECT {value} AS x"),
            output=dataclasses.replace(exporter.spec().output, format="Parquet"),
        )
        done = refused(exporter, spec, Failure.VALUE_NOT_REPRESENTABLE)
        assert "'x'" in done.message
        assert exporter.leaves_nothing(spec)


def test_a_run_that_takes_too_long_fails_with_a_deadline_that_would_have_done(exporter: Exporter) -> None:
    text = "SELECT n AS x, pg_sleep(0.001)::text AS y FROM generate_series(1, 1000000) AS n"
    spec = query(exporter, text, ("x", "y"), limits=Limits(run_deadline_seconds=20, block_rows=100))
    done = refused(exporter, spec, Failure.DEADLINE_EXCEEDED)
    assert "would have sufficed" in done.message
    assert done.seconds < 20 + WATCHDOG_SECONDS
    assert exporter.leaves_nothing(spec)


def test_a_table_that_another_session_locks_is_named_before_the_deadline_ends_the_wait(exporter: Exporter) -> None:
    exporter.postgres.psql("CREATE TABLE public.held AS SELECT 1 AS id; GRANT SELECT ON public.held TO PUBLIC")
    spec = exporter.spec(("id",), table="held", limits=Limits(run_deadline_seconds=20))
    with psycopg.connect(exporter.postgres.dsn) as holder:
        holder.execute("LOCK TABLE public.held IN ACCESS EXCLUSIVE MODE")
        done = refused(exporter, spec, Failure.SOURCE_UNAVAILABLE)
    assert "Somebody holds ACCESS EXCLUSIVE on public.held" in done.message
    assert exporter.leaves_nothing(spec)


def test_a_partial_run_delivers_a_whole_file_of_what_was_read_in_time(exporter: Exporter) -> None:
    text = "SELECT n AS x, pg_sleep(0.001)::text AS y FROM generate_series(1, 1000000) AS n"
    limits = Limits(run_deadline_seconds=20, on_deadline="Partial", block_rows=100)
    spec = query(exporter, text, ("x", "y"), limits=limits)
    done = exporter.run(spec)
    assert done.code == 0, done.said
    assert done.outcome.delivered is not None
    assert not done.outcome.delivered.complete
    assert not exporter.manifest(spec).complete
    lines = exporter.read(spec.destination.key).decode().splitlines()
    assert lines[0] == "x,y"
    assert [line.partition(",")[0] for line in lines[1:]] == [str(n) for n in range(1, len(lines))]
    assert len(lines) - 1 == done.outcome.delivered.rows > 100


@pytest.fixture
def ascii_database(exporter: Exporter) -> Iterator[str]:
    exporter.postgres.psql("CREATE DATABASE ascii ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
    yield "ascii"
    exporter.postgres.psql("DROP DATABASE ascii")


def test_a_database_of_unknown_encoding_is_refused(exporter: Exporter, ascii_database: str) -> None:
    done = refused(exporter, query(exporter, "SELECT 1 AS x", database=ascii_database), Failure.DATASET_INVALID)
    assert "SQL_ASCII" in done.message


def test_a_spec_of_another_form_is_refused_with_the_path_at_fault(exporter: Exporter) -> None:
    spec = exporter.spec()
    file = exporter.directory / "spec.json"
    file.write_text(spec.to_json().replace('"format":"CSV"', '"format":"XLSX"'))
    done = subprocess.run(
        [sys.executable, "-m", "export_runner", "run", "--spec", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == FAILURES[Failure.INVALID_RUN_SPEC].exit_code
    assert "$.output.format" in done.stdout
