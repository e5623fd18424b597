"""Errors of PostgreSQL and S3 become named failures; which may pass is a table.

Where it stands what passes: PostgreSQL's errcodes-appendix, hot-standby ("Handling Query Conflicts") and
runtime-config-resource (`temp_file_limit`); getaddrinfo(3) and connect(2); S3's ErrorResponses, botocore's
retries/standard.py, MinIO's cmd/api-errors.go and versitygw's s3err for stores that are full.
"""

from types import SimpleNamespace

import pytest
from botocore import exceptions
from psycopg import OperationalError, errors

from export_contract.failures import Failure
from export_contract.runspec import Relation
from export_runner.sinks.errors import from_botocore
from export_runner.source.errors import TooLargeMarker, from_psycopg

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("state", "failure", "transient"),
    [
        ("28P01", Failure.SOURCE_AUTHENTICATION_FAILED, False),
        ("28000", Failure.SOURCE_AUTHENTICATION_FAILED, False),
        ("3D000", Failure.SOURCE_NOT_FOUND, False),
        ("42501", Failure.SOURCE_ACCESS_DENIED, False),
        ("42P01", Failure.DATASET_INVALID, False),
        ("42703", Failure.DATASET_INVALID, False),
        ("42601", Failure.DATASET_INVALID, False),
        ("22P02", Failure.SOURCE_QUERY_FAILED, False),
        ("22012", Failure.SOURCE_QUERY_FAILED, False),
        ("25006", Failure.SOURCE_QUERY_FAILED, False),
        ("57014", Failure.DEADLINE_EXCEEDED, False),
        ("53100", Failure.SOURCE_QUERY_FAILED, False),
        ("53400", Failure.SOURCE_QUERY_FAILED, False),
        ("54001", Failure.SOURCE_QUERY_FAILED, False),
        ("57P04", Failure.SOURCE_NOT_FOUND, False),
        ("XX001", Failure.SOURCE_QUERY_FAILED, False),
        ("40001", Failure.SOURCE_UNAVAILABLE, True),
        ("40P01", Failure.SOURCE_UNAVAILABLE, True),
        ("53000", Failure.SOURCE_UNAVAILABLE, True),
        ("53200", Failure.SOURCE_UNAVAILABLE, True),
        ("53300", Failure.SOURCE_UNAVAILABLE, True),
        ("55P03", Failure.SOURCE_UNAVAILABLE, True),
        ("57P01", Failure.SOURCE_UNAVAILABLE, True),
        ("57P02", Failure.SOURCE_UNAVAILABLE, True),
        ("57P03", Failure.SOURCE_UNAVAILABLE, True),
        ("57P05", Failure.SOURCE_UNAVAILABLE, True),
        ("08000", Failure.SOURCE_UNAVAILABLE, True),
        ("08001", Failure.SOURCE_UNAVAILABLE, True),
        ("08004", Failure.SOURCE_UNAVAILABLE, True),
        ("08006", Failure.SOURCE_UNAVAILABLE, True),
        ("08P01", Failure.SOURCE_UNAVAILABLE, True),
        ("58000", Failure.SOURCE_UNAVAILABLE, True),
        ("58030", Failure.SOURCE_UNAVAILABLE, True),
    ],
)
def test_an_sqlstate_says_whose_failure_it_is_and_whether_it_may_pass(
    state: str, failure: Failure, transient: bool
) -> None:
    seen = from_psycopg(errors.lookup(state)("a text that may hold a value"))
    assert (seen.failure, seen.transient) == (failure, transient)
    assert state in seen.message
    assert "value" not in seen.message


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("25006", "tries to write"),
        ("40001", "standby"),
        ("53100", "disk is full"),
        ("53400", "temp_file_limit"),
        ("55P03", "Somebody holds ACCESS EXCLUSIVE on public.users"),
    ],
)
def test_a_state_whose_name_says_too_little_comes_with_what_to_do(state: str, words: str) -> None:
    assert words in from_psycopg(errors.lookup(state)(), relation=Relation(schema="public", table="users")).message


def test_a_lock_that_a_query_waits_for_is_told_without_a_table_of_which_nothing_is_known() -> None:
    assert "on a table that the query reads" in from_psycopg(errors.LockNotAvailable()).message


def test_a_conflict_on_a_standby_lasts_when_it_comes_a_second_time() -> None:
    lasting = from_psycopg(errors.SerializationFailure()).lasting
    assert lasting is not None
    assert (lasting.failure, lasting.transient) == (Failure.SOURCE_QUERY_FAILED, False)
    assert "hot_standby_feedback" in lasting.message


