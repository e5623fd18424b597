"""The parts of the page that tell what grows with what: populations, the stream, the crowd."""

from __future__ import annotations

from collections.abc import Sequence

from tests.bench.markdown import table
from tests.load.audit import APART, by_time
from tests.load.population import Cost
from tests.load.results import Circumstances, Crowd, Populations, Stream
from tests.load.stream import Sample

MIB = 1024 * 1024
GOAL_RATIO = 2
GOAL_MEDIAN, GOAL_WORST, GOAL_READS = 0.3, 1.5, 0.2


def populations(found: Populations, line: str) -> str:
    rows = []
    for level in found.levels:
        for who, cost in (("export-operator", level.ours), ("bare kopf", level.bare)):
            ours = cost is level.ours
            rows.append(
                [
                    f"{level.requests:,}" if ours else "",
                    who,
                    f"**{cost.start:.1f}**",
                    f"{cost.handover:.1f}" if ours else "",
                    f"{cost.failover:.1f}" if ours else "",
                    f"{cost.start_cpu:.1f}",
                    f"{cost.memory / MIB:.0f}",
                    f"{cost.idle_cpu * 100:.1f}",
                    f"{cost.event_cpu * 1000:.1f}",
                    f"{cost.decision_cpu * 1000:.0f}" if ours else "",
                    f"{sum(cost.start_calls.values()):,}" if ours else "",
                    f"{sum(cost.event_calls.values()) / (level.events + level.newcomers):.1f}" if ours else "",
                ]
            )
        rows.append(["", "ratio", *_ratios(level.ours, level.bare)])
    heading = [
        *("requests", "", "start s", "hand-over s", "failover s", "CPU of a start s", "peak MiB", "idle CPU %"),
        *("CPU of an event ms", "CPU of a new one ms", "calls of a start", "calls an event"),
    ]
    events, newcomers = max(each.events for each in found.levels), found.levels[0].newcomers
    return f"""\
## By how many requests exist

One in ten waits for a slot, the others have ended and have their Jobs and pods still. *Start*: from the process's start
until a request that came right before it has its first word in status; of the bare kopf operator (`on.event`, one
handler that keeps the document: `tests/load/bare.py`), until it has seen it. *Hand-over*: the same from the leader's
SIGTERM, *failover* from its SIGKILL, with a replica that stands by and has listed everything; 15 s of a failover are
the Lease's. *Idle*: for {found.idle_seconds:g} s, of one processor; once a minute
everything is listed. *An event* is a change of a request that has ended, out of {events} or fewer; *a new one* is a
request until it is told that it waits, out of {newcomers} at once.
CPU of events is less that of as long an idle time. The goal: start and hand-over at most {GOAL_RATIO} times the bare
operator's start, and an event that costs the same however many requests exist.

- {line}

{table(heading, rows)}"""


def _ratios(ours: Cost, bare: Cost) -> list[str]:
    def ratio(one: float, other: float) -> str:
        return f"{one / other:.1f}" if other else ""

    return [
        ratio(ours.start, bare.start),
        ratio(ours.handover, bare.start),
        "",
        ratio(ours.start_cpu, bare.start_cpu),
        ratio(ours.memory, bare.memory),
        ratio(ours.idle_cpu, bare.idle_cpu),
        ratio(ours.event_cpu, bare.event_cpu),
        *("", "", ""),
    ]


