"""One exception for everything that can end a run, and what may be said about it."""

from __future__ import annotations

from export_contract.failures import FAILURES, Failure, FailureKind
from export_contract.report import FailureReport


class ExportError(Exception):
    """A run ends for a named reason. `message` holds neither secrets nor row values: whoever raises it sees to that.

    `transient` says that the same call may succeed when it is made again within this attempt. `lasting` is the failure
    instead of a transient one that comes a second time; None when more tries may help.
    """

    def __init__(
        self, failure: Failure, message: str, *, transient: bool = False, lasting: ExportError | None = None
    ) -> None:
        super().__init__(message)
        self.failure = failure
        self.message = message
        self.transient = transient
        self.lasting = lasting

    @property
    def kind(self) -> FailureKind:
        return FAILURES[self.failure]

    def report(self) -> FailureReport:
        """The failure as the operator reads it."""
        kind = self.kind
        return FailureReport(
            reason=kind.reason,
            failure_class=str(kind.failure_class),
            message=self.message,
            retryable=kind.retryable,
            exit_code=kind.exit_code,
        )


class Stopped(Exception):  # noqa: N818 - not an error: somebody else ended the run and knows why
    """A stage is asked to end; the reason stands where the stop was requested."""


def internal(error: BaseException) -> ExportError:
    """An unexpected exception as a failure: its type and place, but not its text, which may hold values of rows."""
    frames: list[str] = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if "export_runner" in code.co_filename:
            frames.append(f"{code.co_filename.rsplit('/', 1)[-1]}:{trace.tb_lineno}")
        trace = trace.tb_next
    if isinstance(error, MemoryError):
        return ExportError(Failure.OUT_OF_MEMORY, "The exporter could not get the memory that it needs.")
    place = " < ".join(reversed(frames[-4:])) or "unknown"
    return ExportError(Failure.INTERNAL_ERROR, f"Unexpected {type(error).__name__} at {place}.")
