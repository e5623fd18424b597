"""A process that wakes up late spoils nothing of what another delivered, wherever it slept."""

import signal
from typing import Any

import pytest

from export_contract.failures import FAILURES, Failure
from tests.integration.exporter.resuming import of_another_encoder, spec_of, through, until_parts
from tests.integration.exporter.runner import PATIENCE, Exporter
from tests.services.host import PostgresServer
from tests.services.meddler import Meddler

pytestmark = pytest.mark.integration


def test_a_process_that_slept_while_another_did_its_work_spoils_nothing(exporter: Exporter, wide: str) -> None:
    spec = spec_of(exporter, ("CSV", "None"), wide)
    zombie = exporter.start(spec)
    until_parts(exporter, spec, zombie, 2)
    zombie.signal(signal.SIGSTOP)
    done = exporter.run(spec)
    assert done.code == 0, done.said
    whole, told = exporter.read(spec.destination.key), exporter.manifest(spec)
    zombie.signal(signal.SIGCONT)
    late = zombie.finish()
    assert late.code == 0 or late.reason == "Interrupted"
    assert exporter.read(spec.destination.key) == whole
    assert exporter.manifest(spec) == told
    assert not exporter.uploads(spec)


def test_a_process_whose_upload_was_given_up_by_another_stops_and_does_not_take_the_run_back(
    exporter: Exporter, between: Meddler, wide: str
) -> None:
    spec = spec_of(exporter, ("CSV", "None"), wide)
    zombie = exporter.start(spec)
    until_parts(exporter, spec, zombie, 2)
    zombie.signal(signal.SIGSTOP)
    of_another_encoder(exporter, spec)
    gate = between.hold("CompleteMultipartUpload")
    running = exporter.start(through(spec, between.endpoint))
    assert gate.reached.wait(PATIENCE)
    zombie.signal(signal.SIGCONT)
    assert zombie.finish().reason == "Interrupted"
    gate.release()
    done = running.finish()
    assert (done.code, "CompleteMultipartUpload failed" in done.said) == (0, False), done.said
    assert exporter.manifest(spec).resumed == 0
    assert not exporter.uploads(spec)


@pytest.mark.parametrize("changes", [{"resume": "Always"}, {"resume": "Never"}], ids=lambda each: str(each["resume"]))
def test_a_manifest_that_comes_late_does_not_replace_one_that_tells_the_same(
    exporter: Exporter, between: Meddler, wide: str, changes: dict[str, Any]
) -> None:
    spec = spec_of(exporter, ("CSV", "None"), wide, **changes)
    gate = between.hold("PutObject", spec.destination.manifest_key)
    zombie = exporter.start(through(spec, between.endpoint))
    assert gate.reached.wait(PATIENCE)
    zombie.signal(signal.SIGSTOP)
    done = exporter.run(spec)
    assert done.code == 0, done.said
    told = exporter.manifest(spec)
    gate.release()
    zombie.signal(signal.SIGCONT)
    late = zombie.finish()
    assert (late.code, late.outcome.delivered) == (0, done.outcome.delivered), late.said
    assert exporter.manifest(spec) == told


def test_a_manifest_that_comes_late_does_not_replace_that_of_another_object(
    exporter: Exporter, between: Meddler, postgres: PostgresServer
) -> None:
    postgres.psql("CREATE TABLE lively AS SELECT n AS id FROM generate_series(1, 1000) AS n")
    spec = exporter.spec(("id",), table="lively")
    gate = between.hold("PutObject", spec.destination.manifest_key)
    zombie = exporter.start(through(spec, between.endpoint))
    assert gate.reached.wait(PATIENCE)
    zombie.signal(signal.SIGSTOP)
    postgres.psql("DELETE FROM lively WHERE id > 900")
    done = exporter.run(spec)
    assert done.outcome.rows == 900, done.said
    told = exporter.manifest(spec)
    gate.release()
    zombie.signal(signal.SIGCONT)
    late = zombie.finish()
    assert (late.reason, late.code) == ("Interrupted", FAILURES[Failure.INTERRUPTED].exit_code)
    assert exporter.manifest(spec) == told
    assert exporter.run(spec).outcome.delivered == done.outcome.delivered
    postgres.psql("DROP TABLE lively")


def test_a_manifest_whose_object_was_replaced_meanwhile_gives_way(
    exporter: Exporter, between: Meddler, postgres: PostgresServer
) -> None:
    postgres.psql("CREATE TABLE shifting AS SELECT n AS id FROM generate_series(1, 1000) AS n")
    spec = exporter.spec(("id",), table="shifting")
    first = between.hold("PutObject", spec.destination.manifest_key)
    zombie = exporter.start(through(spec, between.endpoint))
    assert first.reached.wait(PATIENCE)
    postgres.psql("DELETE FROM shifting WHERE id > 900")
    second = between.hold("PutObject", spec.destination.manifest_key)
    running = exporter.start(through(spec, between.endpoint))
    assert second.reached.wait(PATIENCE)
    first.release()
    zombie.finish()
    second.release()
    done = running.finish()
    assert (done.code, done.outcome.rows) == (0, 900), done.said
    assert (exporter.manifest(spec).rows, exporter.read(spec.destination.key).count(b"\n")) == (900, 901)
    postgres.psql("DROP TABLE shifting")
