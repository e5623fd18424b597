"""Each call to PostgreSQL and S3 is tried again after 1 s, 2 s and 4 s, when its error is one that may pass.

Which errors pass is decided where they are known: `source.errors` and `sinks.errors` hold the two tables.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from export_contract.failures import Failure
from export_runner.clock import Deadline, Stop
from export_runner.errors import ExportError

T = TypeVar("T")

POSTGRESQL = "PostgreSQL"


def call_of(what: str) -> str:
    """A call in one word: an operation of S3 has one, and all else is asked of PostgreSQL."""
    return what if what.isalnum() else POSTGRESQL


DELAYS: tuple[float, ...] = (1.0, 2.0, 4.0)
"""Seconds before the second, third and fourth try. Pod back-off starts at 10 s and cannot be set, so short outages are
bridged here."""

LEAST_SECONDS = 1.0
"""What must be left of the deadline after a pause: a shorter try would end with the deadline, and not tell why."""


@dataclass(slots=True)
class Retrier:
    """Runs calls with retries, within the deadline, ending at once when the run is asked to stop."""

    deadline: Deadline
    stop: Stop
    delays: tuple[float, ...] = DELAYS
    noted: list[str] = field(default_factory=list)
    """What was tried again, for the log: reasons, never values."""
    note: Callable[[str], None] = lambda _text: None
    count: Callable[[str, Failure], None] = lambda _call, _failure: None
    """Is told of each call that is tried again, by `call_of`, and of the failure."""
    passed: set[str] = field(default_factory=set)
    """Failures that were taken for passing once, and last when they come again (`ExportError.lasting`)."""

    def child(self, stop: Stop) -> Retrier:
        """One for a part of the run that is stopped alone. What may pass once in the run passes once in all of it."""
        return Retrier(self.deadline, stop, self.delays, note=self.note, count=self.count, passed=self.passed)

    def call(self, what: str, function: Callable[[], T]) -> T:
        """The function's value. Raises its last `ExportError`, with how often it was tried, and `Stopped`."""
        for number, delay in enumerate((*self.delays, None), start=1):
            self.stop.check()
            try:
                return function()
            except ExportError as error:
                if not error.transient:
                    raise
                self._once(error)
                if delay is None or delay + LEAST_SECONDS > self.deadline.remaining():
                    tries = "1 try" if number == 1 else f"{number} tries"
                    raise ExportError(error.failure, f"{error.message} Gave up after {tries}.") from error
                self.count(call_of(what), error.failure)
                self._say(f"{what} failed ({error.message}) and is tried again in {delay:g} s")
                self.stop.wait(delay)
        raise AssertionError("the last try returns or raises")

    def _once(self, error: ExportError) -> None:
        if (lasting := error.lasting) is None:
            return
        if lasting.message in self.passed:
            raise lasting from error
        self.passed.add(lasting.message)

    def _say(self, text: str) -> None:
        self.noted.append(text)
        self.note(text)
