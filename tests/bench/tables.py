"""The benchmark's tables: what each is for, how many rows it has, and how it is made.

    with host.postgres_server(settings=tables.SETTINGS) as server:
        tables.load(server, "users", 5_000_000)
        tables.load(server, "narrow", 5_000_000)

The scale is the number of rows of `users`; `rows_of` says what the others have at it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import templates
from tests.services import data

SCALE = 5_000_000
"""Rows of `users` in a full run: the goals are set for so many."""
SQL = Path(__file__).resolve().parent / "tables.sql"

SETTINGS: Mapping[str, str] = {
    "autovacuum": "off",
    "checkpoint_timeout": "1h",
    "maintenance_work_mem": "256MB",
    "max_wal_size": "16GB",
    "shared_buffers": "2GB",
    "work_mem": "64MB",
}
"""Over those of `tests.services.host`. Nothing but the contestants makes the server work while they are measured."""


@dataclass(frozen=True, slots=True)
class Table:
    """`share` of the scale are its rows; `columns` in order, `key` is its primary key."""

    name: str
    title: str
    share: float
    columns: tuple[str, ...]
    key: str = "id"

    def rows(self, scale: int) -> int:
        return max(1, round(self.share * scale))


TABLES: Mapping[str, Table] = {
    table.name: table
    for table in (
        Table("users", "users: 13 columns, about 330 bytes a row", 1, data.COLUMNS),
        Table("users_small", "the first fifth of users", 0.2, data.COLUMNS),
        Table("users_shuffled", "a fifth of users, shuffled on disk", 0.2, data.COLUMNS),
        Table("narrow", "narrow: 4 integers", 1, ("a", "b", "c", "d"), key="a"),
        Table("wide", "wide: 120 columns", 0.02, ("id", *(f"c{number}" for number in range(1, 120)))),
        Table("large_values", "values of 1 MiB", 0.0001, ("id", "document")),
    )
}
"""`users` comes first, since two others are made of it."""


def load(database: data.Database, name: str, scale: int = SCALE) -> int:
    """Make the table, replacing one that exists, ready to be read; the number of its rows, as the server counts.

    `users_small` and `users_shuffled` need `users`.
    """
    rows = TABLES[name].rows(scale)
    if name == "users":
        made = data.load_users(database, rows)
    else:
        database.psql(f"DROP TABLE IF EXISTS {name};\n{templates.render(_scripts()[name], {'ROWS': str(rows)})}")
        made = int(database.psql(f"SELECT count(*) FROM {name}"))
    # Hint bits are set and statistics are there before anyone is measured.
    database.psql(f"VACUUM (FREEZE, ANALYZE) {name}")
    return made


def _scripts() -> dict[str, str]:
    """The file's parts by the name that their first line gives."""
    _, *parts = re.split(r"^-- name: (\w+)\n", SQL.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))
