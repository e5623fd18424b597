"""The page that people read: every figure comes from the results."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tests.bench.markdown import table
from tests.load import scale
from tests.load.audit import APART, by_time
from tests.load.results import Deciding, Results, Storm

MIB = 1024 * 1024
GOAL_CALLS, GOAL_LEDGER = 10, 2
GOAL_MICROSECONDS = 50

HEAD = """\
<!-- Written by `make load`. Do not edit: the next run writes it anew. -->
# Load

    make load                                  # all of it: stream and population take half an hour each
    make load SUITES=burst,decide              # some of it; the rest stays as it was
    make load USERS=60 SIZES=100,1000 MINUTES=3    # a first look
    python -m tests.load --help

Many people ask at one moment. The operator runs as its image does, with its own service account, against a real API
server and etcd, whose audit log tells every call. **No container runs**: nodes are simulated. Job controller, scheduler
and garbage collector are Kubernetes' own, and [kwok](https://kwok.sigs.k8s.io) plays the kubelets: a pod runs for a
while and ends with the message that the exporter leaves. Where a scenario has no nodes, a stand-in for all of these
ends each Job by writes of status.
Source and destination answer probes and nothing else. All of them share this machine's processors, so times say how
they fare together. Every figure: `load.json` beside this page. What follows for requests and limits of the operator:
[capacity](../operations/capacity.md).

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
those for refused requests are among them. Progress is counted apart: the ends of logs that are read, and updates of
status that tell those who wait of their new place, or of what they wait for now. What goes with time and not with runs
is the Lease, lists, watches and probes: the slower the machine, the more of it for each run.\
"""


def render(results: Results, plot: str = "") -> str:
    """The whole document; `plot` is a file beside it."""
    storms = list(results.storms.values())
    parts = [HEAD, *(_storms(storms) if storms else ())]
    if plot:
        parts.append(f"![Cost against the number of requests, and over time]({plot})")
    if found := results.populations:
        parts.append(scale.populations(found, scale.line(found.where)))
    if stream := results.stream:
        parts.append(scale.stream(stream, scale.line(stream.where)))
    if crowd := results.crowd:
        parts.append(scale.crowd(crowd, scale.line(crowd.where)))
    if results.deciding:
        parts.append(_deciding(results.deciding))
    return "\n\n".join(parts) + "\n"


def _storms(storms: Sequence[Storm]) -> list[str]:
    heading = [
        "",
        "nodes",
        "requests",
        "people",
        "admitted",
        "decided s",
        "settled s",
        "admissions/s",
        "live",
        "CPU ms",
    ]
    rows = [
        [
            storm.title,
            f"{storm.nodes or 'none'}",
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
    of_runs = [name for name in names if not by_time(name)]
    told = {
        f"**all told** (goal: at most {GOAL_CALLS})": names,
        "**of these, not with time**": of_runs,
        f"**of these, ledger** (goal: at most {GOAL_LEDGER})": [name for name in names if name.startswith("ledger")],
    }
    rows += [[title, *(f"**{_per_run(storm, some)}**" for storm in storms)] for title, some in told.items()]
    rows.append(["all told, for each request", *(f"{_made(storm, names) / storm.requests:.2f}" for storm in storms)])
    rows += [
        [f"{name}, apart", *(_per_run(storm, [name]) if name in storm.calls else "" for storm in storms)]
        for name in APART
    ]
    rows.append(["conflicts, in all", *(_counts(storm.conflicts) for storm in storms)])
    rows.append(["refused, in all", *(_counts(storm.refused) for storm in storms)])
    return table(["", *(storm.title for storm in storms)], rows)


def _per_run(storm: Storm, names: Iterable[str]) -> str:
    return f"{_made(storm, names) / storm.admitted:.2f}"


def _made(storm: Storm, names: Iterable[str]) -> int:
    return sum(storm.calls.get(name, 0) for name in names)


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
        f" goal is {GOAL_MICROSECONDS} for all of a decision. CPU time, that of the garbage collector included, which"
        f" is set as in the operator.\n\n- {scale.line(deciding.where)}"
    )
    return f"## Deciding\n\n{text}\n\n" + table(["", "median µs", "least–most", "IQR", "rounds"], rows)


def _told(storms: Iterable[Storm]) -> str:
    return "\n".join(f"- {storm.title}: {scale.line(storm.where)}" for storm in storms)
