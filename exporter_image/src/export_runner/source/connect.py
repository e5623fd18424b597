"""The connection to PostgreSQL. Seconds throughout."""

from __future__ import annotations

import os
from collections.abc import Mapping

import psycopg

from export_contract import environment
from export_contract.failures import Failure
from export_contract.runspec import Source
from export_runner.credentials import Files
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
USERNAME, PASSWORD = "username", "password"
"""Files of `environment.PG_CREDENTIALS_DIR`."""

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
    """One try. Raises `ExportError`. Credentials come from files or the environment; they are in no message."""
    variables = os.environ if variables is None else variables
    user, password = _credentials(variables)
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
    for option, value in (("password", password), ("sslrootcert", variables.get(environment.PG_SSL_ROOT_CERT))):
        if value:
            options[option] = value
    try:
        connection = psycopg.connect(**options, autocommit=True, prepare_threshold=None)  # type: ignore[arg-type]
    except psycopg.Error as error:
        raise _explained(from_psycopg(error), source.ssl_mode) from None
    connection.add_notice_handler(lambda _notice: None)
    return connection


def _credentials(variables: Mapping[str, str]) -> tuple[str, str]:
    """User and password: of the directory where one is named, else of the variables. Raises `ExportError`."""
    directory = variables.get(environment.PG_CREDENTIALS_DIR, "")
    if not directory:
        user = variables.get(environment.PG_USER, "")
        if not user:
            raise ExportError(Failure.SOURCE_AUTHENTICATION_FAILED, f"{environment.PG_USER} is not set.")
        return user, variables.get(environment.PG_PASSWORD, "")
    found = Files(directory, (USERNAME, PASSWORD)).read()
    if not found.get(USERNAME):
        raise ExportError(
            Failure.SOURCE_AUTHENTICATION_FAILED,
            f"The directory of {environment.PG_CREDENTIALS_DIR} has no readable file {USERNAME!r}.",
        )
    return found[USERNAME], found.get(PASSWORD, "")


def _explained(error: ExportError, mode: str) -> ExportError:
    """What a failed TLS handshake asks for. libpq's texts: fe-secure-openssl.c, fe-secure-common.c, fe-connect.c."""
    said = error.message
    if "server does not support SSL" in said:
        do = "turn on ssl at the server, or use another sslMode"
    elif "root certificate file" in said or "Either provide the file" in said:  # the last line of that message
        do = f"give the CA's certificate by {environment.PG_SSL_ROOT_CERT}"
    elif "certificate verify failed" in said:
        do = f"give the certificate of the CA that signed the server's by {environment.PG_SSL_ROOT_CERT}"
    elif "does not match host name" in said:
        do = "use a host name that the server's certificate has, or sslMode VerifyCA"
    else:
        return error
    return ExportError(error.failure, f"{said} sslMode is {mode}: {do}.", transient=error.transient)
