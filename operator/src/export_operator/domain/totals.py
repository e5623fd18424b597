"""What all runs that have ever ended add up to. Counters are read off it, and it outlives every process.

A run adds to it once, when its end stands in its status. Which runs of late are in it already is part of it, by the
minute in which they ended; of everything before its `horizon` all are. So whoever reads it knows what is still to be
added of the requests that are there, and adding it again changes nothing.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from export_contract.codec import ContractError
from export_contract.failures import Failure
from export_contract.report import Redelivered
from export_operator.domain import refunds, times
from export_operator.domain.model import TERMINAL_PHASES, Named, Pod, parse_request
from export_operator.domain.policy import FALLBACKS, select
from export_operator.domain.series import (
    LABELS,
    OTHER,
    TENANT_LABELS,
    Labels,
    Tenant,
    bounded,
    bounded_tenant,
    labels_of,
)

FORMAT = 1  # it rises when an older operator could not add to what a newer one wrote
NEAR = 0.8  # of the run deadline
COUNTED_ELSEWHERE = frozenset({"Expired"})
"""Phases that follow another end, which was counted."""
OF_TENANTS = ("runs", "rows", "bytes")
"""The numbers that are kept by namespace as well."""
RETRIES = "retries:"
"""What the names of such numbers begin with; a call and a failure follow, as in `status.retries`."""
DOWNLOADS, REDELIVERIES = "downloads", "redeliveries"
"""Names of facts: of downloads by phase and reason, of redeliveries by destination."""
MAX_FACTS = 200
"""Told apart by name and labels; what is beyond is summed up."""
NOT_RUN = frozenset({"Adopted"})
"""Reasons of an end that repeats what an earlier run delivered."""


Numbers = defaultdict[str, float]


class Buckets(NamedTuple):
    """A histogram among the numbers: `<name>_sum`, and `<name>_<bound>` of what is at most that, and not within a
    smaller bound."""

    name: str
    bounds: tuple[float, ...]

    def observe(self, numbers: Numbers, value: float) -> None:
        place = bisect_left(self.bounds, value)
        bound = f"{self.bounds[place]:g}" if place < len(self.bounds) else "inf"
        numbers[f"{self.name}_{bound}"] += 1
        numbers[f"{self.name}_sum"] += _short(value)

    def cumulative(self, numbers: Mapping[str, float]) -> list[tuple[str, float]]:
        """As Prometheus wants them: each bound with all that is at most that."""
        found, total = [], 0.0
        for bound in (*(f"{bound:g}" for bound in self.bounds), "inf"):
            total += numbers.get(f"{self.name}_{bound}", 0)
            found.append(("+Inf" if bound == "inf" else bound, total))
        return found


WAIT = Buckets("wait", (1, 5, 15, 60, 300, 900, 3600, 14_400, 43_200, 86_400))
DURATION = Buckets("duration", (1, 2, 5, 10, 30, 60, 120, 300, 900, 3600, 14_400))
SPEED = Buckets("speed", (100, 1000, 5000, 10_000, 50_000, 100_000, 250_000, 500_000, 1_000_000))


class End(NamedTuple):
    """What the end of a run adds. `minute` is when it ended, in minutes since 1970."""

    run: str
    minute: int
    tenant: str
    labels: Labels
    numbers: Mapping[str, float]


class Fact(NamedTuple):
    """What else is counted, once: `run` names it, as a run's end is named. `adds` are numbers by their name, with
    labels."""

    run: str
    minute: int
    adds: Mapping[tuple[str, ...], float]


def answer_of(download: Mapping[str, Any]) -> Fact | None:
    """That an ExportDownload was answered; None while it was not. One that has expired was counted before."""
    status = download.get("status") or {}
    told = {"Ready": "Ready", "Failed": "Stalled"}.get(str(status.get("phase")))
    turned: Mapping[str, Any] = next((each for each in status.get("conditions") or () if each.get("type") == told), {})
    moment = times.parse(turned.get("lastTransitionTime"))
    if told is None or moment is None:
        return None
    name = (DOWNLOADS, str(status["phase"]), str(status.get("reason") or ""))
    return Fact(f"download-{download['metadata']['uid']}", minute_of(moment), {name: 1})


def moves_of(pod: Pod) -> Fact | None:
    """What a pod that ran `export-runner redeliver` has moved, as it said at its end; None while it runs, and when it
    says nothing that can be believed."""
    if pod.finished is None:
        return None
    try:
        moved = Redelivered.from_json(pod.exit_message).moved
    except ContractError:
        return None
    adds: dict[tuple[str, ...], float] = {
        (REDELIVERIES, destination): number for destination, number in moved.items() if number
    }
    return Fact(f"redelivery-{pod.uid}", minute_of(pod.finished), adds) if adds else None


def end_of(document: Mapping[str, Any], policies: Mapping[str, Named]) -> End | None:
    """The end that a request's status tells; None while its run of record has not ended."""
    status = document.get("status") or {}
    completed = times.parse(status.get("completionTime"))
    if status.get("phase") not in TERMINAL_PHASES - COUNTED_ELSEWHERE or completed is None or not status.get("run"):
        return None
    labels = labels_of(status)
    numbers: Numbers = defaultdict(float, runs=1)
    if labels.reason not in NOT_RUN:
        _measure(numbers, document, completed, policies)
    return End(str(status["run"]), minute_of(completed), document["metadata"]["namespace"], labels, numbers)


