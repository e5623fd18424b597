"""Faults, what is to come of each, and what was seen: the data of `docs/operations/faults.md` and of its tests.

Each fault strikes a run half-way, with rows read and sent. `test_faults` runs every line against real servers and
fails when what comes out is not what stands here; `fault_page` renders it.
"""

from export_contract.failures import Failure
from tests.integration.exporter.fault import Fault, Flip, World, slow


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
        "server closed the connection unexpectedly",
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
        "server closed the connection unexpectedly",
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