@pytest.mark.parametrize(
    ("text", "failure", "transient"),
    [
        ('FATAL:  password authentication failed for user "x"', Failure.SOURCE_AUTHENTICATION_FAILED, False),
        ('FATAL:  no pg_hba.conf entry for host "1.2.3.4"', Failure.SOURCE_AUTHENTICATION_FAILED, False),
        ("fe_sendauth: no password supplied", Failure.SOURCE_AUTHENTICATION_FAILED, False),
        ("SSL error: certificate verify failed", Failure.SOURCE_AUTHENTICATION_FAILED, False),
        ("server does not support SSL, but SSL was required", Failure.SOURCE_AUTHENTICATION_FAILED, False),
        ('FATAL:  database "x" does not exist', Failure.SOURCE_NOT_FOUND, False),
        ("FATAL:  sorry, too many clients already", Failure.SOURCE_UNAVAILABLE, True),
        ("FATAL:  the database system is starting up", Failure.SOURCE_UNAVAILABLE, True),
        ("connection to server failed: Connection refused", Failure.SOURCE_UNAVAILABLE, True),
        ("connection to server failed: No route to host", Failure.SOURCE_UNAVAILABLE, True),
        ("connection timeout expired", Failure.SOURCE_UNAVAILABLE, True),
        ('could not translate host name "x" to address: Name or service not known', Failure.SOURCE_UNAVAILABLE, True),
        ("failed to resolve host 'x': Temporary failure in name resolution", Failure.SOURCE_UNAVAILABLE, True),
        ("SSL error: unexpected eof while reading", Failure.SOURCE_UNAVAILABLE, True),
    ],
)
def test_what_libpq_says_before_there_is_an_sqlstate_is_understood(
    text: str, failure: Failure, transient: bool
) -> None:
    seen = from_psycopg(OperationalError(f"connection failed: {text}"))
    assert (seen.failure, seen.transient) == (failure, transient)


def test_of_what_libpq_says_the_line_that_tells_is_passed_on_and_not_its_explanation() -> None:
    text = (
        "server closed the connection unexpectedly\n\tThis probably means the server terminated abnormally\n"
        "\tbefore or while processing the request.\n"
    )
    seen = from_psycopg(OperationalError(text))
    assert seen.message == "PostgreSQL cannot be reached: server closed the connection unexpectedly."


def test_the_marker_of_a_value_too_large_holds_no_value() -> None:
    assert TooLargeMarker.PATTERN.search(f'invalid input: "{TooLargeMarker.PREFIX}3/12345"') is not None


@pytest.mark.parametrize("text", [f"{TooLargeMarker.PREFIX}3/12345", f"{TooLargeMarker.PREFIX}0/{'9' * 5000}"])
def test_a_row_that_holds_the_marker_is_no_value_too_large(text: str) -> None:
    class Quoting(errors.InvalidTextRepresentation):
        diag = SimpleNamespace(message_primary=f'invalid input: "{text}"', context=None)  # type: ignore[assignment]

    assert from_psycopg(Quoting(), columns=("a", "b")).failure is Failure.SOURCE_QUERY_FAILED


@pytest.mark.parametrize("context", [None, "PL/pgSQL function f() line 1 at RAISE"])
def test_a_message_is_passed_on_only_when_no_function_has_written_it(context: str | None) -> None:
    class Denied(errors.InsufficientPrivilege):
        diag = SimpleNamespace(message_primary="permission denied for table t", context=context)  # type: ignore[assignment]

    seen = from_psycopg(Denied())
    assert (seen.failure, "table t" in seen.message) == (Failure.SOURCE_ACCESS_DENIED, context is None)


