"""The time that a run may take, and the one place where it is asked to stop. Seconds throughout, monotonic clock."""

from __future__ import annotations

import threading
import time

from export_runner.errors import ExportError, Stopped

FINISH_SHARE = 0.1
"""Of the deadline, kept back under `onDeadline: Partial` for finishing the file, sending its last parts and the
manifest; between `FINISH_MIN` and `FINISH_MAX` seconds."""
FINISH_MIN = 1.0
FINISH_MAX = 15.0
READ_BACK_RATE = 64 * 1024 * 1024
"""Bytes a second that an object is read back at, to get its hash: somewhat less than the 85 to 90 MB/s that Amazon
names for one connection. docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance-design-patterns.html"""


class Deadline:
    """Counts from the start of the attempt. `seconds` is `limits.run_deadline_seconds`."""

    def __init__(self, seconds: float, started: float | None = None) -> None:
        self.seconds = seconds
        self.started = time.monotonic() if started is None else started

    def restart(self, seconds: float) -> None:
        """The time begins anew: the fallback has a deadline of its own."""
        self.seconds, self.started = seconds, time.monotonic()

    def elapsed(self) -> float:
        return time.monotonic() - self.started

    def remaining(self) -> float:
        """Seconds left; never negative."""
        return max(0.0, self.seconds - self.elapsed())

    def reading_remaining(self, read_back: int = 0) -> float:
        """Seconds left for reading rows when a whole file must still be finished, and so many bytes of it be read back
        from where they are stored. At most half of the deadline is kept for that."""
        finishing = min(max(self.seconds * FINISH_SHARE, FINISH_MIN), FINISH_MAX)
        reserve = min(finishing + read_back / READ_BACK_RATE, self.seconds / 2)
        return max(0.0, self.remaining() - reserve)


class Stop:
    """Asks stages to end. The first reason given counts. What is asked of the whole is asked of its children."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._reason: ExportError | None = None
        self._children: list[Stop] = []

    def child(self) -> Stop:
        """One that can be asked alone, for an attempt within the run."""
        made = Stop()
        with self._lock:
            self._children.append(made)
            if self._event.is_set():
                made.request(self._reason)
        return made

    def request(self, reason: ExportError | None = None) -> None:
        """Ask to end. Never blocks for long and may be called from a signal handler's thread."""
        with self._lock:
            if self._event.is_set():
                return
            self._reason = reason
            self._event.set()
            children = tuple(self._children)
        for each in children:
            each.request(reason)

    @property
    def requested(self) -> bool:
        return self._event.is_set()

    @property
    def reason(self) -> ExportError | None:
        """Why; None while nobody asked, or when no reason was given."""
        return self._reason

    def wait(self, seconds: float) -> bool:
        """Wait at most so long; True when asked to stop."""
        return self._event.wait(seconds)

    def check(self) -> None:
        """Raises `Stopped` once asked to."""
        if self._event.is_set():
            raise Stopped
