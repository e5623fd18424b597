"""PostgreSQL's errors as named failures.

Which may pass (`transient`) and where that stands: postgresql.org/docs/current/errcodes-appendix.html;
hot-standby.html ("Handling Query Conflicts") for 40001; runtime-config-resource.html (`temp_file_limit`) for 53400;
getaddrinfo(3) for names that do not resolve. A name may be absent for a moment where DNS follows services, so it may
pass.

What is told: PostgreSQL's primary message for classes that speak of names alone (missing tables, columns, rights).
Messages of all other classes may quote values (`invalid input syntax for type integer: "…"`), and DETAIL, HINT and
CONTEXT always may: they are never shown. What has a CONTEXT came out of a function or another server, which choose
state and words themselves (`RAISE insufficient_privilege USING MESSAGE = …`): its message is not shown either.
"""

from __future__ import annotations

import re

from psycopg import Error, OperationalError, errors

from export_contract.failures import Failure
from export_contract.runspec import Relation
from export_runner.errors import ExportError

_BY_STATE: dict[str, tuple[Failure, bool]] = {
    "28P01": (Failure.SOURCE_AUTHENTICATION_FAILED, False),  # invalid_password
    "28000": (Failure.SOURCE_AUTHENTICATION_FAILED, False),  # invalid_authorization_specification, pg_hba.conf
    "3D000": (Failure.SOURCE_NOT_FOUND, False),  # invalid_catalog_name: no such database
    "42501": (Failure.SOURCE_ACCESS_DENIED, False),  # insufficient_privilege
    "40001": (Failure.SOURCE_UNAVAILABLE, True),  # serialization_failure: recovery conflict on a standby; see _TWICE
    "40P01": (Failure.SOURCE_UNAVAILABLE, True),  # deadlock_detected
    "53100": (Failure.SOURCE_QUERY_FAILED, False),  # disk_full: nobody frees it within seconds
    "53300": (Failure.SOURCE_UNAVAILABLE, True),  # too_many_connections
    "53400": (Failure.SOURCE_QUERY_FAILED, False),  # configuration_limit_exceeded: temp_file_limit
    "55P03": (Failure.SOURCE_UNAVAILABLE, True),  # lock_not_available: lock_timeout
    "57P01": (Failure.SOURCE_UNAVAILABLE, True),  # admin_shutdown
    "57P02": (Failure.SOURCE_UNAVAILABLE, True),  # crash_shutdown
    "57P03": (Failure.SOURCE_UNAVAILABLE, True),  # cannot_connect_now: starting up
    "57P04": (Failure.SOURCE_NOT_FOUND, False),  # database_dropped
    "57P05": (Failure.SOURCE_UNAVAILABLE, True),  # idle_session_timeout
    "57014": (Failure.DEADLINE_EXCEEDED, False),  # query_canceled: statement_timeout, which is the deadline
    "22021": (Failure.VALUE_NOT_REPRESENTABLE, False),  # character_not_in_repertoire
    "22P05": (Failure.VALUE_NOT_REPRESENTABLE, False),  # untranslatable_character
}
_BY_CLASS: dict[str, tuple[Failure, bool]] = {
    "08": (Failure.SOURCE_UNAVAILABLE, True),  # connection_exception
    "3F": (Failure.DATASET_INVALID, False),  # invalid_schema_name
    "42": (Failure.DATASET_INVALID, False),  # syntax_error_or_access_rule_violation: no such table, column, function
    "53": (Failure.SOURCE_UNAVAILABLE, True),  # insufficient_resources
    "58": (Failure.SOURCE_UNAVAILABLE, True),  # system_error
}
_ADVICE: dict[str, str] = {
    "25006": "Exports only read: the dataset's query, or a function that it calls, tries to write",
    "40001": "A read-only snapshot meets it on a standby alone, where what the primary changed cancels readers",
    "53100": "The server's disk is full: free some of it, or let the query sort and join less",
    "53400": "The query needs more temporary space than temp_file_limit allows: raise it for the role, or sort less",
}
"""What to do, for states whose names alone do not say it."""
_TWICE: dict[str, tuple[Failure, str]] = {
    "40001": (
        Failure.SOURCE_QUERY_FAILED,
        (
            "The standby cancelled the reading a second time, because of what the primary changed (40001). Set"
            " hot_standby_feedback = on there, raise max_standby_streaming_delay, or export at a quieter hour."
        ),
    ),
}
"""States that may pass once, and what they are the second time."""
_SPEAKS_OF_NAMES = frozenset({"08", "28", "3D", "3F", "42", "53", "57"})

