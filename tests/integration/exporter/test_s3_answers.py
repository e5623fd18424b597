"""Answers of S3 that are lost, or that come from somebody who was faster: the object is the same, and there is one."""

import dataclasses
from collections.abc import Callable

import pytest

from export_contract.runspec import RunSpec
from tests.integration.exporter.resuming import ROWS, checkpoint, killed_at, sent, spec_of, through, until_parts
from tests.integration.exporter.runner import BUCKET, PATIENCE, Exporter, Finished
from tests.integration.exporter.spare import Spare, on
from tests.services.meddler import Answer, Meddler, Request

pytestmark = pytest.mark.integration

BOTH = pytest.mark.parametrize("resume", ["Always", "Never"])


@pytest.fixture(scope="module")
def right() -> dict[str, bytes]:
    """The undisturbed object, by `resume`; made when it is first compared with."""
    return {}


def is_right(exporter: Exporter, spec: RunSpec, done: Finished, right: dict[str, bytes]) -> bool:
    """The bytes of an undisturbed run, and nothing else left of this one."""
    assert done.code == 0, done.said
    if spec.resume not in right:
        plain = spec_of(exporter, ("CSV", "None"), resume=spec.resume)
        assert exporter.run(plain).code == 0
        right[spec.resume] = exporter.read(plain.destination.key)
    same = exporter.read(spec.destination.key) == right[spec.resume] and exporter.manifest(spec).rows == ROWS
    return same and not exporter.uploads(spec) and checkpoint(exporter, spec) == b""


@BOTH
def test_a_conflict_at_the_end_is_tried_again(
    exporter: Exporter, between: Meddler, wide: str, right: dict[str, bytes], resume: str
) -> None:
    spec = spec_of(exporter, ("CSV", "None"), wide, resume=resume)
    between.answer("CompleteMultipartUpload", 409, "ConditionalRequestConflict")
    done = exporter.run(through(spec, between.endpoint))
    assert is_right(exporter, spec, done, right)
    assert between.seen.count("CreateMultipartUpload") == 1


@BOTH
def test_a_conflict_that_ended_the_upload_makes_all_parts_anew_and_needs_no_fallback(
    exporter: Exporter, between: Meddler, spare: Spare, wide: str, *, right: dict[str, bytes], resume: str
) -> None:
    exporter = on(exporter, spare)
    spec = spare.in_bucket(spec_of(exporter, ("CSV", "None"), wide, resume=resume))

    def ends(_request: Request, _forward: Callable[[], Answer]) -> Answer:
        for upload in exporter.uploads(spec):
            exporter.client().abort_multipart_upload(Bucket=BUCKET, Key=spec.destination.key, UploadId=upload)
        return Answer.error(409, "ConditionalRequestConflict")

    between.rule("CompleteMultipartUpload", "", ends)
    done = exporter.run(through(spec, between.endpoint))
    assert is_right(exporter, spec, done, right)
    assert between.seen.count("CreateMultipartUpload") == 2
    assert exporter.manifest(spec).resumed == 0


def test_a_conflict_that_does_not_pass_makes_all_parts_anew(
    exporter: Exporter, between: Meddler, wide: str, right: dict[str, bytes]
) -> None:
    spec = spec_of(exporter, ("CSV", "None"), wide)
    between.answer("CompleteMultipartUpload", 409, "ConditionalRequestConflict", times=4)
    done = exporter.run(through(spec, between.endpoint))
    assert is_right(exporter, spec, done, right)
    assert between.seen.count("CreateMultipartUpload") == 2


@BOTH
def test_a_part_that_another_process_replaced_makes_all_parts_anew(
    exporter: Exporter, between: Meddler, wide: str, right: dict[str, bytes], resume: str
) -> None:
    spec = spec_of(exporter, ("CSV", "None"), wide, resume=resume)
    gate = between.hold("CompleteMultipartUpload")
    running = exporter.start(through(spec, between.endpoint))
    assert gate.reached.wait(PATIENCE)
    (upload,) = exporter.uploads(spec)
    part = {"UploadId": upload, "PartNumber": 2, "Body": b"x" * 6 * 1024 * 1024}
    exporter.client().upload_part(Bucket=BUCKET, Key=spec.destination.key, **part)
    gate.release()
    assert is_right(exporter, spec, running.finish(), right)
    assert between.seen.count("CreateMultipartUpload") == 2


