"""The command line: `export-runner run`, and what helps to write its spec."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from types import FrameType

from export_contract import environment
from export_contract.codec import ContractError
from export_contract.failures import Failure
from export_contract.report import Delivered, FailureReport, Outcome
from export_contract.runspec import RunSpec
from export_runner import commands, examples, log, process
from export_runner.clock import Deadline, Stop
from export_runner.errors import ExportError, Stopped, internal
from export_runner.meter import Meter
from export_runner.report import Reporter
from export_runner.retry import Retrier
from export_runner.run import Run
from export_runner.traces import Traces

WATCHDOG_SECONDS = 10.0
"""After the deadline: by then every stage was asked to stop and everything was let go of; what has not ended hangs."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0, or that of the failure (see `export-runner --help`)."""
    options = _parser().parse_args(arguments)
    if options.command == "example-spec":
        print(examples.spec_text())
        return 0
    if "function" in options:
        return int(options.function(options))
    return _run(options.spec)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="export-runner",
        description="Exports one dataset out of PostgreSQL into one object in S3.",
        epilog=examples.epilog(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = subparsers.add_parser("run", help="export as a run spec says", description="Export as a run spec says.")
    run.add_argument(
        "--spec", metavar="FILE", help=f"the run spec as JSON; '-' for stdin; default: ${environment.RUN_SPEC}"
    )
    subparsers.add_parser("example-spec", help="print a run spec to start from")
    commands.add(subparsers)
    return parser


def _run(spec_file: str | None) -> int:
    started = process.started()
    meter = Meter(started)
    try:
        spec = RunSpec.from_json(commands.spec_text(spec_file))
    except (ContractError, OSError, UnicodeDecodeError) as error:
        failure = ExportError(Failure.INVALID_RUN_SPEC, f"The run spec cannot be used: {error}")
        return _finish(Reporter("", meter).finish, meter, "", failure=failure.report())
    stop = Stop()
    reporter = Reporter(spec.run.id, meter, request=log.about(spec).request)
    traces = Traces(spec, meter)
    deadline = Deadline(spec.limits.run_deadline_seconds, started)

    def tell(outcome: Outcome) -> None:
        reporter.finish(outcome)
        traces.finish(outcome)

    _listen(stop)
    _watch(tell, meter, spec, deadline)
    reporter.start()
    traces.start()
    run = Run(spec, meter, stop, Retrier(deadline, stop, note=reporter.note, count=meter.retried))
    try:
        return _finish(tell, meter, spec.run.id, delivered=run.deliver())
    except ExportError as error:
        failure = stop.reason or error
    except Stopped:
        failure = stop.reason or ExportError(Failure.INTERRUPTED, "The run was stopped.")
    except BaseException as error:
        failure = internal(error)
    return _finish(tell, meter, spec.run.id, failure=failure.report())


def _listen(stop: Stop) -> None:
    """SIGTERM (the kubelet's) and SIGINT (Ctrl-C) end the run in good order; a second one ends it at once."""

    def handle(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        reason = ExportError(Failure.INTERRUPTED, f"Stopped by {signal.Signals(number).name}. Nothing was delivered.")
        # Not on this thread, which may hold the very lock.
        threading.Thread(target=stop.request, args=(reason,), name="stop", daemon=True).start()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})  # see `start`


def _watch(tell: Callable[[Outcome], None], meter: Meter, spec: RunSpec, deadline: Deadline) -> None:
    """Ends the process when even the main thread hangs."""

    def work() -> None:
        while (left := deadline.seconds + WATCHDOG_SECONDS - deadline.elapsed()) > 0:  # the fallback restarts it
            time.sleep(left)
        failure = ExportError(
            Failure.DEADLINE_EXCEEDED, f"The run did not end within {WATCHDOG_SECONDS:g} s of its deadline."
        )
        os._exit(_finish(tell, meter, spec.run.id, failure=failure.report()))

    threading.Thread(target=work, name="watchdog", daemon=True).start()


def _finish(
    tell: Callable[[Outcome], None],
    meter: Meter,
    run: str,
    *,
    delivered: Delivered | None = None,
    failure: FailureReport | None = None,
) -> int:
    meter.seconds["total"] = meter.elapsed()
    outcome = Outcome(
        run=run,
        delivered=delivered,
        failure=failure,
        timings={step: round(seconds, 3) for step, seconds in meter.seconds.items()},
        peak_memory_bytes=process.peak_memory(),
        rows=meter.rows,
        warnings=tuple(meter.warnings),
        retries=dict(meter.retries),
        checkpoint_rows=meter.kept() if failure is not None else None,
    )
    tell(outcome)
    return 0 if failure is None else failure.exit_code


def entry() -> None:
    """The command line. Leaves without the interpreter's own end, which would wait for what still hangs."""
    process.seal()
    process.tune()
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    entry()