# Errors of libpq before the server gives an SQLSTATE; texts of fe-connect.c, fe-secure-openssl.c and of the server's
# FATAL messages, which psycopg passes on without their SQLSTATE.
_CONNECTING: tuple[tuple[str, Failure, bool], ...] = (
    (r"password authentication failed", Failure.SOURCE_AUTHENTICATION_FAILED, False),
    (r"authentication failed", Failure.SOURCE_AUTHENTICATION_FAILED, False),
    (r"no password supplied", Failure.SOURCE_AUTHENTICATION_FAILED, False),
    (r"no pg_hba\.conf entry", Failure.SOURCE_AUTHENTICATION_FAILED, False),
    (r"role .* (does not exist|is not permitted to log in)", Failure.SOURCE_AUTHENTICATION_FAILED, False),
    (r"database .* does not exist", Failure.SOURCE_NOT_FOUND, False),
    (r"permission denied for database", Failure.SOURCE_ACCESS_DENIED, False),
    (
        r"server does not support SSL|certificate verify failed|root certificate file|server certificate for",
        Failure.SOURCE_AUTHENTICATION_FAILED,
        False,
    ),
    (r"unsupported frontend protocol", Failure.SOURCE_NOT_FOUND, False),
)
MAX_MESSAGE = 400  # characters of PostgreSQL's own message that are passed on


class TooLargeMarker:
    """How a query says that a value exceeds the limit: by failing on a text that no column can hold by chance."""

    PREFIX = "export-runner/value-too-large/"
    PATTERN = re.compile(re.escape(PREFIX) + r"(\d{1,4})/(\d{1,10})(?!\d)")


def from_psycopg(
    error: Error, *, relation: Relation | None = None, columns: tuple[str, ...] = (), rows: int = 0
) -> ExportError:
    """The failure for an error of psycopg. `relation`, `columns` and `rows` read so far let it name the place."""
    state = error.sqlstate
    primary = error.diag.message_primary or ""
    if state is None:
        return _connecting(str(error)) if isinstance(error, OperationalError) else _lost(error)
    found = TooLargeMarker.PATTERN.search(primary) if state.startswith("22") else None
    if found and int(found[1]) < len(columns):  # else a row holds that text, to mislead us
        column, size = columns[int(found[1])], int(found[2])
        return ExportError(
            Failure.VALUE_TOO_LARGE,
            f"A value of column {column!r} after row {rows:,} has {size:,} bytes, more than maxValueBytes allows.",
        )
    default = (Failure.SOURCE_QUERY_FAILED, False)
    failure, transient = _BY_STATE.get(state) or _BY_CLASS.get(state[:2]) or default
    of_names = state[:2] in _SPEAKS_OF_NAMES and primary and not error.diag.context
    said = f": {primary[:MAX_MESSAGE]}" if of_names else ""
    advice = _locked(relation) if state == "55P03" else _ADVICE.get(state, "")
    return ExportError(
        failure,
        f"PostgreSQL reports {_condition(state)} ({state}){said}.{f' {advice}.' if advice else ''}",
        transient=transient,
        lasting=ExportError(*_TWICE[state]) if state in _TWICE else None,
    )


def _locked(relation: Relation | None) -> str:
    table = f"{relation.schema}.{relation.table}" if relation else "a table that the query reads"
    return (
        f"Somebody holds ACCESS EXCLUSIVE on {table}"
        " (ALTER TABLE, TRUNCATE, VACUUM FULL and the like; pg_locks shows who): export when that has ended"
    )


def _condition(state: str) -> str:
    try:
        name = errors.lookup(state).__name__
    except KeyError:
        return "an error"
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()


def _connecting(text: str) -> ExportError:
    # libpq indents what explains the line before.
    lines = [line.strip().rstrip(".") for line in text.splitlines() if line.strip() and not line.startswith("\t")]
    last = lines[-1] if lines else "connection failed"
    for pattern, failure, transient in _CONNECTING:
        if re.search(pattern, text):
            return ExportError(failure, f"PostgreSQL: {last[:MAX_MESSAGE]}.", transient=transient)
    return ExportError(
        Failure.SOURCE_UNAVAILABLE, f"PostgreSQL cannot be reached: {last[:MAX_MESSAGE]}.", transient=True
    )


def _lost(error: Error) -> ExportError:
    return ExportError(
        Failure.SOURCE_UNAVAILABLE, f"The connection to PostgreSQL failed ({type(error).__name__}).", transient=True
    )
