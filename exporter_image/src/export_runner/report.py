"""What a run tells: progress every second, the outcome at its end, a heartbeat file while it moves.

On a terminal for a person, with colour; else one JSON line each on stdout, as `export_contract.report` defines them,
with the fields by which log lines are found (`export_contract.logs.About`), which readers of the contract leave out.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from export_contract import environment
from export_contract.failures import FAILURES, Failure
from export_contract.logs import About
from export_contract.report import Outcome, Progress
from export_runner import log
from export_runner.meter import Meter

PERIOD = 1.0
"""Seconds between progress lines; the first comes sooner."""
FIRST = 0.8
_BAR = 24  # characters


class Reporter:
    """Runs beside the stages. Losing stdout, the heartbeat or the termination log ends no run."""

    def __init__(
        self,
        run: str,
        meter: Meter,
        out: TextIO | None = None,
        variables: Mapping[str, str] | None = None,
        request: str = "",
    ) -> None:
        variables = os.environ if variables is None else variables
        self._run = run
        self._meter = meter
        self._out = out or sys.stdout
        self._terminal = _is_terminal(self._out)
        self._colour = self._terminal and "NO_COLOR" not in variables
        self._heartbeat = variables.get(environment.HEARTBEAT_FILE, "")
        self._termination_log = variables.get(environment.TERMINATION_LOG, "")
        self._about = About(request, run)
        self._say = log.lines(self._about, {} if self._terminal else variables)
        self._beats = -1
        self._end = threading.Event()
        self._lock = threading.Lock()
        self._told = False
        self._thread = threading.Thread(target=self._report, name="report", daemon=True)

    def start(self) -> None:
        self._touch()
        self._thread.start()

    def note(self, text: str) -> None:
        """A line for the log, on stderr: what is tried again and why."""
        with self._lock:
            self._say(("\r\x1b[2K" if self._terminal else "") + text)

    def finish(self, outcome: Outcome) -> None:
        """The last progress, then the outcome: to the termination log, and as the last line of stdout. Once."""
        with self._lock:
            if self._told:
                return
            self._told = True
        self._end.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(PERIOD)
        text = outcome.to_json()
        if self._termination_log:
            with suppress(OSError):
                Path(self._termination_log).write_text(text)
        if self._terminal:
            self._write("\r\x1b[2K" + self._summary(outcome) + "\n")
        else:
            self._write(self._line(self._progress().to_json()) + self._line(text))

    def _report(self) -> None:
        pause = FIRST
        while not self._end.wait(pause):
            pause = PERIOD
            self._touch()
            self._write("\r\x1b[2K" + self._bar() if self._terminal else self._line(self._progress().to_json()))

    def _touch(self) -> None:
        if self._heartbeat and self._meter.beats != self._beats:
            self._beats = self._meter.beats
            with suppress(OSError):
                Path(self._heartbeat).touch()

    def _write(self, text: str) -> None:
        with self._lock, suppress(OSError, ValueError):
            self._out.write(text)
            self._out.flush()

    def _line(self, told: str) -> str:
        fields = json.loads(told) | self._about.fields()
        return json.dumps(fields, ensure_ascii=False, separators=(",", ":")) + "\n"

    def _progress(self) -> Progress:
        return Progress(
            run=self._run,
            rows=self._meter.rows,
            bytes=self._meter.bytes,
            elapsed_seconds=round(self._meter.elapsed(), 3),
            estimated_rows=self._meter.estimated_rows,
            estimate_source=self._meter.estimate_source,
            resumed_rows=self._meter.resumed_rows,
            checkpoint_rows=self._meter.kept(),
        )

    def _bar(self) -> str:
        rows, estimated = self._meter.rows, self._meter.estimated_rows
        text = f"{rows:,} rows, {size(self._meter.bytes)}, {self._meter.elapsed():.0f} s"
        if not estimated:
            return text
        share = min(1.0, rows / estimated)
        filled = round(share * _BAR)
        return f"{self._paint('36', '━' * filled)}{'─' * (_BAR - filled)} {share:4.0%}  {text}"

    def _summary(self, outcome: Outcome) -> str:
        steps = "  ".join(f"{step} {seconds:.2f} s" for step, seconds in outcome.timings.items())
        if outcome.delivered is not None:
            done = outcome.delivered
            title = self._paint("32", "✔ delivered") if done.complete else self._paint("33", "✔ delivered in part")
            lines = [
                f"{title} {done.rows:,} rows, {size(done.bytes)}",
                f"  object    {done.uri}",
                f"  manifest  {done.manifest_uri}",
                f"  sha256    {done.sha256}",
            ]
        else:
            assert outcome.failure is not None, "an outcome is one or the other"
            failure = outcome.failure
            advice = FAILURES[Failure(failure.reason)].advice
            lines = [f"{self._paint('31', '✘ ' + failure.reason)} {failure.message}", f"  {advice}"]
        return "\n".join([*lines, f"  seconds   {steps}", f"  memory    {size(outcome.peak_memory_bytes)} at most"])

    def _paint(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour else text


def _is_terminal(out: TextIO) -> bool:
    try:
        return out.isatty()
    except ValueError:  # it is closed
        return False


def size(count: float) -> str:
    """Bytes for a person."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:,.0f} {unit}" if unit == "B" else f"{count:,.1f} {unit}"
        count /= 1024
    return f"{count:,.1f} TiB"
