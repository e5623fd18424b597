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
from tests.load import decide, judging, markdown, results, scenario
from tests.load.plane import plane
from tests.load.scenario import Scenario

OUT = REPOSITORY / "docs" / "benchmarks"
SCENARIOS = (
    Scenario(name="quiet", title="one after the other", users=60, each=5, limit=5, backlog=False),
    Scenario(name="burst", title="all at one moment"),
    Scenario(name="refused", title="half over their quota", limit=5, backlog=False),
    Scenario(name="two", title="two operators at once", operators=2, usurp=True),
    Scenario(name="killed", title="killed three times", kills=3),
)
DECIDE = "decide"
SUITES = (*(each.name for each in SCENARIOS), DECIDE)

DESCRIPTION = """\
Puts load on the operator, judges what came of it, and reports what it took: docs/benchmarks/load.md and load.json.

It starts an API server and etcd of its own and no kubelet: a stand-in ends the Jobs. The exit code is 1 when something
that must hold does not hold; times and numbers of calls are reported and never judged.
"""
EPILOG = """\
suites:
  quiet     few requests, one a person at a time: what a run costs by itself
  burst     10 requests each, all there when the operator starts
  refused   10 requests each at a quota of 5, while the operator runs
  two       burst, with two operators that both believe they are alone
  killed    burst, with the operator killed three times
  decide    the decisions alone, without a server, with 10,000 requests in the queue
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
                sound &= _storm(replace(each, users=options.users or each.users), found, options.profile)
                found.write(file)
        if DECIDE in options.suites:
            found.deciding = decide.measure()
            found.write(file)
        page = file.with_suffix(".md")
        page.write_text(markdown.render(found), encoding="utf-8")
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
    for fault in faults:
        say.line(f"{say.paint('31', '✗')} {each.name}: {fault}")
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
    parser.add_argument("--users", type=int, default=users, help="how many people (USERS; default: 300, quiet 60)")
    parser.add_argument("--profile", type=Path, help="where cProfile shall write what the operator spent its time on")
    return parser


def _suites(text: str) -> list[str]:
    named = [each.strip() for each in text.split(",") if each.strip()]
    if unknown := sorted(set(named) - set(SUITES)):
        raise argparse.ArgumentTypeError(f"no suite {unknown[0]!r}; there are {', '.join(SUITES)}")
    return named


if __name__ == "__main__":
    sys.exit(main())
