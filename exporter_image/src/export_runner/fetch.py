"""One export to a file or to standard output, from wherever it is, verified against its manifest."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote

from export_contract.codec import ContractError
from export_contract.failures import Failure
from export_contract.names import export_uri
from export_contract.runspec import Destination, FallbackDatabase, RunSpec, SSLMode
from export_runner import fallback
from export_runner.errors import ExportError
from export_runner.redeliver import Beat, verify
from export_runner.retry import Retrier
from export_runner.sinks import client
from export_runner.sinks.database import Database
from export_runner.sinks.stored import Stored, absent, artifact, in_bucket

_ARTIFACT = re.compile(
    r"postgresql://(?P<host>\[[0-9A-Fa-f:.]+\]|[^/:@\[\]]+):(?P<port>\d{1,5})"
    r"/(?P<database>[^/?#]+)/(?P<schema>[^/?#]+)\.export_artifacts(?:/(?P<run>[^/?#]+))?"
)
_OBJECT = re.compile(r"s3://(?P<bucket>[^/]+)/(?P<key>.+)")


def parse_artifact(uri: str, ssl_mode: SSLMode) -> tuple[FallbackDatabase, str]:
    """The place and the run (empty: all of them). Raises `ContractError`."""
    found = _ARTIFACT.fullmatch(uri)
    if found is None:
        # What was given is not repeated: it may hold a password.
        raise ContractError(
            "the URI is none of an artifact: expected postgresql://HOST:PORT/DATABASE/SCHEMA.export_artifacts/RUN,"
            " without user and password"
        )
    place = FallbackDatabase(
        host=found["host"].strip("[]"),
        port=int(found["port"]),
        database=unquote(found["database"]),
        schema=unquote(found["schema"]),
        ssl_mode=ssl_mode,
    )
    return place, found["run"] or ""


def by_uri(
    uri: str, retrier: Retrier, *, endpoint: str, region: str, path_style: bool, ssl_mode: SSLMode
) -> tuple[Stored, int]:
    """The export at a URI, and which of its objects was named: 0 for none of several. Raises `ContractError`,
    `ExportError`, `Stopped`."""
    if not uri.startswith("s3://"):
        target, run = parse_artifact(uri, ssl_mode)
        return _artifact(target, run, retrier), 0
    found = _OBJECT.fullmatch(uri)
    if found is None:
        raise ContractError(f"{uri!r}: expected s3://BUCKET/KEY")
    folder, _, _ = found["key"].rpartition("/")
    place = Destination(
        name="",
        bucket=found["bucket"],
        key=found["key"],
        manifest_key=f"{folder}/manifest.json".lstrip("/"),
        endpoint=endpoint,
        region=region,
        path_style=path_style,
    )
    stored = in_bucket(client.Caller(client.make(place, 2), place.bucket, retrier), place.manifest_key)
    keys = [each.key for each in stored.manifest.objects]
    if place.key in keys:
        return stored, keys.index(place.key) + 1
    if place.key.replace("*", f"{1:05d}") != keys[0]:
        raise absent(uri)
    return stored, 0


def by_spec(spec: RunSpec, retrier: Retrier) -> Stored:
    """The export of a run: in S3, or else in its fallback. Raises `ExportError`, `Stopped`."""
    target, other = spec.destination, spec.destination.fallback
    try:
        return in_bucket(client.Caller(client.make(target, 2), target.bucket, retrier), target.manifest_key)
    except ExportError as error:
        if other is None or error.failure not in {Failure.ARTIFACT_NOT_FOUND, Failure.DESTINATION_UNAVAILABLE}:
            raise
    if other.database is not None:
        return _artifact(other.database, spec.run.id, retrier)
    assert other.bucket is not None, "a fallback is one or the other"
    there = fallback.destination(other, other.bucket)
    return in_bucket(
        client.Caller(client.make(there, 2, client.fallback_keys()), there.bucket, retrier), there.manifest_key
    )


def _artifact(target: FallbackDatabase, run: str, retrier: Retrier) -> Stored:
    database = Database(target, retrier)
    found = artifact(lambda function: database("Reading an artifact", function), target, run)
    if found is None:
        raise absent(f"{target.schema}.export_artifacts for run {run}")
    if found.redelivered:
        raise ExportError(
            Failure.ARTIFACT_NOT_FOUND,
            f"The export of run {run} was redelivered: it is at"
            f" {export_uri(found.destination.bucket, found.destination.key, found.manifest.layout)}.",
        )
    return found


def save(stored: Stored, number: int, to: Path, *, beat: Beat) -> int:
    """Writes the object to a file, which appears only when it is whole and verified; its bytes.

    Raises `ExportError`, `Stopped`, OSError.
    """
    handle, name = tempfile.mkstemp(prefix=f".{to.name}.", dir=to.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            size = copy(stored, number, file, beat=beat)
        Path(name).chmod(0o666 & ~_umask())
        Path(name).replace(to)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise
    return size


def copy(stored: Stored, number: int, file: BinaryIO, *, beat: Beat) -> int:
    """Writes the object as it comes and verifies it at the end; its bytes. Raises `ExportError`, `Stopped`, OSError."""
    if not 1 <= number <= len(stored.manifest.objects):
        raise ExportError(
            Failure.ARTIFACT_NOT_FOUND, f"--object {number}: the export has {len(stored.manifest.objects)} object(s)."
        )
    run, told = stored.manifest.run.id, stored.manifest.objects[number - 1]
    hashed, size = hashlib.sha256(), 0
    for piece in stored.pieces(number):
        file.write(piece)
        hashed.update(piece)
        size += len(piece)
        beat(run, size, told.bytes)
    file.flush()
    verify(run, size, hashed.hexdigest(), stored.manifest, number)
    return size


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