@pytest.mark.parametrize("operation", ["CreateMultipartUpload", "CompleteMultipartUpload"])
def test_an_answer_that_was_lost_leaves_one_object_and_no_upload(
    exporter: Exporter, between: Meddler, wide: str, right: dict[str, bytes], operation: str
) -> None:
    spec = spec_of(exporter, ("CSV", "None"), wide)
    between.lose(operation)
    done = exporter.run(through(spec, between.endpoint))
    assert is_right(exporter, spec, done, right)
    assert between.seen.count(operation) == 2


def test_a_checkpoint_whose_answer_was_lost_is_this_runs_own(
    exporter: Exporter, between: Meddler, wide: str, right: dict[str, bytes]
) -> None:
    spec = spec_of(exporter, ("CSV", "None"), wide)
    between.lose("PutObject", spec.destination.checkpoint_key)
    running = exporter.start(through(spec, between.endpoint))
    until_parts(exporter, spec, running, 1)
    between.lose("PutObject", spec.destination.checkpoint_key)
    assert is_right(exporter, spec, running.finish(), right)
    assert sum("PutObject failed" in line for line in running.errors) == 2


def test_without_the_right_to_list_what_is_absent_is_forbidden_and_a_run_goes_on_all_the_same(
    exporter: Exporter, between: Meddler, wide: str, right: dict[str, bytes]
) -> None:
    between.hide()
    spec = spec_of(exporter, ("CSV", "None"), wide)
    killed_at(exporter, through(spec, between.endpoint), 2)
    done = exporter.run(through(spec, between.endpoint))
    assert is_right(exporter, spec, done, right)
    assert exporter.manifest(spec).resumed == 1


def test_without_the_right_to_list_a_manifest_without_its_object_is_not_believed(
    exporter: Exporter, between: Meddler
) -> None:
    between.hide()
    spec = through(exporter.spec(("id",)), between.endpoint)
    assert exporter.run(spec).code == 0
    exporter.client().delete_object(Bucket=BUCKET, Key=spec.destination.key)
    assert exporter.run(spec).code == 0
    assert exporter.keys(spec) == ["manifest.json", "users.out"]


def test_without_the_right_to_list_an_upload_that_is_gone_at_the_end_is_made_anew(
    exporter: Exporter, between: Meddler
) -> None:
    between.hide()
    spec = exporter.spec(("id",))
    gate = between.hold("CompleteMultipartUpload")
    running = exporter.start(through(spec, between.endpoint))
    assert gate.reached.wait(PATIENCE)
    (upload,) = exporter.uploads(spec)
    exporter.client().abort_multipart_upload(Bucket=BUCKET, Key=spec.destination.key, UploadId=upload)
    gate.release()
    done = running.finish()
    assert (done.code, exporter.keys(spec)) == (0, ["manifest.json", "users.out"]), done.said


def test_a_checkpoint_may_have_a_bucket_of_its_own(exporter: Exporter, wide: str, right: dict[str, bytes]) -> None:
    exporter.s3.create_bucket("checkpoints")
    made = spec_of(exporter, ("CSV", "None"), wide)
    target = dataclasses.replace(made.destination, checkpoint_bucket="checkpoints")
    spec = dataclasses.replace(made, destination=target)
    killed_at(exporter, spec, 2)
    assert sent(exporter, spec) >= 2
    assert not (exporter.s3.data / BUCKET / spec.destination.checkpoint_key).exists()
    assert is_right(exporter, spec, exporter.run(spec), right)
    assert exporter.manifest(spec).resumed == 1


def test_an_object_that_was_completed_gets_its_manifest_without_a_row_being_read_again(
    exporter: Exporter, between: Meddler, wide: str, right: dict[str, bytes]
) -> None:
    spec = spec_of(exporter, ("CSV", "None"), wide)
    gate = between.hold("PutObject", spec.destination.manifest_key)
    running = exporter.start(through(spec, between.endpoint))
    assert gate.reached.wait(PATIENCE)
    running.process.kill()
    running.end()
    between.seen.clear()
    done = exporter.run(through(spec, between.endpoint))
    gate.release()
    assert is_right(exporter, spec, done, right)
    assert {"UploadPart", "CreateMultipartUpload"} & set(between.seen) == set()
    assert (exporter.manifest(spec).resumed, exporter.manifest(spec).sha256_source) == (1, "ReadBack")
