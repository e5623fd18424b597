"""What a format is, and how one is found."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import entry_points
from typing import ClassVar, Protocol, cast

from export_contract.failures import Failure
from export_contract.runspec import Compression
from export_runner.errors import ExportError
from export_runner.frames.decoder import Column
from export_runner.frames.kinds import Field

GROUP = "export_runner.formats"


class Format(Protocol):
    """Encodes one export. The bytes are those of `header`, of each `block` in order, and of `footer`.

    What a block becomes may depend on the rows before it, never on when or in what pieces they arrived.
    """

    content_type: ClassVar[str]
    compresses_inside: ClassVar[bool]
    """True: the format applies the compression itself, and the object's bytes are left as they are."""
    whole_blocks: ClassVar[bool]
    """False: `block` may be given a block's rows in several calls, and their bytes follow each other."""

    def __init__(self, fields: Sequence[Field], compression: Compression) -> None:
        """Raises `ExportError` when the columns cannot be held, before the first row is read."""

    def header(self) -> bytes:
        """What stands before the first row."""

    def block(self, columns: Sequence[Column]) -> bytes:
        """The rows of a block. Raises `ExportError` (ValueNotRepresentable) that names the column."""

    def footer(self) -> bytes:
        """What stands after the last row."""


def load(name: str) -> type[Format]:
    """The format of that name. Raises `ExportError` (InvalidRunSpec) when none is installed."""
    for entry in entry_points(group=GROUP, name=name):
        return cast("type[Format]", entry.load())
    known = ", ".join(sorted({entry.name for entry in entry_points(group=GROUP)}))
    raise ExportError(Failure.INVALID_RUN_SPEC, f"No format {name!r} is installed; known: {known}.")
