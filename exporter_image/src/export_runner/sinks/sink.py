"""What a run speaks to: somewhere that takes encoded parts and, at the end, a manifest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from export_contract.manifest import Manifest, ObjectRef
from export_contract.report import Delivered
from export_runner.checkpoint import Checkpoint, Terms
from export_runner.sinks.parts import Part, Whole


class Sink(Protocol):
    """One attempt's way out. Nothing counts before `commit`, nothing is left after `abort`.

    `find`, then `begin`, `send` for each part, `complete`, `commit`; or `abort` at any point. All but `abort` raise
    `ExportError` and `Stopped`.
    """

    def find(self) -> Delivered | None:
        """What an earlier attempt of this run delivered; None when there is nothing, or nothing whole."""

    def begin(self) -> None:
        """Opens the way for parts. Also the preflight: what may not be written is found out here."""

    def send(self, part: Part) -> None:
        """Called from several threads at once; parts may come in any order."""

    def complete(self, wholes: Sequence[Whole]) -> tuple[ObjectRef, ...]:
        """All parts of all objects were sent: makes the objects whole, and tells of each as it is stored."""

    def commit(self, manifest: Manifest) -> Delivered:
        """Writes the manifest, which makes the export official."""

    def abort(self) -> bool:
        """Takes back what can be taken back, without retries and without raising; True if nothing is left."""


@runtime_checkable
class Resumable(Protocol):
    """What a sink also offers whose work another process can go on with."""

    def settle(self, terms: Terms | None) -> Checkpoint | None:
        """After `begin` and before the first part: where to go on from, None at the first row."""

    def probe(self) -> tuple[str, ...]:
        """Before a long way: tries each kind of call that it ends with. What may not be done, but need not, as
        sentences. Raises `ExportError` for what must be done, `Stopped`."""

    def hold(self) -> bool:
        """Instead of `abort`: leaves things for another process. False when there is no way to."""

    def kept(self) -> int | None:
        """Rows that another process would go on behind; None when it would begin anew. From any thread."""
