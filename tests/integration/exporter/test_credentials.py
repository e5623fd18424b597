"""Credentials in files are read again when they change, so that a rotation ends no run; without a change it does."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError

from export_contract.failures import Failure
from export_contract.runspec import Limits, RunSpec
from export_runner.clock import Deadline, Stop
from export_runner.retry import Retrier
from export_runner.sinks.client import Caller, FileCredentials
from export_runner.sinks.errors import S3Error
from tests.integration.exporter.runner import Exporter
from tests.services.host import S3Server

pytestmark = pytest.mark.integration

SLOW = "SELECT n AS x, pg_catalog.repeat('y', 4000) AS y, pg_sleep(0.002)::text AS z FROM generate_series(1, 2500) AS n"


def slow(exporter: Exporter) -> RunSpec:
    limits = Limits(block_rows=200, block_bytes=1024 * 1024)
    return exporter.spec(("x", "y"), table=None, query=SLOW, limits=limits)


def write(directory: Path, **values: str) -> str:
    directory.mkdir(exist_ok=True)
    for name, value in values.items():
        (directory / name).write_text(value + "\n")
    return str(directory)


def write_key(directory: Path, access: str, secret: str) -> str:
    return write(directory, AWS_ACCESS_KEY_ID=access, AWS_SECRET_ACCESS_KEY=secret)


def test_credentials_in_files_go_before_the_variables(exporter: Exporter) -> None:
    s3 = write_key(exporter.directory / "s3", exporter.s3.access_key, exporter.s3.secret_key)
    postgres = exporter.postgres
    pg = write(exporter.directory / "pg", username=postgres.reader, password=postgres.reader_password)
    wrong = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "PGUSER", "PGPASSWORD"), "wrong")
    done = exporter.run(exporter.spec(("id",)), EXPORT_S3_CREDENTIALS_DIR=s3, EXPORT_PG_CREDENTIALS_DIR=pg, **wrong)
    assert done.code == 0, done.said


@pytest.mark.parametrize(
    ("variable", "failure"),
    [
        ("EXPORT_S3_CREDENTIALS_DIR", Failure.DESTINATION_AUTHENTICATION_FAILED),
        ("EXPORT_PG_CREDENTIALS_DIR", Failure.SOURCE_AUTHENTICATION_FAILED),
    ],
)
def test_a_directory_without_credentials_is_named(exporter: Exporter, variable: str, failure: Failure) -> None:
    done = exporter.run(exporter.spec(("id",)), **{variable: str(exporter.directory)})
    assert (done.reason, variable in done.message) == (failure, True), done.said


@pytest.mark.parametrize("told", [True, False])
def test_a_key_that_is_rotated_while_a_run_goes_on_ends_it_only_when_nobody_changes_the_files(
    exporter: Exporter, fragile_s3: S3Server, *, told: bool
) -> None:
    own = Exporter(exporter.postgres, fragile_s3, exporter.directory)
    directory = exporter.directory / "s3"
    running = own.start(
        slow(own), EXPORT_S3_CREDENTIALS_DIR=write_key(directory, fragile_s3.access_key, fragile_s3.secret_key)
    )
    running.until(lambda: any(each.bytes > 1_000_000 for each in running.progress()), "bytes")
    fragile_s3.kill()
    fragile_s3.secret_key = "rotated-" + fragile_s3.secret_key
    if told:
        write_key(directory, fragile_s3.access_key, fragile_s3.secret_key)
    fragile_s3.start()
    done = running.finish()
    assert done.reason == ("" if told else Failure.DESTINATION_AUTHENTICATION_FAILED), done.said
    assert fragile_s3.secret_key not in done.said


def refusing(calls: list[str], between: Any) -> Any:
    """An operation that S3 refuses for an expired token, and serves when it is asked again."""

    def operation() -> str:
        calls.append("called")
        between()
        if len(calls) == 1:
            answer: Any = {"Error": {"Code": "ExpiredToken"}, "ResponseMetadata": {"HTTPStatusCode": 400}}
            raise ClientError(answer, "UploadPart")
        return "served"

    return operation


def caller(directory: Path) -> Caller:
    client = SimpleNamespace(_request_signer=SimpleNamespace(_credentials=FileCredentials(str(directory))))
    return Caller(cast("Any", client), "b", Retrier(Deadline(60), Stop()))


def test_a_key_that_is_rotated_under_a_call_is_read_again_once(tmp_path: Path) -> None:
    write_key(tmp_path, "a", "first")
    calls: list[str] = []
    operation = refusing(calls, lambda: write_key(tmp_path, "a", "second"))
    assert (caller(tmp_path)("UploadPart", operation), len(calls)) == ("served", 2)


def test_an_expired_token_whose_file_did_not_change_is_not_tried_again(tmp_path: Path) -> None:
    write_key(tmp_path, "a", "first")
    calls: list[str] = []
    with pytest.raises(S3Error, match="ExpiredToken"):
        caller(tmp_path)("UploadPart", refusing(calls, lambda: None))
    assert calls == ["called"]
