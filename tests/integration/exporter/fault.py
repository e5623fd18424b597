"""What a fault is: whom it strikes, when, and what is to come of it. `faults` has them all."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import psycopg

from export_contract.failures import Failure
from tests.integration.exporter.runner import Exporter, Running
from tests.services.host import PostgresServer, PostgresStandby, S3Server
from tests.services.memory import Group
from tests.services.proxies import Link, Stream

HALF_WAY = "SELECT count(*) FROM pg_stat_progress_copy WHERE tuples_processed > 100"


@dataclass(frozen=True)
class World:
    """A run half-way, and all that can be broken around it."""

    exporter: Exporter
    running: Running
    postgres: PostgresServer
    s3: S3Server
    to_postgres: Link
    to_s3: Link
    memory: Group | None = None

    def half_way(self) -> None:
        """Waits until rows flow."""
        self.running.until(lambda: self.postgres.psql(HALF_WAY) == "1", "rows")

    def terminate_backends(self) -> None:
        """By a connection, which is there sooner than psql: the run must not be at its end."""
        with psycopg.connect(self.postgres.dsn, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'export-runner'"
            )

    def change_primary(self) -> None:
        """Removes rows that a reader of the standby may still see, until that has cancelled it: what any other
        transaction of the primary may still see stays, and a change arrives late where the reading is over. Only while
        rows flow: between two statements the standby ends the session, and libpq takes its word on why for a notice."""
        assert isinstance(self.postgres, PostgresStandby), "the fault has a standby of its own"
        cancelled = self.cancelled()
        while self.cancelled() == cancelled and self.running.process.poll() is None:
            if self.postgres.psql(HALF_WAY) == "1":
                self.postgres.primary.psql(
                    "CREATE TABLE IF NOT EXISTS public.moved (n int); INSERT INTO public.moved VALUES (1);"
                    " DELETE FROM public.moved; VACUUM public.moved"
                )

    def cancelled(self) -> int:
        """How often the run said that the standby cancelled its reading."""
        return sum("(40001)" in line for line in list(self.running.errors))

    def change_primary_again(self) -> None:
        self.half_way()
        self.change_primary()

    def fill_memory(self) -> None:
        assert self.memory, "the fault has a limit of its own"
        self.memory.fill()


Act = Callable[[World], None]


def nothing(_world: World) -> None:
    """What is broken from the start needs no strike."""


def slow(link: Link, stream: Stream, rate: int) -> None:
    """So many kB/s in the busy direction, and 50 ms to each answer."""
    link.add("bandwidth", stream, rate=rate)
    link.add("latency", latency=50)


@dataclass(frozen=True)
class Flip:
    """Bits to flip on the way: see `tests.services.proxies.Corrupter`."""

    stream: Stream
    find: Callable[[bytes, int], int]
    times: int = 1


@dataclass(frozen=True)
class Fault:
    """One line of the table.

    `mend` is done once the exporter says that it tries again. `says` is a part of the failure's message, or of what was
    logged when it is tried again; "" where nothing is to be said. `outcome` "Altered" is a delivery whose bytes are not
    those of the source.
    """

    name: str
    where: Literal["PostgreSQL", "S3", "Pod"]
    what: str
    outcome: Literal["Delivered", "Partial", "Altered", "Killed"] | Failure
    says: str = ""
    or_says: str = ""
    """Instead, where a backend ends while it waits for the exporter to read: then it cannot say why."""
    strike: Act = nothing
    mend: Act | None = None
    flip: Flip | None = None
    seconds: int = 60
    """The run's deadline."""
    long: bool = False
    """It runs in `make chaos`."""
    own: Literal["", "PostgreSQL", "Standby", "S3", "TLS", "Memory"] = ""
    """The server, or the limit, that the fault needs for itself."""
    environment: Mapping[str, str] = field(default_factory=dict)
    leaves_upload: bool = False
    """S3 could not be told to abort: the next attempt of the run does."""

    @property
    def expected(self) -> str:
        """As the page has it."""
        told = {
            "Delivered": "the whole object" + (", after another try" if self.says else ""),
            "Partial": "a whole file of the rows so far, `complete: false`",
            "Altered": "**the damage is not noticed**: use TLS",
            "Killed": "killed by the kernel; the operator says `OutOfMemory`",
        }
        text = told.get(self.outcome) or f"`{self.outcome}`"
        return text + ("; its upload stays for the next attempt to abort" if self.leaves_upload else "")
