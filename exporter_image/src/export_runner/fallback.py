"""S3 gone for good: where a run's rows go then, when they do, and what is told of it.

Only a destination that cannot be reached, after all tries, makes a run turn to its fallback. A wrong key, a missing
bucket or a refused write is somebody's mistake, and must be seen; an upload that another process ended is begun anew.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from export_contract.failures import Failure, FailureClass
from export_contract.report import Delivered
from export_contract.runspec import Destination, Fallback, FallbackBucket, Limits, RunSpec
from export_runner.errors import ExportError
from export_runner.retry import Retrier

if TYPE_CHECKING:
    from export_runner.sinks.sink import Sink
    from export_runner.source.connect import Connection


def answers(error: ExportError, spec: RunSpec) -> Fallback | None:
    """The fallback that this failure is for; None when it ends the run, or when the export is tried again."""
    gone = error.failure is Failure.DESTINATION_UNAVAILABLE and not error.transient
    return spec.destination.fallback if gone else None


def check(spec: RunSpec) -> None:
    """Before anything is reached: a fallback that is the source is found out on a good day. Raises `ExportError`."""
    fallback = spec.destination.fallback
    if fallback is not None and fallback.database is not None:
        from export_runner.sinks.database import refuse_same_address

        refuse_same_address(spec.source, fallback.database)


def sink(spec: RunSpec, fallback: Fallback, retrier: Retrier) -> Sink:
    """Reaches nobody yet. Raises `ExportError`."""
    if fallback.database is not None:
        from export_runner.sinks.artifacts import Artifacts

        return Artifacts(spec, fallback.database, retrier)
    assert fallback.bucket is not None, "a fallback is one or the other"
    from export_runner.sinks import client, layouts

    there = replace(spec, destination=destination(fallback, fallback.bucket))
    return layouts.bucket(there, retrier, client.fallback_keys())


def destination(fallback: Fallback, bucket: FallbackBucket) -> Destination:
    """The second bucket as any other. Encryption, tags and storage class are those of the bucket itself: what the first
    one's account has, keys above all, the second one's may not know."""
    return Destination(
        name=fallback.name,
        bucket=bucket.bucket,
        key=bucket.key,
        manifest_key=bucket.manifest_key,
        region=bucket.region,
        endpoint=bucket.endpoint,
        path_style=bucket.path_style,
    )


def refuse_source(found: Sink, connection: Connection) -> None:
    """Whatever the addresses are: the servers are asked whether they are one. Raises `ExportError`."""
    import psycopg

    from export_runner.sinks import database
    from export_runner.sinks.artifacts import Artifacts
    from export_runner.source.errors import from_psycopg

    if not isinstance(found, Artifacts):
        return
    try:
        source = database.identity(connection)
    except psycopg.Error as error:
        raise from_psycopg(error) from None
    other = found.database("Asking which database it is", database.identity)
    database.refuse_same_database(found.database.target, source, other)


def limits(of: Limits, fallback: Fallback) -> Limits:
    """The run's own bounds hold as well: the smaller one counts. 0 means no limit."""
    most = [each for each in (of.max_bytes, fallback.max_bytes) if each]
    return replace(of, max_bytes=min(most, default=0))


def earlier(spec: RunSpec, fallback: Fallback, retrier: Retrier) -> Delivered | None:
    """What an earlier attempt of this run left in the fallback. One that cannot be asked has no say while the
    destination serves: None."""
    try:
        asked = sink(spec, fallback, replace(retrier, delays=()))
        try:
            return asked.find()
        finally:
            asked.abort()
    except ExportError as error:
        retrier.note(f"The fallback {fallback.name!r} cannot be asked for an earlier result: {error.message}")
        return None


def both(first: ExportError, fallback: Fallback, second: ExportError) -> ExportError:
    """The failure of a run whose fallback failed as well: both reasons are told.

    When the fallback's end is the trouble, the run failed since neither could be reached, and S3 may be back for the
    next attempt. Anything else (rows, time, source) keeps its own name.
    """
    if second.kind.failure_class is not FailureClass.DESTINATION:
        said = f"{second.message} It was on its way to the fallback {fallback.name!r}, since: {first.message}"
        return ExportError(second.failure, said, transient=second.transient)
    return ExportError(
        first.failure, f"{first.message} The fallback {fallback.name!r} failed as well: {second.message}"
    )
