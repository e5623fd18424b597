"""The benchmark itself: servers, tables, then suite by suite the rounds of all contestants."""

import os
import random
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from tests.bench import machine, mounted, peers, suites, tables, validate
from tests.bench.ballast import Ballast
from tests.bench.contestants import BY_NAME, CONTESTANTS, REFERENCE, Contestant, Place
from tests.bench.measure import Finished, Gauge, foreign_share
from tests.bench.results import Measured, Results, SuiteResults, TableFacts
from tests.bench.spread import Sample
from tests.bench.suites import Suite
from tests.cluster import say
from tests.cluster.problem import Problem
from tests.integration.exporter.runner import BUCKET, Exporter
from tests.services import host
from tests.services.processes import children
from tests.services.tls import Authority

FOREIGN_SHARE = 0.05
"""Of the machine's time: a run beside more is void."""
TRIES = 3
"""How often a run is made again when it was void."""
HELD_ROWS = 1_000_000
"""Of users: from so many on runs write gigabytes: memory is held for them, and is of large pages."""
PROBE_ROWS = 100_000
"""Of users: what the estimate is made from."""
COMPARED, HASHED, HELD = 150e6, 1.2e9, 0.25e9
"""Bytes of a table whose output is compared, hashed, and whose memory is held again in a second: for the estimate
alone."""
SLOW_SECONDS = 12.0
SLOW_REPEATS = 3
"""Where a run of a contestant that is `spare` takes longer than that, there are only so many."""
SERVER_CPU, CLIENT_CPU = 0, 1
S3_OPTIONS = ("--data-integrity-etag",)
"""It checks each part's CRC-32, as S3 does, and takes the ETag from that instead of from an MD5, which would be a
third of its work. S3 has processors of its own for it; this server shares two with what is measured."""


@dataclass(frozen=True, slots=True)
class Options:
    """`scale` is the number of rows of users; `only` are patterns of contestants' names, `suites` are names."""

    scale: int
    repeats: int
    only: Sequence[str]
    suites: Sequence[str]
    allow_load: bool
    with_peers: bool = True
    seed: int = 0


def run(options: Options) -> Iterator[Results]:
    """What was found so far, after each suite: the last is all of it. Raises `Problem`."""
    began = _now()
    seed = options.seed or random.SystemRandom().randrange(2**31)
    missing = {} if options.with_peers else {e.name: "peers are not installed" for e in CONTESTANTS if e.needs_peers}
    picked = suites.select(options.suites, options.only, peers=options.with_peers)
    if options.with_peers:
        peers.install()
    with world_of(options.scale) as world:
        _warn_of_load(options)
        world.load(picked, options.scale)
        world.estimate(picked, options)
        found: dict[str, SuiteResults] = {}
        for suite, who in picked.items():
            found[suite.name] = world.suite(suite, who, options, seed)
            yield Results(
                machine=machine.look(world.postgres),
                settings={**host.SETTINGS, **tables.SETTINGS},
                began=began,
                ended=_now(),
                scale=options.scale,
                repeats=options.repeats,
                seed=seed,
                file_system=world.file_system,
                load_allowed=options.allow_load,
                suites=dict(found),
                missing=missing,
                s3=" ".join(["chrt --batch 0 versitygw posix", *S3_OPTIONS]),
            )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _warn_of_load(options: Options) -> None:
    share = foreign_share()
    if share > FOREIGN_SHARE:
        text = f"{share:.0%} of this machine is busy with something else"
        say.warn(text + ("; runs are kept nevertheless" if options.allow_load else ": such runs are void"))


@contextmanager
def world_of(scale: int) -> Iterator["World"]:
    """Servers and a directory, roomy enough for so many rows of users."""
    with ExitStack() as stack:
        directory, file_system = stack.enter_context(_roomy(scale))
        postgres = stack.enter_context(host.postgres_server(settings=tables.SETTINGS))
        authority = Authority(directory)
        tls = authority.issue("s3", "IP:127.0.0.1")
        s3 = stack.enter_context(host.s3_server(directory / "s3", tls=tls, batch=True, options=S3_OPTIONS))
        s3.create_bucket(BUCKET)
        exporter = Exporter(postgres, s3, directory, {"AWS_CA_BUNDLE": str(authority.certificate)})
        ballast = stack.enter_context(Ballast()) if scale >= HELD_ROWS else None
        gauge = Gauge(postgres.pid, s3.pid, directory, ballast)
        yield World(exporter, directory, gauge, file_system)


