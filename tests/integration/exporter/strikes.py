"""Strikes a run with a fault of the table, and looks at what came of it: for `make test` and `make chaos`."""

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

import pytest

from export_contract.failures import FAILURES, Failure
from export_contract.report import Outcome
from export_contract.runspec import Limits, RunSpec
from tests.integration.exporter.fault import Fault, World
from tests.integration.exporter.runner import BUCKET, PATIENCE, Exporter, with_limits
from tests.services import host, memory
from tests.services.memory import Group
from tests.services.proxies import Link, Toxiproxy, corrupter

ROWS = 4000
QUERY = (
    "SELECT n AS x, pg_catalog.repeat('é', 2000) AS y, CASE WHEN n % 40 = 0 THEN pg_sleep(0.03) END::text AS z"
    f" FROM generate_series(1, {ROWS}) AS n"
)
"""Sixteen megabytes in three seconds: several parts, and time to strike between them."""
MEMORY_MIB = 512
"""More than the run needs by itself."""
GRACE = 12
"""Seconds after its deadline by which every run has ended: the watchdog's ten, and some for a busy machine."""


@dataclass(frozen=True)
class Seen:
    """What came of a run."""

    outcome: str
    code: int
    nothing_left: bool
    then: str = ""
    """What came of the next attempt, where something is left for it."""


def spec_of(exporter: Exporter, fault: Fault, postgres_port: int, s3_port: int) -> RunSpec:
    limits = Limits(
        block_rows=65_536,
        block_bytes=1024 * 1024,
        part_bytes=5 * 1024 * 1024,
        run_deadline_seconds=fault.seconds,
        on_deadline="Partial" if fault.outcome == "Partial" else "Fail",
    )
    mode = "Require" if fault.own == "TLS" else "Prefer"
    spec = exporter.spec(("x", "y"), table=None, query=QUERY, limits=limits, port=postgres_port, ssl_mode=mode)
    return replace(spec, destination=replace(spec.destination, endpoint=f"http://127.0.0.1:{s3_port}"))


@contextmanager
def routes(fault: Fault, exporter: Exporter, proxies: Toxiproxy) -> Iterator[tuple[Link, Link, int, int]]:
    """The links to both servers, and the ports that the exporter is to use: a corrupter's, where bits are flipped."""
    with ExitStack() as stack:
        to_postgres = stack.enter_context(proxies.to(exporter.postgres.port))
        to_s3 = stack.enter_context(proxies.to(exporter.s3.port))
        ports = [to_postgres.port, to_s3.port]
        if flip := fault.flip:
            at = ("PostgreSQL", "S3").index(fault.where)
            ports[at] = stack.enter_context(corrupter(ports[at], flip.stream, flip.find, flip.times)).port
        yield to_postgres, to_s3, ports[0], ports[1]


def strike(
    fault: Fault, exporter: Exporter, proxies: Toxiproxy, group: Group | None
) -> tuple[RunSpec, Outcome | None, int, str]:
    """Runs half-way, strikes, mends, waits for the end. The outcome is None of a run that was killed."""
    with routes(fault, exporter, proxies) as (to_postgres, to_s3, postgres_port, s3_port):
        spec = spec_of(exporter, fault, postgres_port, s3_port)
        running = exporter.start(spec, *(group.prefix if group else ()), **fault.environment)
        world = World(exporter, running, exporter.postgres, exporter.s3, to_postgres, to_s3, group)
        if not fault.flip:
            world.half_way()
            fault.strike(world)
        if fault.mend:
            running.until(lambda: any("tried again" in line for line in running.errors), "another try")
            fault.mend(world)
        running.process.wait(fault.seconds + GRACE)
        running.end()
        said = "".join(running.lines + running.errors)
        outcome = Outcome.from_json(running.lines[-1]) if fault.outcome != "Killed" else None
    return spec, outcome, running.process.returncode, said


def content(exporter: Exporter, spec: RunSpec) -> str:
    """Delivered | Partial | Altered, by the bytes of the object and not by what is said of it."""
    lines = exporter.read(spec.destination.key).decode(errors="replace").splitlines()
    right = ["x,y", *(f"{number},{'é' * 2000}" for number in range(1, ROWS + 1))]
    if lines == right:
        return "Delivered"
    return "Partial" if 1 < len(lines) < len(right) and lines == right[: len(lines)] else "Altered"


def named(outcome: Outcome | None) -> str:
    return outcome.failure.reason if outcome and outcome.failure else "Killed"


def next_attempt(exporter: Exporter, spec: RunSpec) -> str:
    """What comes of it when it is left in peace; "left" where it leaves what it found."""
    source = replace(spec.source, port=exporter.postgres.port)
    target = replace(spec.destination, endpoint=exporter.s3.endpoint)
    done = exporter.run(with_limits(replace(spec, source=source, destination=target), run_deadline_seconds=60))
    if done.outcome.delivered is None:
        return done.reason
    return "left" if exporter.uploads(spec) else content(exporter, spec)


def no_sessions(postgres: host.PostgresServer) -> bool:
    """Whether every session of the exporter ends within a few seconds."""
    end = time.monotonic() + PATIENCE
    count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'export-runner'"
    while postgres.psql(count) != "0":
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def breakable(fault: Fault, exporter: Exporter, tls_postgres: host.PostgresServer, stack: ExitStack) -> Exporter:
    """The exporter with the server of its own that the fault needs."""
    postgres, s3 = exporter.postgres, exporter.s3
    if fault.own == "TLS":
        postgres = tls_postgres
    elif fault.own == "Standby":
        postgres = stack.enter_context(host.postgres_standby())
    elif fault.own == "PostgreSQL":
        postgres = stack.enter_context(host.postgres_server())
    elif fault.own == "S3":
        s3 = stack.enter_context(host.s3_server())
        s3.create_bucket(BUCKET)
    return Exporter(postgres, s3, exporter.directory)


def ends_as_told(fault: Fault, exporter: Exporter, proxies: Toxiproxy, tls_postgres: host.PostgresServer) -> None:
    """Fails unless what is seen is what the table says."""
    with ExitStack() as stack:
        own = breakable(fault, exporter, tls_postgres, stack)
        group = stack.enter_context(memory.group(MEMORY_MIB)) if fault.own == "Memory" else None
        if fault.own == "Memory" and group is None:
            pytest.skip("a limit on memory takes root and a writable control group")
        spec, outcome, code, said = strike(fault, own, proxies, group)
        delivered = outcome is not None and outcome.delivered is not None
        seen = Seen(
            content(own, spec) if delivered else named(outcome),
            code,
            (delivered or not own.keys(spec)) and not own.uploads(spec) and no_sessions(own.postgres),
            next_attempt(own, spec) if fault.leaves_upload else "",
        )
    exit_code = FAILURES[fault.outcome].exit_code if isinstance(fault.outcome, Failure) else 0
    if fault.outcome == "Killed":
        exit_code = -signal.SIGKILL
    then = "Delivered" if fault.leaves_upload else ""
    assert seen == Seen(str(fault.outcome), exit_code, not fault.leaves_upload, then), said
    assert fault.says in said or (fault.or_says and fault.or_says in said), said
