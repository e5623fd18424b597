"""What a page of the ledger costs, in time and bytes: `python -m tests.bench.ledger`. Nothing outside is asked."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from export_operator.domain.identity import Subject
from export_operator.domain.model import Key
from export_operator.domain.pages import Entry, Page, State, compact
from export_operator.domain.quota import Demand, WindowLimit, reserve
from export_operator.domain.usage import parse_usage, render_usage
from export_operator.domain.windows import Sliding

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
ALICE = Subject("User", "alice@example.com")
LIMIT = WindowLimit(ALICE, "User", Sliding(timedelta(days=1)), "default", 10**6, 10**15, 10**15)
REPEATS = 200


def entry(number: int, moment: datetime) -> Entry:
    return Entry(
        run=f"{number:020x}",
        request=Key("team-a", f"users-2026-{number}"),
        uid="0b5e9f5c-6c1d-4f0e-9a59-5d2f3c1b7a10",
        time=moment,
        user=ALICE.name,
        source="app-db",
        destination="exports-bucket",
        policy="default",
        state=State.SETTLED,
        rows=100_000,
        bytes=2_500_000,
    )


def page(runs: int) -> Page:
    """So many runs, spread over the day before `NOW`."""
    found, step = Page(), timedelta(days=1) / (runs + 1)
    for first in range(0, runs, 200):
        new = tuple(entry(number, NOW - (runs - number) * step) for number in range(first, min(runs, first + 200)))
        folded = compact(Page((*found.entries, *new), found.folded), new[-1].time)
        assert folded is not None
        found = folded
    return found


def microseconds(work: Callable[[], object]) -> tuple[float, float, float]:
    """Median, and the fifth and ninety-fifth percentile."""
    times = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        work()
        times.append((time.perf_counter() - begun) * 1e6)
    cuts = statistics.quantiles(times, n=20)
    return statistics.median(times), cuts[0], cuts[-1]


def main() -> None:
    asking = replace(entry(10**6, NOW), state=State.RESERVED)
    print("| runs in the window | one by one | sums | bytes | reserve µs (p5–p95) | parse µs (p5–p95) |")
    print("|---|---|---|---|---|---|")
    for runs in (5, 100, 1000, 10_000, 100_000):
        held = page(runs)
        text = json.dumps(render_usage("export-runs", ALICE, held), separators=(",", ":"))
        document = json.loads(text)
        document["metadata"]["resourceVersion"] = "1"
        costs = [
            microseconds(lambda held=held: reserve(held, asking, Demand(), LIMIT, NOW)),  # type: ignore[misc]
            microseconds(lambda document=document: parse_usage(document)),  # type: ignore[misc]
        ]
        told = " | ".join(f"{median:.0f} ({low:.0f}–{high:.0f})" for median, low, high in costs)
        print(f"| {runs:,} | {len(held.entries)} | {len(held.folded)} | {len(text):,} | {told} |")


if __name__ == "__main__":
    main()
