"""What a benchmark found, as it is written to JSON and read back for the report."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.bench import spread
from tests.bench.contestants import BY_NAME
from tests.bench.machine import Machine
from tests.bench.spread import Sample


@dataclass(frozen=True, slots=True)
class TableFacts:
    """As the server tells them."""

    title: str
    rows: int
    bytes: int


@dataclass(slots=True)
class Measured:
    """Of one contestant in one suite. `void` runs were under foreign load, `refused` says why an output is not
    counted; neither is among `samples`."""

    samples: list[Sample] = field(default_factory=list)
    void: list[Sample] = field(default_factory=list)
    refused: str = ""


@dataclass(slots=True)
class SuiteResults:
    title: str
    table: TableFacts
    pinned: bool
    measured: dict[str, Measured] = field(default_factory=dict)

    def samples(self, name: str) -> list[Sample]:
        """Those that count; none for a contestant that was not measured or whose output is not the table."""
        found = self.measured.get(name)
        return [] if found is None or found.refused else found.samples

    def floor(self, name: str, processors: int) -> float:
        """Wall seconds that a contestant cannot go below with the CPU time that it takes: all of it, if every processor
        were busy all the time, and the server's on one processor for each connection, since a backend is one process.
        Raises ValueError for one without samples."""
        connections = BY_NAME[name].connections

        def least(each: Sample) -> float:
            server = each.server + each.s3
            shared = max(each.client, server) if self.pinned else (each.client + server) / processors
            return max(shared, each.server / connections)

        return spread.of(self.samples(name), least).median


@dataclass(frozen=True, slots=True)
class Results:
    """`load_allowed`: runs under foreign load were kept, so the figures say little. `missing`: why a contestant was
    not measured. `s3`: the S3 server's command, as far as it matters."""

    machine: Machine
    settings: dict[str, str]
    began: str
    ended: str
    scale: int
    repeats: int
    seed: int
    file_system: str
    load_allowed: bool
    suites: dict[str, SuiteResults]
    missing: dict[str, str]
    s3: str = ""

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"


def read(file: Path) -> Results:
    """Raises OSError, ValueError, KeyError, TypeError for what this program did not write."""
    data: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    suites = {
        name: SuiteResults(
            suite["title"],
            TableFacts(**suite["table"]),
            suite["pinned"],
            {who: _measured(found) for who, found in suite["measured"].items()},
        )
        for name, suite in data.pop("suites").items()
    }
    return Results(machine=Machine(**data.pop("machine")), suites=suites, **data)


def _measured(data: dict[str, Any]) -> Measured:
    samples, void = ([Sample(**each) for each in data[name]] for name in ("samples", "void"))
    return Measured(list(samples), list(void), data["refused"])
