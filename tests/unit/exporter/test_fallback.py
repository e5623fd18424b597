"""When a run turns to its fallback, what it may take there, and what is never a fallback."""

from __future__ import annotations

import dataclasses

import pytest

from export_contract.failures import Failure
from export_contract.runspec import Fallback, FallbackBucket, FallbackDatabase, Limits
from export_runner import fallback
from export_runner.errors import ExportError
from export_runner.examples import EXAMPLE
from export_runner.sinks.client import fallback_keys
from export_runner.sinks.database import refuse_same_address, refuse_same_database

pytestmark = pytest.mark.unit

PLACE = FallbackDatabase(host="spare", database="app")
FALLBACK = Fallback(name="spare", bucket=FallbackBucket(bucket="b", key="k", manifest_key="m"), max_bytes=100)
SPEC = dataclasses.replace(EXAMPLE, destination=dataclasses.replace(EXAMPLE.destination, fallback=FALLBACK))


@pytest.mark.parametrize("failure", Failure)
def test_only_a_destination_that_cannot_be_reached_is_answered_by_the_fallback(failure: Failure) -> None:
    expected = FALLBACK if failure is Failure.DESTINATION_UNAVAILABLE else None
    assert fallback.answers(ExportError(failure, "no"), SPEC) is expected


def test_a_destination_that_is_tried_again_is_not_given_up() -> None:
    assert fallback.answers(ExportError(Failure.DESTINATION_UNAVAILABLE, "no", transient=True), SPEC) is None


def test_without_a_fallback_nothing_is_answered() -> None:
    assert fallback.answers(ExportError(Failure.DESTINATION_UNAVAILABLE, "no"), EXAMPLE) is None


@pytest.mark.parametrize(("own", "others", "smaller"), [(0, 0, 0), (7, 0, 7), (0, 7, 7), (7, 9, 7), (9, 7, 7)])
def test_of_two_limits_on_bytes_the_smaller_counts_and_0_is_none(own: int, others: int, smaller: int) -> None:
    limits = fallback.limits(Limits(max_bytes=own), dataclasses.replace(FALLBACK, max_bytes=others))
    assert limits == Limits(max_bytes=smaller)


@pytest.mark.parametrize(
    ("source", "other", "same"),
    [
        ((1, "10.0.0.1", 5432, "app"), (1, "10.0.0.2", 5432, "app"), True),  # a standby, or another way to it
        ((1, "10.0.0.1", 5432, "app"), (1, "10.0.0.1", 5432, "spare"), False),
        ((1, "10.0.0.1", 5432, "app"), (2, "10.0.0.1", 5432, "app"), False),
        ((None, "10.0.0.1", 5432, "app"), (2, "10.0.0.1", 5432, "app"), True),
        ((None, "10.0.0.1", 5432, "app"), (2, "10.0.0.2", 5432, "app"), False),
        ((None, None, None, "app"), (None, None, None, "app"), False),  # sockets tell nothing
    ],
)
def test_one_database_is_told_by_its_system_identifier_or_else_by_its_address(
    source: tuple[object, object, object, object], other: tuple[object, object, object, object], same: bool
) -> None:
    refused = False
    try:
        refuse_same_database(PLACE, source, other)
    except ExportError as error:
        refused = not error.transient
    assert refused is same


def test_an_address_that_is_written_alike_is_refused_whatever_its_case() -> None:
    source = dataclasses.replace(EXAMPLE.source, host="SPARE", database="app")
    with pytest.raises(ExportError, match=r"destination\.fallback\.database: 'app' on spare:5432 is the source's own"):
        refuse_same_address(source, PLACE)


def test_the_second_bucket_never_gets_the_first_ones_key() -> None:
    with pytest.raises(ExportError, match="set EXPORT_FALLBACK_AWS_ACCESS_KEY_ID and"):
        fallback_keys({"AWS_ACCESS_KEY_ID": "first", "AWS_SECRET_ACCESS_KEY": "s"})


def test_the_second_bucket_has_its_own_key_or_that_of_a_workload_identity() -> None:
    own = {"EXPORT_FALLBACK_AWS_ACCESS_KEY_ID": "second", "EXPORT_FALLBACK_AWS_SECRET_ACCESS_KEY": "s"}
    assert (fallback_keys(own), fallback_keys({})) == (
        {"aws_access_key_id": "second", "aws_secret_access_key": "s"},
        {},
    )


def test_when_the_fallback_is_the_trouble_the_run_may_be_tried_again_since_s3_may_be_back() -> None:
    first = ExportError(Failure.DESTINATION_UNAVAILABLE, "S3 is away.")
    told = fallback.both(first, FALLBACK, ExportError(Failure.DESTINATION_ACCESS_DENIED, "No rights."))
    assert (told.failure, told.message, told.transient) == (
        Failure.DESTINATION_UNAVAILABLE,
        "S3 is away. The fallback 'spare' failed as well: No rights.",
        False,
    )


def test_what_fails_on_the_way_to_the_fallback_for_its_own_reason_keeps_that_reason() -> None:
    first = ExportError(Failure.DESTINATION_UNAVAILABLE, "S3 is away.")
    told = fallback.both(first, FALLBACK, ExportError(Failure.SOURCE_UNAVAILABLE, "Gone.", transient=True))
    assert (told.failure, told.message, told.transient) == (
        Failure.SOURCE_UNAVAILABLE,
        "Gone. It was on its way to the fallback 'spare', since: S3 is away.",
        True,
    )
