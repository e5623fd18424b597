"""The circuit breakers of this process: what is known of each source and destination, and who waits for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime

from export_operator.domain import breaker
from export_operator.domain.breaker import Breaker, Breakers, Failed, Verdict
from export_operator.domain.identity import Subject
from export_operator.domain.model import Key

CLOSED = Breaker()


class Gates:
    """`changed` is told of each new state or limit (None: the object is gone); `wake` of the requests that were held
    and may go on, be they thousands."""

    def __init__(
        self, changed: Callable[[Subject, Breaker | None], None], wake: Callable[[Iterable[Key]], None]
    ) -> None:
        self._changed = changed
        self._wake = wake
        self._breakers: dict[Subject, Breaker] = {}
        self._held: dict[Subject, dict[Key, None]] = {}

    @property
    def breakers(self) -> Breakers:
        """All of them as they are now."""
        return self._breakers

    def of(self, subject: Subject) -> Breaker:
        return self._breakers.get(subject, CLOSED)

    def limit(self, kind: str, name: str, now: datetime) -> int | None:
        """Runs that may be live at once at this source or destination: 0 while it is open, None for no bound of its
        own."""
        return breaker.aged(self.of(Subject(kind, name)), now).limit

    def restore(self, subject: Subject, found: Breaker) -> None:
        """Begin with what is known from before this process, unless it knows better already."""
        if subject not in self._breakers:
            self._put(subject, found)

    def probed(self, subject: Subject, fault: str, now: datetime, *, advisory: bool = False) -> Breaker:
        """The operator's own check: `fault` is "" when it was answered. The breaker that follows."""
        before = replace(self.of(subject), advisory=advisory)
        return self._put(
            subject, breaker.probe_failed(before, fault, now) if fault else breaker.probe_passed(before, now)
        )

    def learn(self, verdicts: Iterable[Verdict], told: Failed, began: datetime) -> None:
        """How a run ended. `told` names it and when it ended; `began` is when its last attempt did."""
        for verdict in verdicts:
            before = self.of(verdict.subject)
            if verdict.failure:
                self._put(verdict.subject, breaker.run_failed(before, told, verdict.failure, began))
            else:
                self._put(verdict.subject, breaker.run_worked(before, told.run, told.time))

    def hold(self, subject: Subject, key: Key) -> None:
        """Wake `key` when the gate lets runs through again."""
        if self.of(subject).limit == 0:
            self._held.setdefault(subject, {})[key] = None
        else:
            self._wake([key])  # it has opened since that was decided

    def forget(self, key: Key) -> None:
        """The request is gone."""
        for keys in self._held.values():
            keys.pop(key, None)

    def drop(self, subject: Subject) -> None:
        """The source or destination is gone."""
        self._breakers.pop(subject, None)
        self._changed(subject, None)
        self._release(subject)

    def _put(self, subject: Subject, after: Breaker) -> Breaker:
        before = self._breakers.get(subject)
        self._breakers[subject] = after
        if before is None or (before.state, before.limit) != (after.state, after.limit):
            self._changed(subject, after)
        if after.limit != 0:
            self._release(subject)
        return after

    def _release(self, subject: Subject) -> None:
        self._wake(self._held.pop(subject, ()))
