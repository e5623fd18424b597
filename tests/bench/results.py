"""What a benchmark found, as it is written to JSON and read back for the report."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

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


@dataclass(frozen=True, slots=True)
class Results:
    """`load_allowed`: runs under foreign load were kept, so the figures say little. `missing`: why a contestant was
    not measured."""

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