def answered(code: str, status: int, operation: str = "PutObject") -> exceptions.ClientError:
    answer = {"Error": {"Code": code, "Message": "secret"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return exceptions.ClientError(answer, operation)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("code", "status", "failure", "transient"),
    [
        ("NoSuchBucket", 404, Failure.BUCKET_NOT_FOUND, False),
        ("AccessDenied", 403, Failure.DESTINATION_ACCESS_DENIED, False),
        ("SomethingNew", 403, Failure.DESTINATION_ACCESS_DENIED, False),
        ("InvalidAccessKeyId", 403, Failure.DESTINATION_AUTHENTICATION_FAILED, False),
        ("SignatureDoesNotMatch", 403, Failure.DESTINATION_AUTHENTICATION_FAILED, False),
        ("ExpiredToken", 400, Failure.DESTINATION_AUTHENTICATION_FAILED, False),
        ("EntityTooLarge", 400, Failure.DESTINATION_REFUSED, False),
        ("QuotaExceeded", 403, Failure.DESTINATION_REFUSED, False),
        ("XMinioAdminBucketQuotaExceeded", 400, Failure.DESTINATION_REFUSED, False),
        ("XMinioStorageFull", 507, Failure.DESTINATION_REFUSED, False),
        ("", 507, Failure.DESTINATION_REFUSED, False),
        ("NotImplemented", 501, Failure.DESTINATION_REFUSED, False),
        ("InvalidStorageClass", 400, Failure.DESTINATION_REFUSED, False),
        ("SlowDown", 503, Failure.DESTINATION_UNAVAILABLE, True),
        ("InternalError", 500, Failure.DESTINATION_UNAVAILABLE, True),
        ("ServiceUnavailable", 503, Failure.DESTINATION_UNAVAILABLE, True),
        ("", 502, Failure.DESTINATION_UNAVAILABLE, True),
        ("", 504, Failure.DESTINATION_UNAVAILABLE, True),
        ("TooManyRequests", 429, Failure.DESTINATION_UNAVAILABLE, True),
        ("RequestTimeout", 400, Failure.DESTINATION_UNAVAILABLE, True),
        ("BadDigest", 400, Failure.DESTINATION_UNAVAILABLE, True),
    ],
)
def test_an_answer_of_s3_says_whose_failure_it_is_and_whether_it_may_pass(
    code: str, status: int, failure: Failure, transient: bool
) -> None:
    seen = from_botocore(answered(code, status), "PutObject", "exports")
    assert (seen.failure, seen.transient, seen.code) == (failure, transient, code)
    assert "secret" not in seen.message


@pytest.mark.parametrize(
    ("text", "failure", "transient"),
    [
        ("An error occurred when parsing the HTTP request.", Failure.DESTINATION_UNAVAILABLE, True),
        ("Object tags cannot be greater than 10", Failure.DESTINATION_REFUSED, False),
    ],
)
def test_of_bad_requests_that_which_was_garbled_on_its_way_may_pass(
    text: str, failure: Failure, transient: bool
) -> None:
    error = answered("BadRequest", 400)
    error.response["Error"]["Message"] = text
    seen = from_botocore(error, "PutObject", "exports")
    assert (seen.failure, seen.transient, text in seen.message) == (failure, transient, False)


@pytest.mark.parametrize(
    ("code", "status", "transient"),
    [
        ("AccessDenied", 403, False),
        ("InvalidIdentityToken", 400, False),
        ("ExpiredTokenException", 400, False),
        ("IDPRejectedClaim", 403, False),
        ("RegionDisabledException", 403, False),
        ("IDPCommunicationError", 400, True),
        ("Throttling", 400, True),
        ("", 503, True),
    ],
)
def test_what_sts_refuses_is_a_matter_of_the_identity_and_not_of_the_bucket(
    code: str, status: int, *, transient: bool
) -> None:
    seen = from_botocore(answered(code, status, "AssumeRoleWithWebIdentity"), "PutObject", "exports")
    refused = Failure.DESTINATION_UNAVAILABLE if transient else Failure.DESTINATION_AUTHENTICATION_FAILED
    assert (seen.failure, seen.transient) == (refused, transient)
    assert "STS answers AssumeRoleWithWebIdentity" in seen.message
    assert "secret" not in seen.message


def test_an_sts_that_cannot_be_reached_is_not_taken_for_s3() -> None:
    error = exceptions.ConnectTimeoutError(endpoint_url="https://sts.eu-central-1.amazonaws.com/")
    assert from_botocore(error, "PutObject", "b").message == "STS cannot be reached (PutObject: ConnectTimeoutError)."


@pytest.mark.parametrize(
    ("code", "status", "words"),
    [
        ("XMinioStorageFull", 507, "full"),
        ("QuotaExceeded", 403, "quota"),
        ("EntityTooLarge", 400, "takes no object or part of this size"),
    ],
)
def test_a_store_without_room_is_told_as_such(code: str, status: int, words: str) -> None:
    assert words in from_botocore(answered(code, status), "UploadPart", "exports").message


@pytest.mark.parametrize(
    ("error", "failure", "transient"),
    [
        (exceptions.EndpointConnectionError(endpoint_url="http://x"), Failure.DESTINATION_UNAVAILABLE, True),
        (exceptions.ReadTimeoutError(endpoint_url="http://x"), Failure.DESTINATION_UNAVAILABLE, True),
        (exceptions.ConnectionClosedError(endpoint_url="http://x"), Failure.DESTINATION_UNAVAILABLE, True),
        (ConnectionResetError(), Failure.DESTINATION_UNAVAILABLE, True),
        (exceptions.SSLError(endpoint_url="http://x", error=OSError("x")), Failure.DESTINATION_UNAVAILABLE, False),
        (exceptions.NoCredentialsError(), Failure.DESTINATION_AUTHENTICATION_FAILED, False),
        (exceptions.InvalidConfigError(error_msg="x"), Failure.DESTINATION_AUTHENTICATION_FAILED, False),
        (FileNotFoundError(), Failure.DESTINATION_AUTHENTICATION_FAILED, False),
        (exceptions.ParamValidationError(report="r"), Failure.DESTINATION_REFUSED, False),
    ],
)
def test_a_broken_connection_to_s3_may_pass_and_a_wrong_setting_does_not(
    error: Exception, failure: Failure, transient: bool
) -> None:
    seen = from_botocore(error, "UploadPart", "exports")
    assert (seen.failure, seen.transient) == (failure, transient)