def _measure(numbers: Numbers, document: Mapping[str, Any], completed: datetime, policies: Mapping[str, Named]) -> None:
    request = parse_request(document)
    status, result, effective = (
        request.status,
        request.status.get("result") or {},
        request.status.get("effective") or {},
    )
    asked = request.created if not status.get("runID") else None
    queued, started = times.parse(status.get("queuedTime")) or asked, times.parse(status.get("startTime"))
    if queued is not None and (started is not None or status.get("queuedTime")):
        WAIT.observe(numbers, max(((started or completed) - queued).total_seconds(), 0))
    if started is not None:
        DURATION.observe(numbers, max((completed - started).total_seconds(), 0))
        numbers["attempts"] += int(status.get("attempts") or 0)
    seconds = float((result.get("timings") or {}).get("total") or 0)
    rows = int(result.get("rows") or 0)
    numbers["rows"] += rows
    numbers["bytes"] += int(result.get("bytes") or 0)
    if rows and seconds:
        SPEED.observe(numbers, rows / seconds)
    deadline = int(effective.get("runDeadlineSeconds") or FALLBACKS["runDeadlineSeconds"])
    out_of_time = status.get("reason") in {Failure.DEADLINE_EXCEEDED, "DeadlineReached"}
    numbers["near_deadline"] += out_of_time or seconds >= NEAR * deadline
    numbers["fallbacks"] += bool(result.get("usedFallback"))
    for name, number in (status.get("retries") or {}).items():
        numbers[f"{RETRIES}{name}"] = number
    if status.get("jobRef"):
        numbers["refunds"] += refunds.settlement(request, select(policies, request).refund_on).refunded
    for name in [name for name, number in numbers.items() if not number]:
        del numbers[name]


