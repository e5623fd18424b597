"""What was seen, as it is kept in JSON beside the page that is made of it."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.bench import machine
from tests.bench.spread import Spread, spread
from tests.cluster.local import program
from tests.load.scenario import Scenario, Seen


@dataclass(frozen=True, slots=True)
class Circumstances:
    """When, where, on which code, and how busy the machine was in the minute before (its load average)."""

    at: str
    kubernetes: str
    host: machine.Host
    busy: float

    @staticmethod
    def present() -> Circumstances:
        at = datetime.now(UTC).isoformat(timespec="minutes")
        return Circumstances(at, program.kubernetes(), machine.here(), round(os.getloadavg()[0], 1))


@dataclass(frozen=True, slots=True)
class Storm:
    """One scenario, played once. Calls are counts in all, not per run."""

    title: str
    where: Circumstances
    requests: int
    users: int
    admitted: int
    slots: int
    operators: int
    kills: int
    backlog: bool
    run_seconds: float
    decided_seconds: float
    settled_seconds: float
    admitted_seconds: float
    most_live: int
    operator_cpu: float
    operator_memory: int
    calls: dict[str, int]
    conflicts: dict[str, int]
    refused: dict[str, int]
    faults: list[str]


def storm(scenario: Scenario, where: Circumstances, seen: Seen, faults: list[str]) -> Storm:
    return Storm(
        title=scenario.title,
        where=where,
        requests=scenario.requests,
        users=scenario.users,
        admitted=scenario.admitted,
        slots=scenario.slots,
        operators=scenario.operators,
        kills=scenario.kills,
        backlog=scenario.backlog,
        run_seconds=scenario.run_seconds,
        decided_seconds=round(seen.decided_seconds, 2),
        settled_seconds=round(seen.settled_seconds, 2),
        admitted_seconds=round(seen.admitted_seconds, 2),
        most_live=seen.truth.most_live,
        operator_cpu=round(seen.operator_cpu, 2),
        operator_memory=seen.operator_memory,
        calls=dict(seen.calls.made),
        conflicts=dict(seen.calls.conflicts),
        refused=dict(seen.calls.refused),
        faults=faults,
    )


@dataclass(frozen=True, slots=True)
class Timing:
    """Microseconds for one request, one value a round."""

    title: str
    microseconds: list[float]

    @property
    def spread(self) -> Spread:
        return spread(self.microseconds)


@dataclass(frozen=True, slots=True)
class Deciding:
    """The pure decisions, with so many requests in the queue."""

    where: Circumstances
    queued: int
    timings: dict[str, Timing]


@dataclass(slots=True)
class Results:
    """Each part is of its own run: a run of some leaves the others as they were."""

    storms: dict[str, Storm] = field(default_factory=dict)
    deciding: Deciding | None = None

    def write(self, file: Path) -> None:
        file.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read(file: Path) -> Results:
    """Empty where there are none. Raises ValueError, KeyError, TypeError for what this program did not write."""
    if not file.exists():
        return Results()
    data: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    storms = {name: Storm(**{**each, "where": _where(each["where"])}) for name, each in data["storms"].items()}
    return Results(storms, _deciding(data["deciding"]) if data["deciding"] else None)


def _where(data: dict[str, Any]) -> Circumstances:
    return Circumstances(data["at"], data["kubernetes"], machine.Host(**data["host"]), data["busy"])


def _deciding(data: dict[str, Any]) -> Deciding:
    timings = {name: Timing(**each) for name, each in data["timings"].items()}
    return Deciding(_where(data["where"]), data["queued"], timings)
