"""The report that people read: every word of a figure comes from the results."""

from collections.abc import Iterable, Iterator, Sequence

from tests.bench import spread
from tests.bench.contestants import BY_NAME, REFERENCE
from tests.bench.goals import Goal, goals
from tests.bench.results import Measured, Results, SuiteResults
from tests.bench.spread import Sample
from tests.bench.tables import SCALE

MIB = 1024 * 1024
_SIGNS = {True: "✅ yes", False: "❌ no", None: "not measured"}
_SETTINGS = ("shared_buffers", "work_mem", "fsync", "autovacuum", "jit", "max_wal_size")


def render(results: Results, plot: str = "", guide: str = "README.md") -> str:
    """The whole document. `plot` is the picture's file name, `guide` the path from the report to how it is read."""
    parts = [_head(results, plot, guide), _goals(goals(results)), *_suites(results), _missing(results)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(results: Results, plot: str, guide: str) -> str:
    machine = results.machine
    ours = ", ".join(f"{name} {number}" for name, number in machine.ours.items())
    theirs = ", ".join(f"{name} {number}" for name, number in machine.peers.items()) or "none"
    settings = ", ".join(f"`{name} = {results.settings[name]}`" for name in _SETTINGS if name in results.settings)
    lines = [
        "<!-- Written by `make bench`. Do not edit: the next run writes it anew. -->",
        "# Benchmark: results",
        "",
        f"How it is measured and how to read it: [README]({guide}). Every figure: `results.json` beside this page.",
        "",
    ]
    if results.load_allowed:
        lines += ["> Runs under foreign load were kept (`LOAD=any`): **these figures say little.**", ""]
    if results.scale != SCALE:
        lines += [
            f"> With {results.scale:,} rows of users. The goals are set for {SCALE:,}: **they do not apply.**",
            "",
        ]
    lines += [
        (
            f"- {results.began} to {results.ended}, commit `{machine.commit}`, {results.repeats} rounds in random order"
            f" (seed {results.seed})"
        ),
        (
            f"- {machine.processor}, {machine.processors} processors, {machine.memory_bytes / 1024**3:.0f} GiB,"
            f" Linux {machine.kernel}; output on {results.file_system}"
        ),
        f"- PostgreSQL {machine.postgresql}: {settings}",
        *([f"- S3: `{results.s3}`"] if results.s3 else []),
        f"- Ours: Python {machine.python}, {ours}",
        f"- Peers: {theirs}",
    ]
    return "\n".join([*lines, *(["", f"![Wall time of each contestant]({plot})"] if plot else [])])


def _goals(found: Sequence[Goal]) -> str:
    if not found:
        return ""
    told = summary(found)
    rows = [
        [
            goal.group,
            goal.title,
            f"{goal.sense} {_number(goal.bound)} {goal.unit}".strip(),
            _figure(goal),
            _SIGNS[goal.met],
            "" if goal.floor is None else f"{_number(goal.floor)}{', beyond the goal' if goal.beyond_reach else ''}",
            goal.note,
        ]
        for goal in found
    ]
    return "## Goals\n\n" + told + "\n\n" + table(["", "", "goal", "measured", "met", "floor", ""], rows)


def summary(found: Sequence[Goal]) -> str:
    """How many goals are met, and how many of the others no run with this work could meet."""
    counted = [goal.met for goal in found]
    missed, beyond = counted.count(False), sum(goal.beyond_reach for goal in found)
    floors = f" (of {beyond} the floor is beyond the goal)" if beyond else ""
    return f"{counted.count(True)} of {len(found)} met, {missed} not{floors}, {counted.count(None)} not measured."


def _figure(goal: Goal) -> str:
    return "" if goal.figure is None else f"**{_number(goal.figure)}** {goal.unit}".strip()


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.2f}"


def _suites(results: Results) -> list[str]:
    return [_suite(suite, results.machine.processors) for suite in results.suites.values()]


