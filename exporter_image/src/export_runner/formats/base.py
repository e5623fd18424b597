"""What a format is, and how one is found."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias, cast

from export_contract.failures import Failure
from export_contract.runspec import Output
from export_runner.errors import ExportError
from export_runner.frames.blocks import Block, Bytes
from export_runner.frames.kinds import Field

if TYPE_CHECKING:
    from export_runner.frames.decoder import Column

GROUP = "export_runner.formats"
USUAL_BLOCK = 4 * 1024 * 1024
"""Bytes of rows that end a block where none are asked for: ADR 0004."""
LINES_BLOCK = 2 * 1024 * 1024
"""The same for lines: nothing is gained by larger ones, and they take memory in each stage."""
Resumes: TypeAlias = Literal["Blocks", "Objects"]


class Format(ABC):
    """Encodes one object. Its bytes are those of `header`, of each `block` in order, and of `footer`.

    What a block becomes depends on its rows and on the blocks before it, never on when or in what pieces they arrived.
    """

    content_type: ClassVar[str]
    compresses_inside: ClassVar[bool] = False
    """True: the format applies the compression itself, and the object's bytes are left as they are."""
    whole_blocks: ClassVar[bool] = False
    """False: `block` may be given a block's rows in several calls, and their bytes follow each other."""
    usual_block: ClassVar[int] = USUAL_BLOCK
    """What `block_bytes` is where nobody asks."""
    resumes: ClassVar[Resumes] = "Blocks"
    """Blocks: what a block becomes depends on itself alone, and on whether it is the object's first. A format that was
    never asked for its `header` goes on in an object whose first block another process has sent."""

    def __init__(self, fields: Sequence[Field], output: Output) -> None:
        """Raises `ExportError` when the columns cannot be held, before the first row is read."""
        self._fields = tuple(fields)
        self._output = output
        self.nulled: Counter[str] = Counter()
        """Values that the format has no place for and that became NULL, counted by the column's name."""

    @classmethod  # noqa: B027 - many need nothing more
    def prepare(cls) -> None:
        """Loads what encoding takes, while the first rows are on their way. Called on a thread of its own."""

    @classmethod
    def reads(cls, fields: Sequence[Field], output: Output) -> tuple[Field, ...]:
        """The columns as they are to be read: those that must come as PostgreSQL's own text are marked `as_text`."""
        del output
        return tuple(fields)

    @classmethod
    def block_bytes(cls, asked: int, fields: Sequence[Field]) -> int:
        """Bytes of rows that end a block, where so many are asked for: at least as many. 0: nobody asks."""
        del fields
        return asked or cls.usual_block

    @classmethod
    def media_type(cls, output: Output) -> str:
        """Of what the format writes, before any compression around it."""
        del output
        return cls.content_type

    def header(self) -> bytes:
        """What stands before the first row."""
        return b""

    def compiled(self, block: Block) -> list[Bytes] | None:
        """The very bytes that `block` makes of all its rows, by a faster way; None where there is none.

        Raises `CorruptCopy`.
        """
        del block
        return None

    @abstractmethod
    def block(self, columns: Sequence[Column]) -> bytes:
        """The rows of a block. Raises `ExportError` (ValueNotRepresentable) that names the column."""

    def footer(self) -> bytes:
        """What stands after the last row."""
        return b""

    def no_place(self, field: Field, count: int, what: str) -> None:
        """Counts values of a column as NULL, if they are to be that. Raises `ExportError` (ValueNotRepresentable) else.

        `what` they are, and why they have no place, ends "Column … holds".
        """
        if self._output.on_unrepresentable != "Null":
            raise ExportError(
                Failure.VALUE_NOT_REPRESENTABLE,
                f"Column {field.name!r} ({field.type_name}) holds {what}. Deliver such columns as text"
                " (onUnrepresentable: ColumnAsText) or such values as NULL (Null), or choose CSV.",
            )
        self.nulled[field.name] += count


@cache  # looking through what is installed takes milliseconds
def load(name: str) -> type[Format]:
    """The format of that name. Raises `ExportError` (InvalidRunSpec) when none is installed."""
    for entry in entry_points(group=GROUP, name=name):
        return cast("type[Format]", entry.load())
    known = ", ".join(sorted({entry.name for entry in entry_points(group=GROUP)}))
    raise ExportError(Failure.INVALID_RUN_SPEC, f"No format {name!r} is installed; known: {known}.")
