"""Work on a thread of its own, waited for by a main thread that stays awake for signals and the deadline."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from export_contract.failures import Failure
from export_runner.clock import Deadline, Stop
from export_runner.errors import ExportError, Stopped, internal

T = TypeVar("T")

LOOK_SECONDS = 0.05
"""How long the main thread sleeps at most before it looks again."""
TELL_SECONDS = 5.0
"""How long a task that stops itself may take to say why, before the deadline is looked at again."""


class Task(Generic[T]):
    """Starts at once. The thread is a daemon: one that hangs does not hold up the process's end."""

    def __init__(self, name: str, function: Callable[[], T]) -> None:
        self._function = function
        self._value: list[T] = []
        self._error: ExportError | Stopped | None = None
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._value.append(self._function())
        except (ExportError, Stopped) as error:
            self._error = error
        except BaseException as error:  # polars' PanicException is no Exception
            self._error = internal(error)
        finally:
            self._done.set()

    @property
    def done(self) -> bool:
        return self._done.is_set()

    @property
    def failed(self) -> bool:
        return self.done and not self._value

    def join(self, seconds: float) -> bool:
        """Wait at most so long; is it done?"""
        return self._done.wait(seconds)

    def result(self) -> T:
        """Of a task that is done. Raises what its function raised, unexpected exceptions as InternalError."""
        if not self._value:
            assert self._error is not None, "the task is done"
            raise self._error
        return self._value[0]


def wait_for(task: Task[T], deadline: Deadline, stop: Stop, expired: Callable[[], ExportError]) -> T:
    """The task's result. When the deadline passes, asks everything to stop with `expired` as the reason, which also
    stands for what PostgreSQL says: the deadline is its statement_timeout, so that it may be the first to notice.

    A stop without a reason is the task's own: one of its stages failed, and it is about to say how.
    Raises `ExportError`, the stop's reason first, and `Stopped`.
    """
    while not task.join(LOOK_SECONDS):
        if deadline.remaining() <= 0:
            stop.request(expired())
        if stop.reason is not None or (stop.requested and task.join(TELL_SECONDS)):
            break
    if stop.reason is not None:
        raise stop.reason
    try:
        return task.result()
    except ExportError as error:
        if error.failure is Failure.DEADLINE_EXCEEDED and deadline.remaining() <= 0:
            raise expired() from None
        raise