def _suite(suite: SuiteResults, processors: int) -> str:
    heading = [
        "wall s",
        "least–most",
        "IQR",
        "÷ psql csv",
        "client CPU s",
        "a million rows",
        "server CPU s",
        "S3 CPU s",
        "floor",
        "peak MiB",
        "output MiB",
        "n",
    ]
    rows = sorted(
        (row for row in (_row(suite, name, found, processors) for name, found in suite.measured.items()) if row),
        key=lambda row: row[0],
    )
    facts = f"{suite.table.title}: {suite.table.rows:,} rows, {suite.table.bytes / MIB:,.0f} MiB in PostgreSQL."
    pinned = " The server ran on processor 0, the client on processor 1." if suite.pinned else ""
    text = f"## {suite.title}\n\n{facts}{pinned}\n\n" + table(["", *heading], [row for _, row in rows])
    notes = list(_notes(suite))
    return text + ("\n\n" + "\n".join(notes) if notes else "") + _steps(suite)


def _steps(suite: SuiteResults) -> str:
    """Where the exporter's time goes. Steps overlap, so they do not add up to the wall time."""
    told = {name: suite.samples(name) for name in suite.measured if any(each.steps for each in suite.samples(name))}
    names = list(dict.fromkeys(step for samples in told.values() for each in samples for step in each.steps))
    if not names:
        return ""
    rows = []
    for name, samples in told.items():
        medians = [spread.of(samples, lambda each, step=step: each.steps.get(step, 0.0)).median for step in names]  # type: ignore[misc]
        first = spread.of(samples, lambda each: each.first_row).median
        rows.append([BY_NAME[name].title, f"{first:.2f}", *(f"{median:.2f}" if median else "" for median in medians)])
    title = "\n\nSeconds by step, as the exporter tells them (medians); steps overlap.\n\n"
    return title + table(["", "first row", *names], rows)


def _row(suite: SuiteResults, name: str, measured: Measured, processors: int) -> tuple[float, list[str]] | None:
    samples = suite.samples(name)
    if not samples:
        return None
    wall, client = spread.of(samples, lambda each: each.wall), spread.of(samples, lambda each: each.client)
    reference = suite.samples(REFERENCE)
    psql = spread.of(reference, lambda each: each.wall).median if reference else 0.0
    count = str(wall.count) + (f" ({len(measured.void)} void)" if measured.void else "")
    return wall.median, [
        BY_NAME[name].title,
        f"**{wall.median:.2f}**",
        f"{wall.least:.2f}–{wall.most:.2f}",
        f"{wall.quartiles:.2f}",
        f"{wall.median / psql:.2f}" if psql else "",
        f"{client.median:.2f}",
        f"{client.median / suite.table.rows * 1e6:.2f}",
        _median(samples, "server"),
        _median(samples, "s3") if BY_NAME[name].kind == "shipped" else "",
        f"{suite.floor(name, processors) / psql:.2f}" if psql else "",
        f"{spread.of(samples, lambda each: each.peak_memory).most / MIB:.0f}",
        f"{spread.of(samples, lambda each: each.output_bytes).median / MIB:,.0f}",
        count,
    ]


def _median(samples: Sequence[Sample], figure: str) -> str:
    return f"{spread.of(samples, lambda each: float(getattr(each, figure))).median:.2f}"


def _notes(suite: SuiteResults) -> Iterator[str]:
    for name, found in suite.measured.items():
        contestant = BY_NAME[name]
        if found.refused:
            yield f"- {contestant.title} does not count: {found.refused}"
        elif not found.samples:
            yield f"- {contestant.title}: all of {len(found.void)} runs were under foreign load and are void"
        elif any(sample.checkpointed for sample in found.samples):
            yield f"- {contestant.title}: it was read in the order of the key and wrote checkpoints"
        elif not contestant.tells_null:
            yield f"- {contestant.title}: its output does not tell NULL from the empty text; it was compared so"


def _missing(results: Results) -> str:
    if not results.missing:
        return ""
    rows = [[BY_NAME[name].title, why] for name, why in results.missing.items()]
    return "## Not measured\n\n" + table(["", "why"], rows)


def table(heading: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    """In Markdown."""
    head = list(heading)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
