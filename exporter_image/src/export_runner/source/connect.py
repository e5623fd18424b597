"""The connection to PostgreSQL. Seconds throughout."""

from __future__ import annotations

import os
from collections.abc import Mapping

import psycopg

from export_contract import environment
from export_contract.failures import Failure
from export_contract.runspec import Source
from export_runner.errors import ExportError
from export_runner.source.errors import from_psycopg

SSL_MODES: Mapping[str, str] = {
    "Disable": "disable",
    "Prefer": "prefer",
    "Require": "require",
    "VerifyCA": "verify-ca",
    "VerifyFull": "verify-full",
}
CONNECT_TIMEOUT = 5
"""One try's; libpq takes whole seconds and at least 2. A silent host is given up after 27 s."""
APPLICATION_NAME = "export-runner"

# A peer that went away without a word is noticed within about 25 s, and unsent data within 30 s.
_KEEPALIVE = {
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}

Connection = psycopg.Connection[tuple[object, ...]]


def connect(source: Source, variables: Mapping[str, str] | None = None) -> Connection:
    """One try. Raises `ExportError`. Credentials come from the environment; they are in no message."""
    variables = os.environ if variables is None else variables
    user = variables.get(environment.PG_USER, "")
    if not user:
        raise ExportError(Failure.SOURCE_AUTHENTICATION_FAILED, f"{environment.PG_USER} is not set.")
    options: dict[str, str | int] = {
        "host": source.host,
        "port": source.port,
        "dbname": source.database,
        "user": user,
        "sslmode": SSL_MODES[source.ssl_mode],
        "gssencmode": "disable",
        "connect_timeout": CONNECT_TIMEOUT,
        "application_name": APPLICATION_NAME,
        **_KEEPALIVE,
    }
    for option, variable in (("password", environment.PG_PASSWORD), ("sslrootcert", environment.PG_SSL_ROOT_CERT)):
        if value := variables.get(variable):
            options[option] = value
    try:
        connection = psycopg.connect(**options, autocommit=True, prepare_threshold=None)  # type: ignore[arg-type]
    except psycopg.Error as error:
        raise from_psycopg(error) from None
    connection.add_notice_handler(lambda _notice: None)
    return connection
