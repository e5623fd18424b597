"""The command line: `make bench`, or `python -m tests.bench`."""

import argparse
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.bench.contestants import CONTESTANTS
from tests.bench.suites import SUITES
from tests.bench.tables import SCALE
from tests.cluster import say
from tests.cluster.paths import REPOSITORY
from tests.cluster.problem import Problem

RESULTS = REPOSITORY / "docs" / "benchmarks"

DESCRIPTION = """\
Measures the exporter beside psql, DuckDB, ADBC, connectorx and a plain cursor, all on this machine and in the same
run, and writes docs/benchmarks/results.md, results.json and results.svg with every goal beside its figure.

It starts a PostgreSQL and an S3 server of its own, makes the tables, tries each contestant once, says how long all of
it will take, and then runs round after round in random order. Each output is read by another program and compared with
the table. A run beside foreign load is void and made again: leave the machine alone meanwhile.
"""
EXAMPLES = """\
Examples:
  make bench                                                   everything: two to three hours
  make bench ROWS=200000 REPEATS=3 LOAD=any OUT=/tmp/bench     a first look; its figures say little
  make bench SUITES=users                                      what the goals are about, without other tables
  make bench SUITES=narrow,wide ONLY='bare-*,duckdb-*'         patterns of names; psql is always there
  python -m tests.bench list                                   suites and contestants
  python -m tests.bench report                                 write results.md and the plot anew from results.json

ROWS, REPEATS, SUITES (or TABLES), ONLY, LOAD and OUT are also options: --rows, --repeats …
"""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        if options.command == "list":
            return _list()
        return _report(options.out) if options.command == "report" else _run(options)
    except Problem as problem:
        say.line(f"{say.paint('31', 'error:')} {problem}")
        return 1
    except KeyboardInterrupt:
        say.line("\ninterrupted; suites that had ended are in results.json (python -m tests.bench report)")
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    known = ", ".join(suite.name for suite in SUITES)
    add = parser.add_argument
    add("command", nargs="?", choices=("run", "list", "report"), default="run", help="default: run")
    add(
        "--rows",
        type=_count,
        default=_variable("ROWS", str(SCALE)),
        help="of users; others follow (default: %(default)s)",
    )
    add("--repeats", type=_count, default=_variable("REPEATS", "5"), help="rounds (default: %(default)s)")
    suites = _variable("SUITES", _variable("TABLES", ""))
    add("--suites", type=_suites, default=suites, help=f"comma-separated, of: {known} (default: all)")
    add("--only", type=_list_of, default=_variable("ONLY", "*"), help="comma-separated patterns of contestants")
    add(
        "--load",
        choices=("void", "any"),
        default=_variable("LOAD", "void"),
        help="runs beside foreign load (default: void)",
    )
    add("--out", type=Path, default=_variable("OUT", str(RESULTS)), help="directory (default: docs/benchmarks)")
    add("--without-peers", action="store_true", help="only psql and the exporter: installs nothing")
    return parser


def _variable(name: str, default: str) -> str:
    return os.environ.get(name) or default


def _count(text: str) -> int:
    number = text.replace("_", "").replace(",", "")
    if not number.isdecimal() or int(number) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least 1")
    return int(number)


def _list_of(text: str) -> list[str]:
    return [each.strip() for each in text.split(",") if each.strip()]


def _suites(text: str) -> list[str]:
    named, known = _list_of(text), {suite.name for suite in SUITES}
    if unknown := sorted(set(named) - known):
        raise argparse.ArgumentTypeError(f"no suite {unknown[0]!r}; there are {', '.join(sorted(known))}")
    return named


def _run(options: argparse.Namespace) -> int:
    from tests.bench import running

    how = running.Options(
        scale=options.rows,
        repeats=options.repeats,
        only=options.only,
        suites=options.suites,
        allow_load=options.load == "any",
        with_peers=not options.without_peers,
    )
    options.out.mkdir(parents=True, exist_ok=True)
    for found in running.run(how):
        # After each suite, so that what was measured is not lost when something goes wrong later.
        (options.out / "results.json").write_text(found.to_json(), encoding="utf-8")
    return _report(options.out)


def _report(directory: Path) -> int:
    """0 also where goals are missed: the report says so."""
    from tests.bench import goals, markdown, results, writing

    source = directory / "results.json"
    if not source.exists():
        raise Problem(f"{source} is not there: run the benchmark first (make bench)")
    found = results.read(source)
    for path in writing.write(found, source):
        say.line(f"{say.paint('32', '✓')} {path}")
    say.line(f"goals: {markdown.summary(goals.goals(found))}")
    return 0


def _list() -> int:
    width = shutil.get_terminal_size().columns
    for suite in SUITES:
        print(f"{suite.name:<10} {suite.title}")
    print()
    for each in CONTESTANTS:
        print(f"{each.name:<20} {each.title}"[:width])
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # gigabytes of output are removed then, too
    sys.exit(main())
