"""How the operator connects to a PostgreSQL, whatever it is for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

CONNECT_SECONDS = 5
APPLICATION = "export-operator"
SSL_MODES: Mapping[str, str] = {
    "VerifyFull": "verify-full",
    "VerifyCA": "verify-ca",
    "Require": "require",
    "Prefer": "prefer",
    "Disable": "disable",
}
"""As libpq names them; the first is the default of the history."""
USERNAME, PASSWORD, AUTHORITY = "username", "password", "ca.crt"
"""Keys of a Secret, or files of a directory made of one."""


def options(
    *,
    host: str,
    port: int,
    database: str,
    ssl_mode: str,
    user: str,
    password: str,
    authority: Path | None,
    settings: Mapping[str, str],
) -> dict[str, Any]:
    """As libpq wants them. `settings` are the session's, over the role's own."""
    return {
        "host": host,
        "port": port,
        "dbname": database,
        "user": user,
        "password": password,
        "sslmode": SSL_MODES[ssl_mode],
        "gssencmode": "disable",
        "connect_timeout": CONNECT_SECONDS,
        "application_name": APPLICATION,
        "options": " ".join(f"-c {name}={value}" for name, value in settings.items()),
        **({"sslrootcert": str(authority)} if authority is not None else {}),
    }


def first_line(error: Exception) -> str:
    """What it says, as far as it may be told: what follows may quote a row."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
