"""What a platform team should give the operator for how many requests: follows from the populations that were measured,
and is written into the page on capacity."""

from __future__ import annotations

import math
from pathlib import Path

from tests.bench.markdown import table
from tests.load.population import Level
from tests.load.results import Populations

MIB = 1024 * 1024
BEGIN, END = "<!-- Written by `make load SUITES=population`: -->", "<!-- end -->"
STEP = 32
"""MiB that memory is rounded up to."""
SPARE = 2
"""The limit is so many times what was seen at most: a longer status, more namespaces, another version of Python."""
LEAST_MEMORY, LEAST_CPU = 128, 50
RATE = 100
"""New requests a minute that the CPU shall be enough for."""
RUN_DECISIONS = 5
"""A run is looked at for so many times the CPU of its first decision: start, progress, end and clean-up follow."""


def memory_request(level: Level) -> int:
    """MiB: what was seen at most."""
    return max(math.ceil(level.ours.memory / MIB / STEP) * STEP, LEAST_MEMORY)


def memory_limit(level: Level) -> int:
    """MiB."""
    return memory_request(level) * SPARE


def cpu_request(level: Level) -> int:
    """Thousandths of a processor: idling, and `RATE` new requests a minute."""
    used = level.ours.idle_cpu + RATE / 60 * level.ours.decision_cpu * RUN_DECISIONS
    return max(math.ceil(used * 20) * 50, LEAST_CPU)


def render(found: Populations) -> str:
    """The table, and where it comes from."""
    rows = [
        [
            f"{level.requests:,}",
            f"{level.ours.memory / MIB:.0f}",
            f"{level.ours.start:.1f}",
            f"{level.ours.idle_cpu * 100:.1f}",
            f"`{memory_request(level)}Mi`",
            f"`{memory_limit(level)}Mi`",
            f"`{cpu_request(level)}m`",
        ]
        for level in found.levels
    ]
    heading = [
        *("requests that exist", "peak MiB", "start s", "idle CPU %"),
        *("`requests.memory`", "`limits.memory`", "`requests.cpu`"),
    ]
    host = found.where.host
    where = (
        f"{found.where.at}, commit `{host.commit}`, {host.processors} processors, Kubernetes {found.where.kubernetes}"
    )
    return f"{table(heading, rows)}\n\n{where}, load average {found.where.busy} before it began."


def update(page: Path, found: Populations) -> None:
    """Put it between the marks of the page. Raises ValueError when they are not there."""
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"{page} has no {BEGIN} … {END}")
    page.write_text(f"{before}{BEGIN}\n\n{render(found)}\n\n{END}{after}", encoding="utf-8")
