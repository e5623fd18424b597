"""What a storm is made of: blows, drawn by chance from a seed, and the weather that they fall from."""

import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Literal, get_args

from export_contract.runspec import Compression, Format, Layout
from tests.integration.exporter.runner import PATIENCE, Exporter, Running
from tests.services.proxies import Corrupter, Link, Stream

SIZE = 16_000_000
PACE = 8_000
"""kB/s from PostgreSQL and to S3: two seconds for all of it, so that faults find something to strike."""
Way = Literal["from PostgreSQL", "to S3"]
FORMS: tuple[tuple[Format, Compression], ...] = (
    ("CSV", "None"),
    ("NDJSON", "Zstd"),
    ("JSON", "Gzip"),
    ("CSV", "Gzip"),
    ("Parquet", "Zstd"),
    ("Parquet", "None"),
    ("ArrowStream", "None"),
)
Spared = Literal["", "bucket", "database"]


@dataclass(frozen=True)
class Blow:
    """What strikes, once so large a share of the bytes went its way: from PostgreSQL, or to S3. It is mended after
    `seconds`."""

    name: str
    way: Way
    share: float
    seconds: float

    def __str__(self) -> str:
        return f"{self.name} at {self.share:.0%} {self.way} for {self.seconds:.1f} s"


@dataclass(frozen=True)
class Round:
    """`blows` of each attempt but the last; `kept`: is a checkpoint asked for, and so the order of the key? `fallback`
    is where the rows may go instead; "" for nowhere."""

    form: tuple[Format, Compression]
    layout: Layout
    kept: bool
    fallback: Spared
    blows: tuple[tuple[Blow, ...], ...]

    def __str__(self) -> str:
        struck = "; then ".join(", ".join(map(str, each)) for each in self.blows)
        kept = ", with a checkpoint" if self.kept else ""
        fallback = f", with a {self.fallback} to fall back to" if self.fallback else ""
        return f"{'/'.join(self.form)} as {self.layout}{kept}{fallback}: {struck}"


@dataclass
class Weather:
    """All that a blow may break. The ways that bytes take are counted by the corrupters on them."""

    exporter: Exporter
    dice: Random
    to_postgres: Link
    to_s3: Link
    rows: Corrupter
    parts: Corrupter
    answers: Corrupter

    def gone(self, way: Way) -> int:
        """Bytes that went this way until now."""
        return self.rows.passed if way == "from PostgreSQL" else self.parts.passed

    def calm(self) -> None:
        """Everything is as it should be."""
        for server in (self.exporter.postgres, self.exporter.s3):
            if not server.running:
                server.start()
        self.to_postgres.heal()
        self.to_s3.heal()


Strike = Callable[[Weather, Running], None]


def _toxic(where: str, kind: str, stream: Stream = "downstream", **attributes: int) -> Strike:
    def strike(weather: Weather, _running: Running) -> None:
        link = weather.to_postgres if where == "postgresql" else weather.to_s3
        link.add(kind, stream, **attributes)

    return strike


def _flip(way: str) -> Strike:
    def strike(weather: Weather, _running: Running) -> None:
        found: Corrupter = getattr(weather, way)
        found.flip(weather.dice.random())

    return strike


def _signal(number: signal.Signals) -> Strike:
    return lambda _weather, running: running.signal(number)


BLOWS: Mapping[str, Strike] = {
    "postgresql-reset": _toxic("postgresql", "reset_peer", timeout=0),
    "postgresql-stalled": _toxic("postgresql", "timeout", timeout=0),
    "postgresql-slow": _toxic("postgresql", "latency", latency=300, jitter=300),
    "postgresql-half-way": _toxic("postgresql", "limit_data", bytes=300_000),
    "postgresql-cut": lambda weather, _running: weather.to_postgres.cut(),
    "postgresql-killed": lambda weather, _running: weather.exporter.postgres.kill(),
    "postgresql-flipped": _flip("rows"),
    "backend-terminated": lambda weather, _running: _terminate(weather),
    "s3-reset": _toxic("s3", "reset_peer", timeout=0),
    "s3-stalled": _toxic("s3", "timeout", "upstream", timeout=0),
    "s3-mute": _toxic("s3", "timeout", timeout=0),
    "s3-slow": _toxic("s3", "latency", latency=300, jitter=300),
    "s3-half-way": _toxic("s3", "limit_data", "upstream", bytes=300_000),
    "s3-half-an-answer": _toxic("s3", "limit_data", bytes=200),
    "s3-cut": lambda weather, _running: weather.to_s3.cut(),
    "s3-killed": lambda weather, _running: weather.exporter.s3.kill(),
    "s3-flipped": _flip("parts"),
    "s3-answer-flipped": _flip("answers"),
    "exporter-killed": _signal(signal.SIGKILL),
    "exporter-stopped": _signal(signal.SIGTERM),
    "exporter-asleep": _signal(signal.SIGSTOP),
}
UNHEARD = frozenset(name for name in BLOWS if name.startswith(("s3-", "exporter-killed", "exporter-asleep")))
"""After these, S3 may not have heard that an upload is to be aborted."""


def draw(seed: str, number: int) -> Round:
    """Round `number` of a seed: the same for ever."""
    dice = Random(f"{seed}/{number}")
    attempts = range(dice.choice((1, 1, 1, 2, 2, 3)))
    return Round(
        form=dice.choice(FORMS),
        layout=dice.choice(("SingleObject", "PartObjects")),
        kept=dice.random() < 0.5,
        fallback=dice.choice(("", "", "bucket", "database")),
        blows=tuple(tuple(_blow(dice) for _ in range(dice.choice((1, 1, 2)))) for _ in attempts),
    )


def _blow(dice: Random) -> Blow:
    name = dice.choice(sorted(BLOWS))
    way = dice.choice(get_args(Way))
    # From before the first byte to about the last, so that preparation and commit are struck as well; for a moment, or
    # for longer than the retries take.
    share, seconds = dice.uniform(-0.05, 1.01), dice.choice((0.2, 2, 9, 15)) * dice.uniform(0.5, 1)
    return Blow(name, way, round(share, 2), round(seconds, 1))


def _terminate(weather: Weather) -> None:
    with suppress(Exception):  # a server that starts up has no backend
        weather.exporter.postgres.psql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'export-runner'"
        )


def strike_all(weather: Weather, running: Running, blows: tuple[Blow, ...], sizes: Mapping[Way, int]) -> None:
    """Strikes one blow after the other, each when its bytes have passed, and mends what it broke; but not sleep."""
    begun = {way: weather.gone(way) for way in sizes}

    def due(blow: Blow) -> bool:
        return weather.gone(blow.way) - begun[blow.way] > blow.share * sizes[blow.way]

    for blow in sorted(blows, key=lambda each: each.share):
        if not _wait(running, PATIENCE, partial(due, blow)):
            return
        BLOWS[blow.name](weather, running)
        if blow.name == "exporter-asleep":
            return
        _wait(running, blow.seconds, lambda: False)
        weather.calm()


def _wait(running: Running, seconds: float, condition: Callable[[], bool]) -> bool:
    """Whether the condition comes true while the process lives and within so many seconds."""
    end = time.monotonic() + seconds
    while not condition():
        if running.process.poll() is not None or time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True
