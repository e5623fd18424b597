"""The formats that the suite is run for: all of the entry point group, and the example of a plug-in.

A new format needs a line in `READERS`: a reader that shares no code with it, giving rows of texts as PostgreSQL's input
functions take them, None for NULL.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points

from export_runner.formats.base import GROUP, Format, load
from tests.integration.exporter import readers
from tests.integration.exporter.formats.tsv import TsvFormat
from tests.services.host import PostgresServer

Read = Callable[[bytes, PostgresServer], readers.Rows]


@dataclass(frozen=True)
class Subject:
    name: str
    format: type[Format]
    read: Read


def _json(data: bytes, postgres: PostgresServer) -> readers.Rows:
    return [
        tuple(readers.value_of_json(value, raw=False) for value in row) for row in readers.json_rows(data, postgres)
    ]


_UNESCAPED = {"\\t": "\t", "\\n": "\n", "\\r": "\r", "\\\\": "\\"}


def _tsv(data: bytes, _postgres: PostgresServer) -> readers.Rows:
    return [
        tuple(
            None if cell == "\\N" else re.sub(r"\\.", lambda match: _UNESCAPED[match[0]], cell)
            for cell in line.split("\t")
        )
        for line in data.decode().split("\n")[:-1]
    ]


READERS: dict[str, Read] = {
    "CSV": lambda data, _: readers.csv(data),
    "NDJSON": _json,
    "JSON": _json,
    "Parquet": lambda data, _: readers.typed(readers.table("Parquet", data)),
    "ArrowStream": lambda data, _: readers.typed(readers.table("ArrowStream", data)),
}

INSTALLED = sorted(each.name for each in entry_points(group=GROUP))
SUBJECTS = [
    *(Subject(name, load(name), READERS[name]) for name in INSTALLED if name in READERS),
    Subject("TSV", TsvFormat, _tsv),
]
