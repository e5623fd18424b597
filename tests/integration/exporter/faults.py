"""Faults, what is to come of each, and what was seen: the data of `docs/operations/faults.md` and of its tests.

Each fault strikes a run half-way, with rows read and sent. `test_faults` runs every line against real servers and
fails when what comes out is not what stands here.

    python -m tests.integration.exporter.faults > docs/operations/faults.md
"""

from pathlib import Path

from export_contract.failures import Failure
from tests.integration.exporter.fault import Fault, Flip, World, slow

PAGE = Path(__file__).parents[3] / "docs" / "operations" / "faults.md"


def _in_text(piece: bytes, begun: int) -> int:
    """A byte of an é, well behind the start: it becomes another letter."""
    return piece.find(b"\xa9") if begun > 1_000_000 else -1


def _in_bulk(piece: bytes, begun: int) -> int:
    """Any byte well behind the start."""
    return len(piece) // 2 if begun > 1_000_000 else -1


def _in_each_part(piece: bytes, begun: int) -> int:
    """Any byte of a part's body, which comes in large pieces, and none of a request's head."""
    return len(piece) // 2 if begun and len(piece) > 16_384 and b"HTTP/1.1" not in piece else -1


FAULTS: tuple[Fault, ...] = (
    Fault(
        "postgresql-cut",
        "PostgreSQL",
        "connection reset once",
        "Delivered",
        "server closed the connection unexpectedly",
        strike=lambda world: world.to_postgres.add("reset_peer", timeout=0),
        mend=lambda world: world.to_postgres.heal(),
    ),
    Fault(
        "postgresql-gone",
        "PostgreSQL",
        "connection closed, and refused from then on",
        Failure.SOURCE_UNAVAILABLE,
        "Gave up after",
        strike=lambda world: world.to_postgres.cut(),
        seconds=12,
        long=True,
    ),
    Fault(
        "postgresql-half-way",
        "PostgreSQL",
        "connection closed after 1 MB, once",
        "Delivered",
        "server closed the connection unexpectedly",
        strike=lambda world: world.to_postgres.add("limit_data", bytes=1_000_000),
        mend=lambda world: world.to_postgres.heal(),
        long=True,
    ),
    Fault(
        "postgresql-stalled",
        "PostgreSQL",
        "no byte comes any more, `onDeadline: Fail`",
        Failure.DEADLINE_EXCEEDED,
        "Stopped after 12 s",
        strike=lambda world: world.to_postgres.add("timeout", timeout=0),
        seconds=12,
        long=True,
    ),
    Fault(
        "postgresql-stalled-partial",
        "PostgreSQL",
        "no byte comes any more, `onDeadline: Partial`",
        "Partial",
        strike=lambda world: world.to_postgres.add("timeout", timeout=0),
        seconds=12,
    ),
    Fault(
        "postgresql-slow",
        "PostgreSQL",
        "4 MB/s, and 50 ms to each answer",
        "Delivered",
        strike=lambda world: slow(world.to_postgres, "downstream", 4_000),
        long=True,
    ),
    Fault(
        "postgresql-corrupt",
        "PostgreSQL",
        "a letter changed on the way, without TLS",
        "Altered",
        flip=Flip("downstream", _in_text),
    ),
    Fault(
        "postgresql-corrupt-tls",
        "PostgreSQL",
        "a byte changed on the way, with TLS",
        "Delivered",
        "decryption failed or bad record mac",
        flip=Flip("downstream", _in_bulk),
        own="TLS",
    ),
    Fault(
        "backend-terminated",
        "PostgreSQL",
        "`pg_terminate_backend`",
        "Delivered",
        "57P01",
        strike=World.terminate_backends,
    ),
    Fault(
        "postgresql-killed",
        "PostgreSQL",
        "server killed (SIGKILL), back at the second try",
        "Delivered",
        "server closed the connection unexpectedly",
        strike=lambda world: world.postgres.kill(),
        mend=lambda world: world.postgres.start(),
        own="PostgreSQL",
        long=True,
    ),
    Fault(
        "postgresql-restarted",
        "PostgreSQL",
        "server restarted",
        "Delivered",
        "57P01",
        strike=lambda world: world.postgres.restart(),
        own="PostgreSQL",
        long=True,
    ),
    Fault(
        "standby-conflict",
        "PostgreSQL",
        "a hot standby cancels the reading, once",
        "Delivered",
        "(40001)",
        strike=World.change_primary,
        own="Standby",
    ),
    Fault(
        "standby-conflict-twice",
        "PostgreSQL",
        "a hot standby cancels the reading, and the second try's as well",
        Failure.SOURCE_QUERY_FAILED,
        "hot_standby_feedback = on",
        strike=World.change_primary,
        mend=World.change_primary_again,
        own="Standby",
    ),
    Fault(
        "s3-cut",
        "S3",
        "connections reset once",
        "Delivered",
        "S3 cannot be reached",
        strike=lambda world: world.to_s3.add("reset_peer", timeout=0),
        mend=lambda world: world.to_s3.heal(),
    ),
    Fault(
        "s3-gone",
        "S3",
        "connections closed, and refused from then on",
        Failure.DESTINATION_UNAVAILABLE,
        "Gave up after",
        strike=lambda world: world.to_s3.cut(),
        seconds=12,
        leaves_upload=True,
        long=True,
    ),
    Fault(
        "s3-half-way",
        "S3",
        "connection closed after 1 MB of a part, once",
        "Delivered",
        "S3 cannot be reached",
        strike=lambda world: world.to_s3.add("limit_data", "upstream", bytes=1_000_000),
        mend=lambda world: world.to_s3.heal(),
        long=True,
    ),
    Fault(
        "s3-stalled",
        "S3",
        "no answer comes any more",
        Failure.DEADLINE_EXCEEDED,
        "Stopped after 12 s",
        strike=lambda world: world.to_s3.add("timeout", timeout=0),
        seconds=12,
    ),
    Fault(
        "s3-slow",
        "S3",
        "8 MB/s, and 50 ms to each answer",
        "Delivered",
        strike=lambda world: slow(world.to_s3, "upstream", 8_000),
        long=True,
    ),
    Fault(
        "s3-corrupt",
        "S3",
        "a byte of a part changed on the way, once",
        "Delivered",
        "XAmzContentSHA256Mismatch",
        flip=Flip("upstream", _in_bulk),
    ),
    Fault(
        "s3-corrupt-always",
        "S3",
        "a byte of each part changed on the way, each time",
        Failure.DESTINATION_UNAVAILABLE,
        "Gave up after",
        flip=Flip("upstream", _in_each_part, times=1_000_000),
        seconds=12,
    ),
    Fault(
        "s3-killed",
        "S3",
        "server killed (SIGKILL), back at the second try",
        "Delivered",
        "S3 cannot be reached",
        strike=lambda world: world.s3.kill(),
        mend=lambda world: world.s3.start(),
        own="S3",
    ),
    Fault(
        "disk-full",
        "Pod",
        "no space for heartbeat and termination message, no directory for temporary files",
        "Delivered",
        environment={
            "EXPORT_TERMINATION_LOG": "/dev/full",
            "EXPORT_HEARTBEAT_FILE": "/dev/full/heartbeat",
            "TMPDIR": "/nonexistent",
        },
    ),
    Fault(
        "memory-short",
        "Pod",
        "another process of the container takes the memory that is left",
        "Killed",
        strike=World.fill_memory,
        own="Memory",
        leaves_upload=True,
    ),
)

