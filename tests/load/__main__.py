"""The command line: `make load`, or `python -m tests.load`."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tests.cluster import say
from tests.cluster.paths import REPOSITORY
from tests.cluster.problem import Problem
from tests.load import capacity, decide, fairness, judging, markdown, plots, population, results, scenario, stream
from tests.load.plane import plane
from tests.load.scenario import Scenario

OUT = REPOSITORY / "docs" / "benchmarks"
CAPACITY = REPOSITORY / "docs" / "operations" / "capacity.md"
SCENARIOS = (
    Scenario(name="quiet", title="one after the other", users=60, each=5, limit=5, backlog=False),
    Scenario(name="burst", title="all at one moment"),
    Scenario(name="refused", title="half over their quota", limit=5, backlog=False),
    Scenario(name="two", title="two operators at once", users=15, operators=2, usurp=True),
    Scenario(name="killed", title="killed three times", kills=3),
)
POPULATION, STREAM, FAIRNESS, DECIDE = "population", "stream", "fairness", "decide"
SUITES = (*(each.name for each in SCENARIOS), POPULATION, STREAM, FAIRNESS, DECIDE)
NODES = 5

DESCRIPTION = """\
Puts load on the operator, judges what came of it, and reports what it took: load.md, load.json and load.svg in
docs/benchmarks.

It starts a control plane of its own, whose nodes are simulated by kwok: no container runs. The exit code is 1 when
something that must hold does not hold; times and numbers of calls are reported and never judged.
"""
EPILOG = """\
suites:
  quiet       few requests, one a person at a time: what a run costs by itself
  burst       10 requests each, all there when the operator starts
  refused     10 requests each at a quota of 5, while the operator runs
  two         burst of few people, with two operators that both believe they are alone
  killed      burst, with the operator killed three times
  population  start, hand-over, failover and the cost of an event, by how many requests there are (SIZES)
  stream      requests at a steady rate (RATE a minute, for MINUTES): latency and memory over time
  fairness    a flood on an API server with few places: how long others wait for it
  decide      the decisions alone, without a server, with 10,000 requests in the queue
"""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    file: Path = options.out / "load.json"
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        found = results.read(file)
        sound = True
        for each in SCENARIOS:
            if each.name in options.suites:
                asked = replace(each, users=options.users or each.users, nodes=options.nodes)
                sound &= _storm(asked, found, options.profile)
                found.write(file)
        if POPULATION in options.suites:
            where = results.Circumstances.present()
            with plane() as fresh:
                fresh.install()
                levels = asyncio.run(population.measure(fresh, options.sizes, options.idle_seconds))
            found.populations = results.Populations(where, options.idle_seconds, levels)
            found.write(file)
        if STREAM in options.suites:
            where = results.Circumstances.present()
            with plane() as fresh:
                fresh.install()
                many, nodes = options.users or 300, options.nodes or NODES
                flow = asyncio.run(stream.measure(fresh, options.rate, options.minutes, many, nodes))
            found.stream = results.Stream(where, flow)
            found.write(file)
            sound &= _told(STREAM, judging.stream_faults(flow))
        if FAIRNESS in options.suites:
            where = results.Circumstances.present()
            with plane(*fairness.OPTIONS) as fresh:
                fresh.install()
                fair = asyncio.run(fairness.measure(fresh, options.users or 100))
            found.crowd = results.Crowd(where, fair)
            found.write(file)
            sound &= _told(FAIRNESS, judging.fairness_faults(fair))
        if DECIDE in options.suites:
            found.deciding = decide.measure()
            found.write(file)
        if found.populations is not None and options.out.resolve() == OUT.resolve():
            capacity.update(CAPACITY, found.populations)
        page = file.with_suffix(".md")
        drawn = plots.draw(file, file.with_suffix(".svg"), found)
        page.write_text(markdown.render(found, file.with_suffix(".svg").name if drawn else ""), encoding="utf-8")
    except Problem as problem:
        say.line(f"{say.paint('31', 'error:')} {problem}")
        return 1
    say.line(f"{say.paint('32', '✓')} {page}")
    return 0 if sound else 1


def _storm(each: Scenario, found: results.Results, profile: Path | None) -> bool:
    where = results.Circumstances.present()
    with plane() as fresh:
        fresh.install()
        seen = asyncio.run(scenario.play(each, fresh, profile))
    faults = judging.faults(each, seen)
    found.storms[each.name] = results.storm(each, where, seen, faults)
    return _told(each.name, faults)


def _told(suite: str, faults: Sequence[str]) -> bool:
    """There are none; else they are said."""
    for fault in faults:
        say.line(f"{say.paint('31', '✗')} {suite}: {fault}")
    return not faults


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.load",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    suites = os.environ.get("SUITES") or ",".join(SUITES)
    parser.add_argument("--suites", type=_suites, default=suites, help="comma-separated (SUITES; default: all)")
    out = os.environ.get("OUT") or str(OUT)
    parser.add_argument("--out", type=Path, default=out, help="directory (OUT; default: docs/benchmarks)")
    users = os.environ.get("USERS") or 0
    parser.add_argument(
        "--users", type=int, default=users, help="how many people (USERS; default: 300, quiet 60, two 15, fairness 100)"
    )
    nodes = os.environ.get("NODES") or NODES
    told = f"simulated nodes (NODES; default: {NODES}); 0: a lighter stand-in for kubelet and controllers"
    parser.add_argument("--nodes", type=int, default=nodes, help=told)
    sizes = os.environ.get("SIZES") or ",".join(map(str, population.SIZES))
    parser.add_argument("--sizes", type=_sizes, default=sizes, help=f"of populations (SIZES; default: {sizes})")
    idle = population.IDLE_SECONDS
    parser.add_argument("--idle-seconds", type=float, default=idle, help=f"without any event (default: {idle:g})")
    rate = os.environ.get("RATE") or 100
    parser.add_argument("--rate", type=float, default=rate, help="requests a minute of the stream (RATE; default: 100)")
    minutes = os.environ.get("MINUTES") or 30
    parser.add_argument("--minutes", type=float, default=minutes, help="of the stream (MINUTES; default: 30)")
    parser.add_argument("--profile", type=Path, help="where cProfile shall write what the operator spent its time on")
    return parser


def _sizes(text: str) -> list[int]:
    sizes = [int(each) for each in text.replace("_", "").split(",") if each.strip()]
    if not sizes or min(sizes) < 10:
        raise argparse.ArgumentTypeError("sizes of populations are whole numbers of at least 10")
    return sorted(set(sizes))


def _suites(text: str) -> list[str]:
    named = [each.strip() for each in text.split(",") if each.strip()]
    if unknown := sorted(set(named) - set(SUITES)):
        raise argparse.ArgumentTypeError(f"no suite {unknown[0]!r}; there are {', '.join(SUITES)}")
    return named


if __name__ == "__main__":
    sys.exit(main())
