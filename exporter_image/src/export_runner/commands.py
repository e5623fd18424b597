"""What `export-runner` does besides `run`: look after exports that went to the fallback."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import _SubParsersAction


def add(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the commands. Each sets `function`, which gives the exit code."""
    tables = commands.add_parser(
        "artifact-tables",
        help="print the SQL of the fallback's tables",
        description="Prints the SQL that creates the fallback's tables, for whoever may create them.",
    )
    tables.add_argument("--schema", default="public", help="where they are; default: %(default)s")
    tables.set_defaults(function=_tables)


def _tables(options: argparse.Namespace) -> int:
    from export_runner.sinks.tables import script

    print(script(options.schema).as_string(None), end="")
    return 0
