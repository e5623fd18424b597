"""What this process has seen of runs, until it can tell their traces."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Protocol

from export_operator.domain import spans
from export_operator.domain.model import Request

REMEMBERED = 20_000  # runs; the times of those that were seen first are then told in whole seconds


class Tracer(Protocol):
    """Is told of the steps of runs; nothing waits for it."""

    def creating(self, run: str) -> None:
        """The run's Job is about to be created."""

    def created(self, run: str) -> None:
        """It is there."""

    def written(self, request: Request, status: Mapping[str, Any]) -> None:
        """The request, as it was before, has this status now."""


class NoTraces:
    """Where there is no collector."""

    def creating(self, run: str) -> None: ...

    def created(self, run: str) -> None: ...

    def written(self, request: Request, status: Mapping[str, Any]) -> None: ...


class Traces:
    """`send` gets the spans of each run that ends."""

    def __init__(self, send: Callable[[tuple[spans.Span, ...]], None], clock: Callable[[], datetime]) -> None:
        self._send = send
        self._clock = clock
        self._moments: dict[str, dict[str, datetime]] = {}

    def creating(self, run: str) -> None:
        self._note(run, spans.CREATING)

    def created(self, run: str) -> None:
        self._note(run, spans.CREATED)

    def written(self, request: Request, status: Mapping[str, Any]) -> None:
        run = str(status.get("run") or "")
        if spans.ends(request.status, status):
            self._send(spans.of_run(request, status, self._moments.pop(run, {}), self._clock()))
        elif status.get("phase") == "Queued":
            self._note(run, spans.QUEUED)

    def _note(self, run: str, moment: str) -> None:
        """The first time of it counts."""
        self._moments.setdefault(run, {}).setdefault(moment, self._clock())
        if len(self._moments) > REMEMBERED:
            del self._moments[next(iter(self._moments))]