def stream(found: Stream, line: str) -> str:
    flow = found.flow
    third = max(len(flow.samples) // 3, 1)
    thirds = {
        "first third": flow.samples[:third],
        "second": flow.samples[third:-third],
        "last": flow.samples[-third:],
    }
    rows = [_third(title, samples) for title, samples in thirds.items() if samples]
    whole = ["whole", f"**{flow.median * 1000:.0f}**", f"**{flow.worst_percent * 1000:.0f}**"]
    rows.append([*whole, f"{flow.peak_memory / MIB:.0f} at most", "", ""])
    made = {name: count / max(flow.started, 1) for name, count in flow.calls.items() if name not in APART}
    calls, ledger = sum(made.values()), sum(count for name, count in made.items() if name.startswith("ledger"))
    timed = sum(count for name, count in made.items() if by_time(name))
    reads = sum(flow.calls.get(name, 0) for name in APART) / max(flow.running_seconds, 1)
    heading = ["", "p50 ms", "p99 ms", "memory MiB", "CPU s a minute", "requests that exist"]
    return f"""\
## A steady stream

{flow.per_minute:g} requests a minute, at random moments, for {len(flow.samples)} minutes; each runs for some 20 s,
its Job goes a minute later and the request itself two minutes after its end. Latency is from sending the apply to
hearing of the Job. Goals: p50 at most {GOAL_MEDIAN * 1000:g} ms, p99 at most {GOAL_WORST * 1000:g} ms, and the last
third as the first. Kubelets that are played have no logs: reads of progress are answered by a refusal. Ten minutes
after its start the operator sweeps for the first time, for which it loads a client of S3: 20 MiB, once. Each of the
{flow.people} people comes to {flow.applied / flow.people:.0f} runs in the ledger and as many tombstones, from none:
their page of it grows, and with it what a write of the page takes the API server, up to a bound (ADR 0010).

- {line}

{table(heading, rows)}

Calls a run: **{calls - timed:.2f}**, progress apart, and of these to the ledger **{ledger:.2f}** (a storm's goals: at
most 10 and 2; who asks alone shares no write of the ledger with others). What goes with time and not with runs (the
Lease, lists, watches, probes) comes to {timed:.2f} more a run.
Reads of progress: **{reads:.3f}** a second and running pod (goal: at most {GOAL_READS})."""


def _third(title: str, samples: Sequence[Sample]) -> list[str]:
    """Means of minutes."""

    def mean(values: Sequence[float]) -> float:
        return sum(values) / len(values)

    return [
        title,
        f"{mean([each.median for each in samples]) * 1000:.0f}",
        f"{mean([each.worst_percent for each in samples]) * 1000:.0f}",
        f"{mean([each.memory for each in samples]) / MIB:.0f}",
        f"{mean([each.cpu for each in samples]):.1f}",
        f"{mean([each.present for each in samples]):.0f}",
    ]


def crowd(found: Crowd, line: str) -> str:
    fair = found.fairness
    rows = [
        [
            name,
            *(f"{each.median * 1000:.0f}" for each in (fair.quiet[name], waits)),
            *(f"{each.worst_percent * 1000:.0f}" for each in (fair.quiet[name], waits)),
            f"{waits.longest * 1000:.0f}",
            f"{waits.refused} of {waits.asked}",
        ]
        for name, waits in fair.flood.items()
    ]
    told = fair.renewals
    rows.append(
        [
            "the operator renews its Lease (by the audit log)",
            *("", f"{told.median * 1000:.0f}", "", f"{told.worst_percent * 1000:.0f}", f"{told.longest * 1000:.0f}"),
            f"{told.refused} of {told.asked}",
        ]
    )
    heading = ["who asks", "p50 ms quiet", "flood", "p99 ms quiet", "flood", "longest ms", "refused"]
    flows = [[name, f"{dispatched:,}", f"{rejected:,}"] for name, (dispatched, rejected) in fair.flows.items()]
    leaders = "one leader throughout" if fair.leaders == 1 else f"{fair.leaders} leaders"
    return f"""\
## Beside others

{fair.requests:,} requests of {fair.people} people on an API server with places for {fair.reads} reads and
{fair.writes} writes at once, a tenth of what is usual. Meanwhile others ask five times a second each. The operator's
calls go with those of other workloads (`workload-low`); its Lease goes with those of the cluster's controllers, by the
FlowSchema that is installed with it. The flood took {fair.flood_seconds:.0f} s until the last Job was gone, with
{leaders}.

- {line}

{table(heading, rows)}

What the API server dispatched and rejected, by flow schema and priority level:

{table(["flow", "dispatched", "rejected"], flows)}"""


def line(where: Circumstances) -> str:
    """When and where it was measured."""
    host = where.host
    machine = f"{host.processor}, {host.processors} processors, {host.memory_bytes / 1024**3:.0f} GiB"
    software = f"Linux {host.kernel}, Python {host.python}, Kubernetes {where.kubernetes}"
    return f"{where.at}, commit `{host.commit}`; {machine}, load average {where.busy} before it began; {software}"
