"""What was promised, beside what was measured."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from tests.bench import spread
from tests.bench.contestants import BY_NAME, CURSOR, REFERENCE
from tests.bench.results import Results, SuiteResults
from tests.bench.spread import Sample
from tests.bench.suites import MAIN

MIB = 1024 * 1024
SMALL = "small"

RATIOS: dict[str, float] = {
    "bare-csv-1": 0.70,
    "bare-csv-2": 0.62,
    "shipped-csv": 0.95,
    "bare-ndjson-1": 0.80,
    "bare-ndjson-2": 0.70,
    "shipped-ndjson": 1.00,
    "bare-parquet-1": 0.85,
    "bare-parquet-2": 0.70,
    "shipped-parquet": 1.00,
}
"""Wall time, as a ratio to `psql \\copy csv`, on the whole of users."""
AGAINST_DUCKDB = {
    f"bare-{form}-{count}": f"duckdb-{form}-{count}" for form in ("csv", "ndjson", "parquet") for count in (1, 2)
}
TIMES_FASTER = 8.0
BARE_CPU, SHIPPED_CPU = 2.0, 3.0
"""Of the client, in seconds per million rows."""
PEAKS: dict[str, int] = {
    **{f"bare-{form}-1": 200 for form in ("csv", "ndjson", "json")},
    **{f"shipped-{form}": 200 for form in ("csv", "ndjson", "json")},
    "bare-parquet-32m": 384,
}
"""Peak memory in MiB."""
GROWTH = 1.05
"""Peak memory on the whole of users over that on a fifth."""
FIRST_ROW_SECONDS = 0.6
CHECKPOINT = 1.05


@dataclass(frozen=True, slots=True)
class Goal:
    """`figure` is None when it was not measured, `floor` where wall time is not what is judged: the best that this much
    work can reach (`SuiteResults.floor`). `note` tells the spread, or why there is no figure."""

    group: str
    title: str
    bound: float
    figure: float | None
    sense: Literal["≤", "≥"] = "≤"
    unit: str = ""
    note: str = ""
    floor: float | None = None

    @property
    def met(self) -> bool | None:
        return None if self.figure is None else self._within(self.figure)

    @property
    def beyond_reach(self) -> bool:
        """Was it missed, and would even the floor have missed it?"""
        return self.met is False and self.floor is not None and not self._within(self.floor)

    def _within(self, figure: float) -> bool:
        return figure <= self.bound if self.sense == "≤" else figure >= self.bound


def goals(results: Results) -> list[Goal]:
    """Every goal, in the report's order."""
    suite = results.suites.get(MAIN)
    small = results.suites.get(SMALL)
    found: list[Goal] = []
    if suite is not None:
        found += _walls(suite, results.machine.processors)
        found += _cpu(suite)
        found += _memory(suite)
        found.append(_checkpoint(suite))
    if suite is not None and small is not None:
        found += _growth(suite, small)
    if small is not None:
        found.append(_first_row(small))
    return found


def _compared(suite: SuiteResults, ours: str, theirs: str) -> tuple[float | None, str]:
    """The ratio of medians and its spread round by round."""
    mine, others = suite.samples(ours), suite.samples(theirs)
    if not mine or not others:
        return None, f"{_title(theirs if mine else ours)}: {_why(suite, theirs if mine else ours)}"
    rounds = spread.paired(mine, others, (BY_NAME[ours].a_round, BY_NAME[theirs].a_round))
    return spread.ratio(mine, others, _wall), f"{rounds.least:.2f} to {rounds.most:.2f} over {rounds.count} rounds"


def _why(suite: SuiteResults, name: str) -> str:
    found = suite.measured.get(name)
    if found is None:
        return "not measured"
    return found.refused or "every run was under foreign load"


def _walls(suite: SuiteResults, processors: int) -> Iterator[Goal]:
    others = "Wall time, against others"
    asked = [
        *(("Wall time, as a ratio to psql \\copy csv", _title(n), n, REFERENCE, bound) for n, bound in RATIOS.items()),
        *((others, f"{_title(n)} ÷ {_title(peer)}", n, peer, 1.0) for n, peer in AGAINST_DUCKDB.items()),
    ]
    for group, title, ours, theirs, bound in asked:
        figure, note = _compared(suite, ours, theirs)
        floor = None if figure is None else suite.floor(ours, processors) / _median(suite, theirs)
        yield Goal(group, title, bound, figure, note=note, floor=floor)
    ours = "bare-csv-1"
    figure, note = _compared(suite, CURSOR, ours)
    floor = None if figure is None else _median(suite, CURSOR) / suite.floor(ours, processors)
    yield Goal(others, f"{_title(CURSOR)} ÷ {_title(ours)}", TIMES_FASTER, figure, "≥", note=note, floor=floor)


def _median(suite: SuiteResults, name: str) -> float:
    return spread.of(suite.samples(name), _wall).median


def _cpu(suite: SuiteResults) -> Iterator[Goal]:
    for name in RATIOS:
        bound = BARE_CPU if BY_NAME[name].kind == "bare" else SHIPPED_CPU
        samples = suite.samples(name)
        figure = spread.of(samples, _client).median / suite.table.rows * 1e6 if samples else None
        note = "" if samples else _why(suite, name)
        yield Goal("Client CPU per million rows", _title(name), bound, figure, unit="s", note=note)


def _memory(suite: SuiteResults) -> Iterator[Goal]:
    for name, bound in PEAKS.items():
        samples = suite.samples(name)
        figure = spread.of(samples, _peak).most / MIB if samples else None
        note = "the most of all runs" if samples else _why(suite, name)
        yield Goal("Peak memory", _title(name), bound, figure, unit="MiB", note=note)


def _growth(suite: SuiteResults, small: SuiteResults) -> Iterator[Goal]:
    for name in PEAKS:
        whole, fifth = suite.samples(name), small.samples(name)
        figure = spread.ratio(whole, fifth, _peak) if whole and fifth else None
        title = f"{_title(name)}, {suite.table.rows:,} ÷ {small.table.rows:,} rows"
        yield Goal("Peak memory as rows grow", title, GROWTH, figure, note="" if figure else "not measured in both")


def _first_row(small: SuiteResults) -> Goal:
    samples = small.samples("shipped-csv")
    figure = spread.of(samples, lambda sample: sample.first_row).median if samples else None
    title = "from the start of the process to the first CopyData, as shipped"
    note = f"at most {spread.of(samples, lambda sample: sample.first_row).most:.2f} s" if samples else "not measured"
    return Goal("Start-up", title, FIRST_ROW_SECONDS, figure, unit="s", note=note)


def _checkpoint(suite: SuiteResults) -> Goal:
    figure, note = _compared(suite, "checkpoint-csv", "ordered-csv")
    if figure is not None and not all(sample.checkpointed for sample in suite.samples("checkpoint-csv")):
        figure, note = None, "a run was without any checkpoint: it says nothing of what they cost"
    return Goal("Checkpoints", "by key with checkpoints ÷ by key without", CHECKPOINT, figure, note=note)


def _title(name: str) -> str:
    return BY_NAME[name].title


def _wall(sample: Sample) -> float:
    return sample.wall


def _client(sample: Sample) -> float:
    return sample.client


def _peak(sample: Sample) -> float:
    return float(sample.peak_memory)
