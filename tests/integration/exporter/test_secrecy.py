"""However a run ends, nothing of its credentials and of its rows is told: each way is a line of `planted.WAYS`."""

import contextlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from export_contract import names
from export_contract.failures import Failure
from export_contract.logs import message_of
from export_contract.report import Outcome
from export_contract.runspec import RunSpec
from tests.integration.exporter import planted
from tests.integration.exporter.planted import Way
from tests.integration.exporter.runner import Exporter
from tests.services.otlp import collector
from tests.services.proxies import corrupter
from tests.services.recorder import Recorder, recorder

pytestmark = pytest.mark.integration


def test_every_failure_is_provoked() -> None:
    assert {way.failure for way in planted.WAYS} | planted.OF_COMMANDS == {None, *Failure}


@pytest.fixture(scope="module")
def saboteur(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory for PYTHONPATH: a package whose CSV format is found first."""
    directory = tmp_path_factory.mktemp("saboteur")
    (directory / "planted_format.py").write_text(planted.FORMAT)
    named = directory / "planted_format-1.dist-info"
    named.mkdir()
    (named / "METADATA").write_text("Metadata-Version: 2.1\nName: planted-format\nVersion: 1\n")
    (named / "entry_points.txt").write_text("[export_runner.formats]\nCSV = planted_format:Sabotaged\n")
    return directory


@pytest.fixture
def laden(exporter: Exporter) -> Exporter:
    """The exporter with planted credentials, over planted rows."""
    exporter.postgres.psql(planted.SETUP)
    exporter.environment |= {
        "PGUSER": "planted",
        "PGPASSWORD": planted.PASSWORD,
        "EXPORT_MASK_KEY": planted.MASK_KEY,
        "EXPORT_FALLBACK_PGPASSWORD": planted.FALLBACK,
        "EXPORT_LOG_FORMAT": "json",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "30",
        "EXPORT_HEARTBEAT_FILE": str(exporter.directory / "heartbeat"),
    }
    return exporter


@contextlib.contextmanager
def wired(way: Way, exporter: Exporter) -> Iterator[tuple[RunSpec, Recorder]]:
    """The way's spec, through what is in its way."""
    with ExitStack() as stack:
        wire = stack.enter_context(recorder(exporter.s3.port, answer=way.answer))
        spec = way.spec(exporter)
        if way.corrupt:
            damaged = stack.enter_context(corrupter(spec.source.port, "downstream", way.corrupt))
            spec = replace(spec, source=replace(spec.source, port=damaged.port))
        place = spec.destination
        if place.endpoint == exporter.s3.endpoint:
            checkpoint = place.manifest_key.replace("manifest", "checkpoint")
            spec = replace(spec, destination=replace(place, endpoint=wire.endpoint, checkpoint_key=checkpoint))
        yield replace(spec, traceparent=names.traceparent(spec.run.id)), wire


def places(running_said: str, command: str, exporter: Exporter, spec: RunSpec, wire: Recorder) -> dict[str, str]:
    """Everything that a run leaves or says, but for the rows' own object and the signatures of its requests."""
    directory = exporter.directory
    found = {
        "stdout and stderr": running_said,
        "the command line": command,
        "the termination message": (directory / f"termination-{spec.run.id}").read_text(),
        "the heartbeat": (directory / "heartbeat").read_text() if (directory / "heartbeat").exists() else "",
    }
    for call in wire.calls:
        found[f"the head of {call.operation}"] = f"{call.target} {call.headers}"
        if call.operation != "UploadPart":
            found[f"the body of {call.operation} {call.path}"] = call.body.decode()
    return found


@pytest.mark.parametrize("way", planted.WAYS, ids=lambda way: way.name)
def test_nothing_of_credentials_and_rows_is_told(laden: Exporter, saboteur: Path, way: Way) -> None:
    environment = dict(way.environment)
    if environment.get("PGUSER") == "owner":
        environment |= {"PGUSER": laden.postgres.user, "PGPASSWORD": laden.postgres.password}
    if way.sabotage:
        environment |= {"PYTHONPATH": str(saboteur), "SABOTAGE": way.sabotage}
    with wired(way, laden) as (spec, wire), collector() as spans:
        environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = spans.endpoint
        running = laden.start(spec, **environment)
        line = Path(f"/proc/{running.process.pid}/cmdline")
        running.until(lambda: line.read_text() != "", "the program to be loaded")
        command = line.read_text()
        way.act(running)
        running.end()
        said = "".join(running.lines + running.errors)
        outcome = Outcome.from_json(running.lines[-1])
        seen = places(said, command, laden, spec, wire)
        assert bool(spans.bodies) == (way.failure is not Failure.INVALID_RUN_SPEC)
        seen["the spans"] = b"".join(spans.bodies).decode(errors="replace")
        # JSON writes some characters otherwise, so its messages are looked at as they were given as well.
        seen["the messages of the log"] = "\n".join(filter(None, map(message_of, map(str.rstrip, running.errors))))
    assert (outcome.failure.reason if outcome.failure else None) == way.failure, said
    secrets = (*planted.SECRETS, laden.s3.secret_key, laden.postgres.password)
    texts = [*secrets, *planted.MARKERS]
    told = [
        (text, place)
        for place, content in seen.items()
        for text in texts
        if any(form in content for form in planted.forms(text))
    ]
    assert [each for each in told if each[0] != planted.KEY or "checkpoint" not in each[1]] == []
    assert command.split("\0")[-2].endswith(f"spec-{spec.run.id}.json")
