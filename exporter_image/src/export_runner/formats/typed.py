"""Columns with types of their own: what Parquet and Arrow share.

What the types cannot hold is refused by the column's name, unless the run asks otherwise: infinite dates and times,
times whose microseconds since 1970 do not fit into 64 bits, NaN in `numeric(p, s)`. numeric without precision, or of
more than 38 digits, is text from the start, as are all types without a counterpart.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from export_contract.failures import Failure
from export_contract.runspec import Output
from export_runner.errors import ExportError
from export_runner.formats.base import Format
from export_runner.frames.blocks import Block, Bytes
from export_runner.frames.kinds import Field, may_not_fit

if TYPE_CHECKING:  # it takes a tenth of a second to load: see `prepare`
    import polars as pl

    from export_runner.formats.typed_frames import Frames
    from export_runner.frames.compiled import Viewed
    from export_runner.frames.decoder import Column


class Written:
    """A file as it is written: its pieces, none of them copied."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self.size = 0

    def write(self, data: bytes) -> int:
        self._pieces.append(data)
        self.size += len(data)
        return len(data)

    def flush(self) -> None:
        """There is nothing to flush."""

    def between(self, start: int, end: int) -> list[Bytes]:
        """The bytes from `start` to before `end`."""
        found, at = list[Bytes](), 0
        for piece in self._pieces:
            cut = memoryview(piece)[max(0, start - at) : max(0, end - at)]
            if cut:
                found.append(cut)
            at += len(piece)
        return found

    def read(self, start: int, end: int) -> bytes:
        return b"".join(self.between(start, end))


class TypedFormat(Format):
    """Makes frames of blocks. Every column may hold NULL, as any column of a query may."""

    name: ClassVar[str]
    """As messages say it."""
    compresses_inside: ClassVar[bool] = True
    whole_blocks: ClassVar[bool] = True

    def __init__(self, fields: Sequence[Field], output: Output) -> None:
        super().__init__(fields, output)
        names = [field.name for field in fields]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ExportError(
                Failure.VALUE_NOT_REPRESENTABLE,
                f"{self.name} has no two columns of one name; {twice!r} is there twice.",
            )

    @classmethod
    def prepare(cls) -> None:
        import export_runner.formats.typed_frames  # noqa: F401 - with polars

    @classmethod
    def reads(cls, fields: Sequence[Field], output: Output) -> tuple[Field, ...]:
        if output.on_unrepresentable != "ColumnAsText":
            return tuple(fields)
        return tuple(replace(field, as_text=True) if may_not_fit(field) else field for field in fields)

    @abstractmethod
    def file(self, frame: pl.DataFrame) -> Written:
        """The frame as a small file of its own."""

    @abstractmethod
    def taken(self, file: Written) -> list[Bytes]:
        """What the object takes over of it, as its next rows."""

    def block(self, columns: Sequence[Column]) -> bytes:
        return b"".join(self.taken(self.file(self.frame(columns))))

    def compiled(self, block: Block) -> list[Bytes] | None:
        from export_runner.frames import compiled, native

        if native.library() is None:
            return None
        # Step by step, so that each is given back when the next is made of it.
        return self.taken(self.file(self.frame(compiled.decode(block, self._fields))))

    def frame(self, columns: Sequence[Column | Viewed]) -> pl.DataFrame:
        """The rows with their types. Raises `ExportError` for a value that its type cannot hold."""
        return self._frames.frame(columns)

    def empty(self) -> pl.DataFrame:
        """The columns without rows."""
        return self._frames.empty()

    @cached_property
    def _frames(self) -> Frames:
        from export_runner.formats.typed_frames import Frames

        return Frames(self._fields, self._no_value)

    def _no_value(self, field: Field, count: int, what: str) -> None:
        self.no_place(field, count, f"{what}, which its {self.name} type has no value for")
