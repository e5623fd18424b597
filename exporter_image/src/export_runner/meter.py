"""What a run has done so far: written by its stages, read by the reporter. Each number has one writer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from export_contract.failures import Failure
from export_contract.report import MAX_RETRIED, EstimateSource


@dataclass(slots=True)
class Step:
    """A step of the run on the monotonic clock: from its first begin to its last end, busy for `seconds` in `times`
    pieces, which may overlap."""

    begun: float
    ended: float
    seconds: float = 0.0
    times: int = 0


class Meter:
    """`rows` are encoded, `read_rows` arrived, `bytes` encoded and compressed. `seconds` by step. `resumed_rows` and
    what `kept` answers are `Progress.resumed_rows` and `checkpoint_rows`."""

    def __init__(self, started: float) -> None:
        self.started = started
        self.rows = 0
        self.read_rows = 0
        self.bytes = 0
        self.estimated_rows: int | None = None
        self.estimate_source: EstimateSource = ""
        self.warnings: list[str] = []
        self.resumed_rows: int | None = None
        self.kept: Callable[[], int | None] = _nothing
        self.seconds: dict[str, float] = {}
        self.steps: dict[str, Step] = {}
        self.retries: dict[str, int] = {}
        self._lock = threading.Lock()
        self._beats = 0

    def again(self) -> None:
        """The rows are read anew."""
        self.rows = self.read_rows = self.bytes = 0
        self.resumed_rows = None
        self.keep_nothing()

    def keep_nothing(self) -> None:
        """Another attempt would begin anew."""
        self.kept = _nothing

    def elapsed(self) -> float:
        return time.monotonic() - self.started

    def beat(self) -> None:
        """Something moves: the heartbeat file may be touched."""
        self._beats += 1

    @property
    def beats(self) -> int:
        return self._beats

    def retried(self, call: str, failure: Failure) -> None:
        """A call is tried again."""
        name = f"{call}/{failure}"
        with self._lock:
            if name in self.retries or len(self.retries) < MAX_RETRIED:
                self.retries[name] = self.retries.get(name, 0) + 1

    def add(self, step: str, seconds: float) -> None:
        with self._lock:
            self.seconds[step] = self.seconds.get(step, 0.0) + seconds

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Adds the seconds that the body takes, also when it raises."""
        begun = time.monotonic()
        try:
            with self.step(step):
                yield
        finally:
            self.add(step, time.monotonic() - begun)
            self.beat()

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Notes when the body begins and ends, for those who watch: no part of `seconds`."""
        begun = time.monotonic()
        try:
            yield
        finally:
            ended = time.monotonic()
            with self._lock:
                step = self.steps.setdefault(name, Step(begun, ended))
                step.begun, step.ended = min(step.begun, begun), max(step.ended, ended)
                step.seconds += ended - begun
                step.times += 1


def _nothing() -> None:
    """No checkpoint is kept."""
