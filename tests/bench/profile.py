"""Where the client's time goes: `python -m tests.bench.profile` prints CPU seconds a million rows, by part, and what of
all the work nobody can leave out (`floors`).

Each export runs `--repeats` times; the run that took the least is shown. `clocks` tells how it is measured.
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence

from tests.bench import floors, machine, running, tables
from tests.bench.clocks import PARTS
from tests.bench.contestants import BY_NAME, Contestant, Place
from tests.bench.running import World
from tests.bench.spread import Sample
from tests.cluster import say
from tests.cluster.problem import Problem

EXPORTS = ("bare-csv-1", "shipped-csv", "bare-ndjson-1", "shipped-ndjson", "bare-parquet-1", "shipped-parquet")
WHAT: Mapping[str, str] = {
    "start": "start: libraries, connections, preflight",
    "read": "read: libpq, rows to blocks",
    "decode": "decode: columns of blocks",
    "encode": "encode: blocks to the format",
    "hash": "hash: SHA-256 and CRC-32",
    "upload": "upload: TLS, HTTP; bare: a file in memory",
    "rest": "rest: main thread, polars loaded meanwhile, checkpoints, manifest",
}
Spent = tuple[float, float]
"""CPU seconds: of the program, and of the kernel for it."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.profile", description=__doc__)
    parser.add_argument("--rows", type=int, default=tables.SCALE, help="of users (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each (default: %(default)s)")
    options = parser.parse_args(arguments)
    try:
        with running.world_of(options.rows) as world:
            world.load((), options.rows)
            place = world.place(tables.TABLES["users"])
            print(f"{_head(world, options.rows)}\n")
            print(table({name: _least(world, place, BY_NAME[name], options.repeats) for name in EXPORTS}, options.rows))
            print(f"\n{floors.table(world.gauge, place, options.rows, options.repeats)}")
    except Problem as problem:
        say.line(f"{say.paint('31', 'error:')} {problem}")
        return 1
    return 0


def _head(world: World, rows: int) -> str:
    seen = machine.look(world.postgres)
    return (
        f"{rows:,} users, {seen.processor}, {seen.processors} processors, Linux {seen.kernel}, Python {seen.python},"
        f" commit `{seen.commit}`"
    )


def _least(world: World, place: Place, contestant: Contestant, repeats: int) -> tuple[Sample, dict[str, Spent]]:
    found = [_run(world, place, contestant) for _ in range(repeats)]
    return min(found, key=lambda each: each[0].client)


def _run(world: World, place: Place, contestant: Contestant) -> tuple[Sample, dict[str, Spent]]:
    """Raises `Problem` when the export fails, or is not what its manifest says."""
    command = contestant.command(place)
    python, _module, *rest = command.arguments
    finished = world.gauge.run(dataclasses.replace(command, arguments=[python, "-m", "tests.bench.clocks", *rest]))
    said, _, last = finished.said.rstrip().rpartition("\n")
    try:
        if finished.code:
            raise ValueError(finished.complained[-300:])
        contestant.collect(place, said)
        return finished.sample, {part: (program, kernel) for part, (program, kernel) in json.loads(last).items()}
    except ValueError as error:
        raise Problem(f"{contestant.title}: {error}") from None
    finally:
        place.out.unlink(missing_ok=True)


def table(found: Mapping[str, tuple[Sample, Mapping[str, Spent]]], rows: int) -> str:
    """For people, in Markdown. In brackets what the kernel spent of it."""
    million = rows / 1e6
    titles = [BY_NAME[name].title for name in found]
    lines = [["CPU seconds a million rows", *titles], ["---"] * (1 + len(titles))]
    for part in PARTS:
        lines.append([WHAT[part], *(_cell(part, *spent[part], million) for _, spent in found.values())])
    samples = [sample for sample, _ in found.values()]
    for title, of in (("**the client**", "client"), ("PostgreSQL", "server"), ("the S3 server", "s3")):
        lines.append([title, *(f"{getattr(sample, of) / million:.2f}" for sample in samples)])
    lines.append(["wall time, seconds", *(f"{sample.wall / million:.2f}" for sample in samples)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(part: str, program: float, kernel: float, million: float) -> str:
    whole = f"{(program + kernel) / million:.2f}"
    # Of a whole process and of its threads the kernel knows the sums exactly, but how they are split it estimates.
    return whole if part == "rest" else f"{whole} ({kernel / million:.2f})"


if __name__ == "__main__":
    sys.exit(main())
