"""What a run says, and what it can say to nobody's harm."""

import io
import json
import time
from pathlib import Path

import pytest

from export_contract import environment
from export_contract.codec import loads
from export_contract.failures import FAILURES, Failure
from export_contract.logs import About
from export_contract.report import MAX_TERMINATION_BYTES, Delivered, Outcome, Progress
from export_contract.runspec import RunSpec
from export_runner import examples
from export_runner.__main__ import main
from export_runner.errors import ExportError
from export_runner.meter import Meter
from export_runner.report import Reporter, size

pytestmark = pytest.mark.unit


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def failed(message: str) -> Outcome:
    return Outcome(run="r", failure=ExportError(Failure.DATASET_INVALID, message).report())


DONE = Outcome(
    run="r",
    delivered=Delivered(uri="s3://b/k", manifest_uri="s3://b/m", rows=7, bytes=2048, sha256="ab"),
    timings={"total": 1.5},
)


def test_the_outcome_is_the_last_line_and_the_termination_message(tmp_path: Path) -> None:
    log = tmp_path / "termination"
    out = io.StringIO()
    reporter = Reporter("r", Meter(time.monotonic()), out, {environment.TERMINATION_LOG: str(log)}, "team-a/users")
    reporter.start()
    reporter.finish(DONE)
    reporter.finish(failed("told twice"))
    lines = out.getvalue().splitlines()
    assert Progress.from_line(lines[-2]) is not None
    assert Outcome.from_json(lines[-1]) == DONE == Outcome.from_json(log.read_text())
    marks = About("team-a/users", "r").fields()
    assert [marks.items() <= json.loads(line).items() for line in lines] == [True] * len(lines)
    assert log.read_text() == DONE.to_json()


@pytest.mark.parametrize("character", ["x", "é", "😀", '"', "\n"])
def test_a_termination_message_is_never_longer_than_the_kubelet_keeps(tmp_path: Path, character: str) -> None:
    log = tmp_path / "termination"
    Reporter("r", Meter(0), io.StringIO(), {environment.TERMINATION_LOG: str(log)}).finish(failed(character * 9000))
    assert len(log.read_bytes()) <= MAX_TERMINATION_BYTES
    assert Outcome.from_json(log.read_bytes()).failure is not None


@pytest.mark.parametrize("closed_at", ["before", "during"])
def test_a_log_that_cannot_be_written_ends_nothing(tmp_path: Path, closed_at: str) -> None:
    out, log = io.StringIO(), tmp_path / "termination"
    if closed_at == "before":
        out.close()
    reporter = Reporter("r", Meter(time.monotonic()), out, {environment.TERMINATION_LOG: str(log)})
    reporter.start()
    out.close()
    reporter.finish(DONE)
    assert Outcome.from_json(log.read_text()) == DONE


def test_a_person_sees_what_was_delivered_and_no_json() -> None:
    out = Terminal()
    Reporter("r", Meter(0), out, {"NO_COLOR": "1"}).finish(DONE)
    text = out.getvalue()
    assert "7 rows, 2.0 KiB" in text
    assert "s3://b/k" in text
    assert "{" not in text
    assert "\x1b[3" not in text


def test_a_person_sees_what_to_do_about_a_failure() -> None:
    out = Terminal()
    Reporter("r", Meter(0), out, {}).finish(failed("No such table."))
    assert "No such table." in out.getvalue()
    assert FAILURES[Failure.DATASET_INVALID].advice in out.getvalue()
    assert "\x1b[31m" in out.getvalue()


def test_the_example_spec_is_one_and_help_names_what_it_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["example-spec"]) == 0
    assert loads(RunSpec, capsys.readouterr().out) == examples.EXAMPLE
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    told = capsys.readouterr().out
    for needed in (environment.PG_PASSWORD, environment.AWS_SECRET_ACCESS_KEY, environment.RUN_SPEC, "example-spec"):
        assert needed in told
    assert all(str(kind.exit_code) in told for kind in FAILURES.values())


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (1023, "1,023 B"), (1536, "1.5 KiB"), (5 << 40, "5.0 TiB")])
def test_sizes_are_told_for_people(count: int, text: str) -> None:
    assert size(count) == text
