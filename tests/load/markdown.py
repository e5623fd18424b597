"""The page that people read: every figure comes from the results."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tests.bench.markdown import table
from tests.load.audit import APART
from tests.load.results import Circumstances, Deciding, Results, Storm

MIB = 1024 * 1024
GOAL_CALLS, GOAL_LEDGER = 10, 2
GOAL_MICROSECONDS = 50

HEAD = """\
<!-- Written by `make load`. Do not edit: the next run writes it anew. -->
# Load

    make load                            # all of it: some ten minutes on two cores
    make load SUITES=burst,decide        # some of it; the rest stays as it was
    make load USERS=60                   # fewer people
    python -m tests.load --help

Many people ask at one moment. The operator runs as its image does, with its own service account, against a real API
server and etcd, whose audit log tells every call. **No container runs**: a stand-in for kubelet, Job controller and
garbage collector ends each Job by writes of status, as kwok does, with the message that the exporter leaves; source and
destination answer probes and nothing else. All of them share this machine's processors, so times say how they fare
together. Every figure: `load.json` beside this page.

Each scenario is judged before it is reported: nobody has more runs than its quota, never are more live at once than
there are slots, no run has a second Job, every window holds its runs, and in the end all are settled and nobody holds
a slot.\
"""

LEGEND = """\
*Decided*: until the last request had its first word in status. *Settled*: until the last had ended and its Job was
deleted. Both from the operator's start or, where people apply while it runs, from the first apply. *Admissions*: from
the first Job to the last. *CPU* is the operator's, for each request.\
"""

CALLS = """\
Calls of the operator for each admitted run, by purpose and verb as in its metric `export_operator_api_calls_total`;
those for refused requests are among them. The ends of logs, which tell progress, are counted apart.\
"""


def render(results: Results) -> str:
    """The whole document."""
    storms = list(results.storms.values())
    parts = [HEAD, *(_storms(storms) if storms else ()), *([_deciding(results.deciding)] if results.deciding else ())]
    return "\n\n".join(parts) + "\n"


def _storms(storms: Sequence[Storm]) -> list[str]:
    heading = ["", "requests", "people", "admitted", "decided s", "settled s", "admissions/s", "live", "CPU ms"]
    rows = [
        [
            storm.title,
            f"{storm.requests:,}",
            f"{storm.users}",
            f"{storm.admitted:,}",
            f"**{storm.decided_seconds:.1f}**",
            f"{storm.settled_seconds:.1f}",
            f"{storm.admitted / max(storm.admitted_seconds, 0.001):.0f}",
            f"{storm.most_live} of {storm.slots}",
            f"{storm.operator_cpu * 1000 / storm.requests:.1f}",
            f"{storm.operator_memory / MIB:.0f}",
            "; ".join(storm.faults) or "holds",
        ]
        for storm in storms
    ]
    scenarios = table([*heading, "peak MiB", "what must hold"], rows)
    return [f"## Scenarios\n\n{LEGEND}\n\n{scenarios}", f"## Calls\n\n{CALLS}\n\n{_calls(storms)}", _told(storms)]


def _calls(storms: Sequence[Storm]) -> str:
    names = sorted({name for storm in storms for name in storm.calls} - set(APART))
    rows = [[name, *(_per_run(storm, [name]) for storm in storms)] for name in names]
    told = {
        f"**all told** (goal: at most {GOAL_CALLS})": names,
        f"**of these, ledger** (goal: at most {GOAL_LEDGER})": [name for name in names if name.startswith("ledger")],
    }
    rows += [[title, *(f"**{_per_run(storm, some)}**" for storm in storms)] for title, some in told.items()]
    rows += [[f"{name}, apart", *(_per_run(storm, [name]) for storm in storms)] for name in APART]
    rows.append(["conflicts, in all", *(_counts(storm.conflicts) for storm in storms)])
    rows.append(["refused, in all", *(_counts(storm.refused) for storm in storms)])
    return table(["", *(storm.title for storm in storms)], rows)


def _per_run(storm: Storm, names: Iterable[str]) -> str:
    return f"{sum(storm.calls.get(name, 0) for name in names) / storm.admitted:.2f}"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "none"


def _deciding(deciding: Deciding) -> str:
    rows = []
    for timing in deciding.timings.values():
        found = timing.spread
        spread = [f"**{found.median:.1f}**", f"{found.least:.1f}–{found.most:.1f}", f"{found.quartiles:.1f}"]
        rows.append([timing.title, *spread, str(found.count)])
    text = (
        f"The pure part (`domain`) with {deciding.queued:,} requests in the queue, in microseconds for each; the"
        f" goal is {GOAL_MICROSECONDS} for the first line, which each event costs; the others come once or twice in a"
        f" request's life. CPU time, the garbage collector's included.\n\n- {_line(deciding.where)}"
    )
    return f"## Deciding\n\n{text}\n\n" + table(["", "median µs", "least–most", "IQR", "rounds"], rows)


def _told(storms: Iterable[Storm]) -> str:
    return "\n".join(f"- {storm.title}: {_line(storm.where)}" for storm in storms)


def _line(where: Circumstances) -> str:
    host = where.host
    machine = f"{host.processor}, {host.processors} processors, {host.memory_bytes / 1024**3:.0f} GiB"
    software = f"Linux {host.kernel}, Python {host.python}, Kubernetes {where.kubernetes}"
    return f"{where.at}, commit `{host.commit}`; {machine}, load average {where.busy} before it began; {software}"