@contextmanager
def _roomy(scale: int) -> Iterator[tuple[Path, str]]:
    """A directory, and what it is on: memory if output, object and its parts fit several times, for disks are nobody's
    merit; of large pages where gigabytes are written."""
    memory = Path("/dev/shm")  # noqa: S108 - a directory of our own is made in it
    need = 3 * 1024**3 + 8 * 350 * scale
    fits = memory.is_dir() and shutil.disk_usage(memory).free > need
    with tempfile.TemporaryDirectory(prefix="export-operator-bench-", dir=memory if fits else None) as made:
        directory = Path(made)
        directory.chmod(0o755)
        if not fits or scale < HELD_ROWS:
            yield directory, "tmpfs" if fits else "disk"
            return
        with mounted.large_pages(directory, need) as large:
            yield directory, mounted.NAME if large else "tmpfs"


class World:
    """Servers, a directory for output, and what is known of the tables."""

    def __init__(self, exporter: Exporter, directory: Path, gauge: Gauge, file_system: str) -> None:
        self.gauge = gauge
        self.postgres = exporter.postgres
        self.file_system = file_system
        self._directory = directory
        self._exporter = exporter
        self._tried: dict[str, float] = {}
        self._scales: dict[str, float] = {}

    def load(self, picked: Iterable[Suite], scale: int) -> None:
        """The tables of these suites; and users, of which others are made."""
        wanted = {"users", *(suite.table for suite in picked)}
        for name, table in tables.TABLES.items():
            if name in wanted:
                with say.step(f"making {name}: {table.rows(scale):,} rows"):
                    tables.load(self.postgres, name, scale)
        # What was written is on its disk before anyone is measured, or the kernel would write it meanwhile.
        self.postgres.psql("CHECKPOINT")
        os.sync()

    def estimate(self, picked: dict[Suite, list[Contestant]], options: Options) -> None:
        """Runs each contestant once on a small table, which also warms caches, and says how long all will take."""
        rows = min(PROBE_ROWS, options.scale)
        self.postgres.psql(
            f"CREATE TABLE probe AS SELECT * FROM users WHERE id <= {rows};"
            " ALTER TABLE probe ADD PRIMARY KEY (id); VACUUM (FREEZE, ANALYZE) probe"
        )
        place = self.place(replace(tables.TABLES["users"], name="probe"))
        with say.step("trying each contestant once") as step:
            for name in sorted({each.name for who in picked.values() for each in who}):
                step.progress(name)
                self._tried[name] = self.gauge.run(BY_NAME[name].command(place)).sample.wall
                place.out.unlink(missing_ok=True)
        probed = self._bytes("probe")
        seconds = 0.0
        for suite, who in picked.items():
            self._scales[suite.table] = self._bytes(suite.table) / probed
            for each in who:
                once = self._expected(each, suite.table)
                size = self._scales[suite.table] * probed
                # Each output is hashed, and the first of each is read and compared as well.
                runs = self._repeats(each, suite.table, options.repeats) * each.a_round
                seconds += runs * (once + size / HASHED + size / HELD + 0.3)
                seconds += size / COMPARED
        say.line(f"all runs will take about {seconds / 60:.0f} min")

    def _expected(self, contestant: Contestant, table: str) -> float:
        """Seconds of a run, from the one on the small table. About half a second of that is start-up, but for psql."""
        tried = self._tried[contestant.name]
        fixed = min(0.1 if contestant.library == "psql" else 0.5, tried)
        return fixed + (tried - fixed) * self._scales[table]

    def _repeats(self, contestant: Contestant, table: str, repeats: int) -> int:
        """Contestants that may be spared run less often where they would take long."""
        slow = contestant.spare and self._expected(contestant, table) > SLOW_SECONDS
        return min(repeats, SLOW_REPEATS) if slow else repeats

    def suite(self, suite: Suite, who: list[Contestant], options: Options, seed: int) -> SuiteResults:
        """All rounds of one suite."""
        place = self.place(tables.TABLES[suite.table])
        facts = TableFacts(place.table.title, self._count(suite.table), self._bytes(suite.table))
        results = SuiteResults(suite.title, facts, suite.pinned, {each.name: Measured() for each in who})
        with (
            say.step(f"{suite.title}: {facts.rows:,} rows, {len(who)} contestants") as step,
            self._pinned(suite.pinned),
        ):
            validator = self._validator(place, facts.rows)
            for number, order in enumerate(suites.rounds(who, options.repeats, seed), 1):
                for contestant in order:
                    if number > self._repeats(contestant, suite.table, options.repeats):
                        continue
                    step.progress(f"round {number} of {options.repeats}, {contestant.title}")
                    self._measure(
                        contestant,
                        place,
                        validator,
                        results.measured[contestant.name],
                        pinned=suite.pinned,
                        allow_load=options.allow_load,
                    )
        return results

    def _measure(
        self,
        contestant: Contestant,
        place: Place,
        validator: validate.Validator,
        measured: Measured,
        *,
        pinned: bool,
        allow_load: bool,
    ) -> None:
        for _ in range(TRIES):
            if measured.refused:
                return
            command = contestant.command(place)
            finished = self.gauge.run(replace(command, cpu=CLIENT_CPU) if pinned else command)
            try:
                sample = _checked(contestant, place, validator, finished)
            except (validate.Invalid, ValueError) as error:
                measured.refused = str(error)
                say.warn(f"{contestant.title}: {error}")
                return
            finally:
                place.out.unlink(missing_ok=True)
            if not sample.is_void(os.cpu_count() or 1, FOREIGN_SHARE) or allow_load:
                measured.samples.append(sample)
                return
            measured.void.append(sample)

    def _validator(self, place: Place, rows: int) -> validate.Validator:
        reference = BY_NAME[REFERENCE]
        written = self.gauge.run(reference.command(place))
        if written.code:
            raise Problem(f"psql \\copy failed: {written.complained}")
        try:
            return validate.Validator(place, reference, place.out, rows)
        finally:
            place.out.unlink(missing_ok=True)

    @contextmanager
    def _pinned(self, pinned: bool) -> Iterator[None]:
        """The server on one processor; new sessions inherit it."""
        everywhere = os.sched_getaffinity(0)
        if not pinned:
            yield
            return
        if not {SERVER_CPU, CLIENT_CPU} <= everywhere:
            raise Problem("two processors are needed to pin server and client; leave out the suite 'pinned'")
        try:
            self._affinity({SERVER_CPU})
            yield
        finally:
            self._affinity(everywhere)

    def _affinity(self, processors: set[int]) -> None:
        for pid in (self.postgres.pid, *children(self.postgres.pid)):
            os.sched_setaffinity(pid, processors)

    def place(self, table: tables.Table) -> Place:
        """Where contestants work on that table, which is loaded."""
        listed = self.postgres.psql(
            "SELECT attname || '=' || format_type(atttypid, atttypmod) FROM pg_attribute"
            f" WHERE attrelid = '{table.name}'::regclass AND attnum > 0 ORDER BY attnum"
        )
        types = validate.column_types([tuple(line.split("=", 1)) for line in listed.splitlines()])  # type: ignore[misc]
        return Place(self._exporter, self.postgres, self._directory, table, types)

    def _count(self, table: str) -> int:
        return int(self.postgres.psql(f"SELECT count(*) FROM {table}"))

    def _bytes(self, table: str) -> int:
        return int(self.postgres.psql(f"SELECT pg_table_size('{table}')"))


def _checked(contestant: Contestant, place: Place, validator: validate.Validator, finished: Finished) -> Sample:
    """The sample, with what the output tells. Raises ValueError, `Invalid` among them, when it does not count."""
    if finished.code:
        last = (finished.complained or finished.said).strip().splitlines()[-1:]
        raise validate.Invalid(f"ended with code {finished.code}: {' '.join(last)[:300]}")
    file, steps = contestant.collect(place, finished.said)
    validator.check(contestant, file)
    rounded = {step: round(seconds, 3) for step, seconds in steps.items()}
    return replace(
        finished.sample, output_bytes=file.stat().st_size, first_row=rounded.pop("firstRow", 0.0), steps=rounded
    )