HEAD = """\
<!-- Rendered from tests/integration/exporter/faults.py. Do not edit. -->
# Faults: what comes of each

Each line is a test of the exporter against a real PostgreSQL and a real S3 server, with the fault put between or upon
them while rows flow. After each but those marked otherwise nothing is left behind: no half object, no multipart upload,
no session in PostgreSQL.

| where | fault | what comes of it | what the exporter says |
|---|---|---|---|
"""
TAIL = """
"After another try": each call is tried again after 1, 2 and 4 seconds, within the run's deadline. A lost connection to
PostgreSQL takes its snapshot along.

## How long a silent peer is waited for

| who | what ends the wait | seconds |
|---|---|---|
| exporter, connecting to PostgreSQL | `connect_timeout`, each try | 5 |
| exporter, PostgreSQL's machine gone | TCP keepalive: idle 10, then 3 probes 5 apart | 25 |
| exporter, bytes to PostgreSQL not acknowledged | `tcp_user_timeout` | 30 |
| exporter, PostgreSQL alive but silent | the run's deadline: a query may rightly think for long | deadline |
| PostgreSQL, exporter's machine gone | the same keepalive and user timeout, set for the session | 25 to 30 |
| PostgreSQL, exporter's connection closed | `client_connection_check_interval` (PostgreSQL 14 or newer) | 2 |
| exporter, waiting for another's lock on the table | `lock_timeout`, each try | 10, or half of the time left |
| exporter, connecting to S3 | connect timeout, each try | 5 |
| exporter, S3 silent | read timeout, each try | 30 |
| exporter, a stage that hangs | the deadline, then the watchdog ends the process | deadline + 10 |

## What cannot be noticed, or not be said

Short of memory, the process seldom lives to tell: at the limit of its container the kernel kills it, which the operator
reports as `OutOfMemory`; where an allocation is refused (`RLIMIT_AS`) the C library aborted it (SIGABRT) when tried:
`PodCrashed`. The exporter itself says `OutOfMemory` of an allocation that Python sees fail. The upload stays
for the next attempt to abort, as after any kill.

Without TLS, PostgreSQL's protocol has no checksum beyond TCP's: a changed letter is delivered as it came. With
`sslMode: VerifyFull` the connection ends instead. On the way to S3 every part carries a CRC32 and the object is checked
as a whole, with or without TLS.
"""


def page() -> str:
    """The whole page."""
    lines = [
        f"| {fault.where} | {fault.what} | {fault.expected} | {f'`{fault.says}`' if fault.says else ''} |\n"
        for fault in FAULTS
    ]
    return HEAD + "".join(lines) + TAIL


if __name__ == "__main__":
    print(page(), end="")