def minute_of(moment: datetime) -> int:
    return int(moment.timestamp() // 60)


class TotalsError(ValueError):
    """The text is not what `Totals.render` gives, or a newer release wrote it."""


@dataclass(slots=True)
class Totals:
    """Numbers by labels, and some by namespace; and `facts`, by name and labels. `counted` has what happened in each
    minute since `horizon`: runs that ended, and facts."""

    horizon: int
    counted: dict[int, set[str]] = field(default_factory=dict)
    rows: dict[Labels, Numbers] = field(default_factory=dict)
    tenants: dict[Tenant, Numbers] = field(default_factory=dict)
    facts: dict[tuple[str, ...], float] = field(default_factory=dict)

    def holds(self, end: End | Fact) -> bool:
        """It tells of this very run that it is in."""
        return end.run in self.counted.get(end.minute, ())

    def knows(self, end: End | Fact) -> bool:
        """It is in already."""
        return end.minute < self.horizon or self.holds(end)

    def add(self, end: End | Fact) -> None:
        """Add what is not in it yet."""
        self.counted.setdefault(end.minute, set()).add(end.run)
        if isinstance(end, Fact):
            for name, number in end.adds.items():
                room = name in self.facts or len(self.facts) < MAX_FACTS
                key = name if room else (name[0], *(OTHER for _ in name[1:]))
                self.facts[key] = self.facts.get(key, 0) + number
            return
        labels = bounded(end.labels, self.rows)
        _add(self.rows.setdefault(labels, defaultdict(float)), end.numbers)
        tenant = bounded_tenant(Tenant(end.tenant, end.labels.phase), self.tenants)
        few = {name: end.numbers[name] for name in OF_TENANTS if name in end.numbers}
        _add(self.tenants.setdefault(tenant, defaultdict(float)), few)

    def forget(self, horizon: int) -> None:
        """No end before this minute will be added any more."""
        self.horizon = max(self.horizon, horizon)
        self.counted = {minute: runs for minute, runs in self.counted.items() if minute >= self.horizon}

    def copy(self) -> Totals:
        return Totals(
            self.horizon,
            {minute: set(runs) for minute, runs in self.counted.items()},
            {labels: numbers.copy() for labels, numbers in self.rows.items()},
            {tenant: numbers.copy() for tenant, numbers in self.tenants.items()},
            dict(self.facts),
        )

    def retries(self) -> Mapping[tuple[str, ...], Numbers]:
        """How often calls were tried again, by call and failure."""
        found: dict[tuple[str, ...], Numbers] = {}
        for numbers in self.rows.values():
            for name, number in numbers.items():
                if name.startswith(RETRIES):
                    call, _, failure = name.removeprefix(RETRIES).partition("/")
                    _add(found.setdefault((call, failure), defaultdict(float)), {"retries": number})
        return found

    def facts_of(self, name: str) -> Mapping[tuple[str, ...], Numbers]:
        """Those of a name, by their labels."""
        return {key[1:]: defaultdict(float, {name: number}) for key, number in self.facts.items() if key[0] == name}

    def sums(self, labels: tuple[str, ...]) -> Mapping[tuple[str, ...], Numbers]:
        """The numbers by fewer labels: some of `LABELS`, or of `TENANT_LABELS` with the tenant."""
        of_tenants = TENANT_LABELS[0] in labels
        table: Mapping[Any, Numbers] = self.tenants if of_tenants else self.rows
        places = [(TENANT_LABELS if of_tenants else LABELS).index(label) for label in labels]
        found: dict[tuple[str, ...], Numbers] = {}
        for key, numbers in table.items():
            _add(found.setdefault(tuple(key[place] for place in places), defaultdict(float)), numbers)
        return found

    def render(self) -> str:
        """As JSON, the same for the same totals."""
        document = {
            "version": FORMAT,
            "horizon": self.horizon,
            "counted": {str(minute): sorted(runs) for minute, runs in sorted(self.counted.items())},
            "rows": _render(self.rows),
            "tenants": _render(self.tenants),
        }
        if self.facts:
            document["facts"] = [[list(key), _plain(number)] for key, number in sorted(self.facts.items())]
        return json.dumps(document, separators=(",", ":"))

    @staticmethod
    def parse(text: str) -> Totals:
        """Raises `TotalsError`. Numbers that only a newer release knows are kept."""
        try:
            document = json.loads(text)
            if document["version"] != FORMAT:
                raise TotalsError(f"its version is {document['version']}")
            counted = {int(minute): set(runs) for minute, runs in document["counted"].items()}
            rows = {Labels(*labels): defaultdict(float, numbers) for labels, numbers in document["rows"]}
            tenants = {Tenant(*labels): defaultdict(float, numbers) for labels, numbers in document["tenants"]}
            facts = {tuple(map(str, key)): float(number) for key, number in document.get("facts") or ()}
            return Totals(int(document["horizon"]), counted, rows, tenants, facts)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise TotalsError(f"{type(error).__name__}: {error}"[:200]) from error


def _add(numbers: Numbers, more: Mapping[str, float]) -> None:
    for name, number in more.items():
        numbers[name] += number


def _short(value: float) -> float:
    return round(value, 3)


def _render(table: Mapping[Any, Numbers]) -> list[Any]:
    return [
        [list(labels), {name: _plain(number) for name, number in sorted(numbers.items())}]
        for labels, numbers in sorted(table.items())
    ]


def _plain(number: float) -> float:
    """Whole numbers without their fraction."""
    return int(number) if number == int(number) else _short(number)
