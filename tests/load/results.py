"""What was seen, as it is kept in JSON beside the page that is made of it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from tests.bench import machine
from tests.bench.spread import Spread, spread
from tests.cluster.local import program
from tests.load.fairness import Fairness, Waits
from tests.load.population import Cost, Level
from tests.load.scenario import Scenario, Seen
from tests.load.stream import Flow, Sample

A = TypeVar("A")


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
    nodes: int
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
        nodes=scenario.nodes,
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


@dataclass(frozen=True, slots=True)
class Populations:
    """Operators over requests that are there already, by how many there are; idle for so many seconds."""

    where: Circumstances
    idle_seconds: float
    levels: list[Level]


@dataclass(frozen=True, slots=True)
class Stream:
    where: Circumstances
    flow: Flow


@dataclass(frozen=True, slots=True)
class Crowd:
    where: Circumstances
    fairness: Fairness


@dataclass(slots=True)
class Results:
    """Each part is of its own run: a run of some leaves the others as they were."""

    storms: dict[str, Storm] = field(default_factory=dict)
    populations: Populations | None = None
    stream: Stream | None = None
    crowd: Crowd | None = None
    deciding: Deciding | None = None

    def write(self, file: Path) -> None:
        file.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read(file: Path) -> Results:
    """Empty where there are none. Raises ValueError, KeyError, TypeError for what this program did not write."""
    if not file.exists():
        return Results()
    data: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return Results(
        {name: Storm(**{**each, "where": _where(each["where"])}) for name, each in data["storms"].items()},
        _read(data.get("populations"), _populations),
        _read(data.get("stream"), _stream),
        _read(data.get("crowd"), _crowd),
        _read(data.get("deciding"), _deciding),
    )


def _read(data: dict[str, Any] | None, parse: Callable[[dict[str, Any]], A]) -> A | None:
    return None if data is None else parse(data)


def _where(data: dict[str, Any]) -> Circumstances:
    return Circumstances(data["at"], data["kubernetes"], machine.Host(**data["host"]), data["busy"])


def _populations(data: dict[str, Any]) -> Populations:
    levels = [Level(**{**each, "ours": Cost(**each["ours"]), "bare": Cost(**each["bare"])}) for each in data["levels"]]
    return Populations(_where(data["where"]), data["idle_seconds"], levels)


def _stream(data: dict[str, Any]) -> Stream:
    samples = [Sample(**each) for each in data["flow"]["samples"]]
    return Stream(_where(data["where"]), Flow(**{**data["flow"], "samples": samples}))


def _crowd(data: dict[str, Any]) -> Crowd:
    waits = {
        part: {name: Waits(**each) for name, each in data["fairness"][part].items()} for part in ("quiet", "flood")
    }
    renewals = Waits(**data["fairness"]["renewals"])
    return Crowd(_where(data["where"]), Fairness(**{**data["fairness"], **waits, "renewals": renewals}))


def _deciding(data: dict[str, Any]) -> Deciding:
    timings = {name: Timing(**each) for name, each in data["timings"].items()}
    return Deciding(_where(data["where"]), data["queued"], timings)
