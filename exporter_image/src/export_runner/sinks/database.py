"""The fallback's database: its connections, its errors, and the proof that it is not the source's."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TypeVar

import psycopg

from export_contract import environment
from export_contract.failures import Failure
from export_contract.runspec import FallbackDatabase, Source
from export_runner.errors import ExportError
from export_runner.retry import Retrier
from export_runner.source.connect import Connection, connect
from export_runner.source.errors import from_psycopg

T = TypeVar("T")

_VARIABLES: Mapping[str, str] = {
    environment.PG_USER: environment.FALLBACK_PG_USER,
    environment.PG_PASSWORD: environment.FALLBACK_PG_PASSWORD,
    environment.PG_SSL_ROOT_CERT: environment.FALLBACK_PG_SSL_ROOT_CERT,
}
_AS_DESTINATION: Mapping[Failure, Failure] = {
    Failure.SOURCE_AUTHENTICATION_FAILED: Failure.DESTINATION_AUTHENTICATION_FAILED,
    Failure.SOURCE_ACCESS_DENIED: Failure.DESTINATION_ACCESS_DENIED,
    Failure.SOURCE_UNAVAILABLE: Failure.DESTINATION_UNAVAILABLE,
}
_FULL = "53100"  # disk_full: waiting does not help

_Identity = tuple[object, object, object, object]
"""System identifier, address, port, database: None where the role may not see one."""


class Database:
    """Connections on demand, from any thread; one that failed is thrown away, and the call tried again."""

    def __init__(self, target: FallbackDatabase, retrier: Retrier, variables: Mapping[str, str] | None = None) -> None:
        """Reaches nobody yet."""
        self.target = target
        self._retrier = retrier
        self._variables = os.environ if variables is None else variables
        self._idle: list[Connection] = []
        self._lock = threading.Lock()

    def __call__(self, what: str, function: Callable[[Connection], T]) -> T:
        """`function` in a transaction, which may be tried again. Raises `ExportError`, `Stopped`."""
        return self._retrier.call(what, lambda: self.once(function))

    def once(self, function: Callable[[Connection], T]) -> T:
        """Without retries. Raises `ExportError`."""
        with self.lent() as connection:
            try:
                with connection.transaction():
                    return function(connection)
            except psycopg.Error as error:
                raise refused(error) from None

    @contextmanager
    def lent(self) -> Iterator[Connection]:
        """A connection; it is kept for the next one only if the body ends well."""
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        if connection is None:
            connection = self._connect()
        try:
            yield connection
        except BaseException:
            with suppress(psycopg.Error):
                connection.close()
            raise
        with self._lock:
            self._idle.append(connection)

    def close(self) -> None:
        """Ends the sessions that nobody uses."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            with suppress(psycopg.Error):
                connection.close()

    def _connect(self) -> Connection:
        target = self.target
        variables = {ours: self._variables[theirs] for ours, theirs in _VARIABLES.items() if theirs in self._variables}
        if not variables.get(environment.PG_USER):
            raise ExportError(
                Failure.DESTINATION_AUTHENTICATION_FAILED,
                f"{environment.FALLBACK_PG_USER} is not set: the fallback's database needs a role of its own.",
            )
        place = Source(
            name="fallback",
            dataset="",
            host=target.host,
            port=target.port,
            database=target.database,
            ssl_mode=target.ssl_mode,
            columns=("data",),
            query="",
        )
        try:
            return connect(place, variables)
        except ExportError as error:
            raise _told(error) from None


def refused(error: psycopg.Error) -> ExportError:
    """The failure for an error of the fallback's database: one of the destination."""
    if error.sqlstate == _FULL:
        return ExportError(Failure.DESTINATION_REFUSED, "The fallback's database has no space left (53100).")
    return _told(from_psycopg(error))


def _told(error: ExportError) -> ExportError:
    failure = _AS_DESTINATION.get(error.failure, Failure.DESTINATION_REFUSED)
    return ExportError(failure, f"The fallback's database: {error.message}", transient=error.transient)


def refuse_same_address(source: Source, target: FallbackDatabase) -> None:
    """Raises `ExportError`, permanent, when both are written alike; asks no server."""
    if (source.host.lower(), source.port, source.database) == (target.host.lower(), target.port, target.database):
        raise _is_the_source(target)


def refuse_same_database(target: FallbackDatabase, source: _Identity, fallback: _Identity) -> None:
    """The same, of what the servers say of themselves; a standby of the source counts as the source."""
    system, *place = source
    other_system, *other_place = fallback
    if system is not None and other_system is not None:
        same = (system, source[3]) == (other_system, fallback[3])
    else:
        same = None not in place and place == other_place
    if same:
        raise _is_the_source(target)


def identity(connection: Connection) -> _Identity:
    """Which database this is. Raises `psycopg.Error`."""
    place = connection.execute(
        "SELECT pg_catalog.inet_server_addr()::pg_catalog.text, pg_catalog.inet_server_port(),"
        " pg_catalog.current_database()::pg_catalog.text,"
        " pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')"
    ).fetchone()
    assert place is not None
    address, port, database, may = place
    # Asked apart: a function that may not be called is refused even where it would not be reached.
    system = (
        connection.execute("SELECT system_identifier FROM pg_catalog.pg_control_system()").fetchone() if may else None
    )
    return (system[0] if system else None, address, port, database)


def _is_the_source(target: FallbackDatabase) -> ExportError:
    return ExportError(
        Failure.DESTINATION_REFUSED,
        f"destination.fallback.database: {target.database!r} on {target.host}:{target.port} is the source's own"
        " database, which exports never write to. Name a database on another server, or another database.",
    )
