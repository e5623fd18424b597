"""Strikes a run with a fault of the table, and looks at what came of it: for `make test` and `make chaos`."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from export_contract.failures import FAILURES, Failure
from export_contract.report import Outcome
from export_contract.runspec import Limits, RunSpec
from tests.integration.exporter.faults import Fault, World
from tests.integration.exporter.runner import BUCKET, PATIENCE, Exporter
from tests.services import host
from tests.services.proxies import Link, Toxiproxy, corrupter

ROWS = 4000
QUERY = (
    "SELECT n AS x, pg_catalog.repeat('é', 2000) AS y, CASE WHEN n % 40 = 0 THEN pg_sleep(0.01) END::text AS z"
    f" FROM generate_series(1, {ROWS}) AS n"
)
"""Sixteen megabytes in a second or two: several parts, and time to strike between them."""
HALF_WAY = "SELECT count(*) FROM pg_stat_progress_copy WHERE tuples_processed > 100"
GRACE = 12
"""Seconds after its deadline by which every run has ended: the watchdog's ten, and some for a busy machine."""


@dataclass(frozen=True)
class Seen:
    """What came of a run."""

    outcome: str
    code: int
    nothing_left: bool


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


def strike(fault: Fault, exporter: Exporter, proxies: Toxiproxy) -> tuple[RunSpec, Outcome, int, str]:
    """Runs half-way, strikes, mends, waits for the end."""
    with routes(fault, exporter, proxies) as (to_postgres, to_s3, postgres_port, s3_port):
        spec = spec_of(exporter, fault, postgres_port, s3_port)
        running = exporter.start(spec, **fault.environment)
        world = World(exporter, running, exporter.postgres, exporter.s3, to_postgres, to_s3)
        if not fault.flip:
            running.until(lambda: exporter.postgres.psql(HALF_WAY) == "1", "rows")
            fault.strike(world)
        if fault.mend:
            running.until(lambda: any("tried again" in line for line in running.errors), "another try")
            fault.mend(world)
        running.process.wait(fault.seconds + GRACE)
        running.end()
        said = "".join(running.lines + running.errors)
        assert running.lines, said
        outcome = Outcome.from_json(running.lines[-1])
    return spec, outcome, running.process.returncode, said


def content(exporter: Exporter, spec: RunSpec) -> str:
    """Delivered | Partial | Altered, by the bytes of the object and not by what is said of it."""
    lines = exporter.read(spec.destination.key).decode(errors="replace").splitlines()
    right = ["x,y", *(f"{number},{'é' * 2000}" for number in range(1, ROWS + 1))]
    if lines == right:
        return "Delivered"
    return "Partial" if 1 < len(lines) < len(right) and lines == right[: len(lines)] else "Altered"


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
        spec, outcome, code, said = strike(fault, own, proxies)
        delivered = outcome.delivered is not None
        seen = Seen(
            content(own, spec) if delivered else outcome.failure.reason if outcome.failure else "",
            code,
            (delivered or not own.keys(spec)) and not own.uploads(spec) and no_sessions(own.postgres),
        )
    exit_code = FAILURES[fault.outcome].exit_code if isinstance(fault.outcome, Failure) else 0
    assert seen == Seen(str(fault.outcome), exit_code, not fault.leaves_upload), said
    assert fault.says in said
