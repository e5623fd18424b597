"""What is run on which table, how often, and in which order."""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from tests.bench.contestants import CONTESTANTS, REFERENCE, Contestant, chosen


@dataclass(frozen=True, slots=True)
class Suite:
    """`pinned`: the server on processor 0, the client on processor 1."""

    name: str
    title: str
    table: str
    names: tuple[str, ...]
    pinned: bool = False


_SMALL_ONLY = frozenset({"adbc-parquet", "connectorx-parquet"})
"""No goal is about them, and they take long on the whole of users."""
_MOST = tuple(each.name for each in CONTESTANTS if each.name not in _SMALL_ONLY)
_SHAPES = (REFERENCE, "bare-csv-1", "bare-ndjson-1", "bare-parquet-1", "bare-csv-2", "duckdb-csv-1", "duckdb-parquet-1")

SUITES: tuple[Suite, ...] = (
    Suite("users", "Users", "users", _MOST),
    Suite(
        "small",
        "A fifth of the users: what changes with the number of rows",
        "users_small",
        (
            *(REFERENCE, "bare-csv-1", "bare-ndjson-1", "bare-json-1", "bare-parquet-1", "bare-parquet-32m"),
            *("shipped-csv", "shipped-ndjson", "shipped-json", "shipped-parquet"),
            *sorted(_SMALL_ONLY),
        ),
    ),
    Suite(
        "shuffled",
        "A fifth of the users, shuffled on disk: what reading by key costs",
        "users_shuffled",
        (*_SHAPES, "ordered-csv", "checkpoint-csv", "shipped-csv"),
    ),
    Suite("narrow", "Four integers", "narrow", (*_SHAPES, "adbc-csv", "connectorx-csv", "cursor-csv")),
    Suite("wide", "120 columns", "wide", (*_SHAPES, "adbc-csv", "connectorx-csv", "cursor-csv")),
    Suite("values", "Values of 1 MiB", "large_values", (*_SHAPES, "adbc-csv", "connectorx-csv", "cursor-csv")),
    Suite("pinned", "Server on processor 0, client on processor 1", "users_small", _SHAPES, pinned=True),
)
MAIN = SUITES[0].name
"""The one that the goals are about."""


def select(suites: Iterable[str], patterns: Sequence[str], *, peers: bool) -> dict[Suite, list[Contestant]]:
    """The suites of these names (all, if there are none), each with its contestants. Without `peers` those that need
    their environment are left out."""
    wanted = set(suites)
    picked = {}
    for suite in SUITES:
        if not wanted or suite.name in wanted:
            found = chosen(patterns, suite.names)
            picked[suite] = [each for each in found if peers or not each.needs_peers]
    return picked


def rounds(contestants: Sequence[Contestant], repeats: int, seed: int) -> Iterator[list[Contestant]]:
    """Each round has each contestant as often as it is to be, in an order of its own; the same for the same seed."""
    order = random.Random(seed)
    runs = [each for each in contestants for _ in range(each.a_round)]
    for _ in range(repeats):
        yield order.sample(runs, len(runs))
