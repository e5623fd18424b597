"""What suspending means for a run: whether it will go on where it was or begin anew, and how that is told."""

from __future__ import annotations

from export_operator.domain import pod_ends, status
from export_operator.domain.actions import Action
from export_operator.domain.turn import Turn


def stopped(turn: Turn) -> bool:
    """No pod of the run is at work any more."""
    return all(pod.over for pod in turn.seen.pods)


def kept_rows(turn: Turn) -> int | None:
    """Rows that the next attempt would go on behind; None when it would begin at the first row. The exporter's word,
    which may be a moment old when its pod was killed: another attempt finds that, or more."""
    if stopped(turn):
        ended = [pod for pod in (*turn.seen.pods, *turn.seen.gone) if pod.exit_code is not None]
        last = max(ended, key=lambda pod: (pod.finished or pod.created, pod.name), default=None)
        told = None if last is None else pod_ends.read_outcome(last, turn.run)
        if told is not None:
            return told.checkpoint_rows
    elif turn.seen.progress is not None:
        return turn.seen.progress.checkpoint_rows
    known: int | None = (turn.known.get("progress") or {}).get("checkpointRows")
    return known


def suspend(turn: Turn, document: status.Document, first: str = "") -> None:
    """The run is suspended. `first` is what comes before it goes on, once it is let."""
    let = f"set spec.suspend to false to let it {first}"
    document.halt()
    if not stopped(turn):
        text = "suspended; its pod is being stopped"
    elif rows := kept_rows(turn):
        before = document.fields.get("progress") or {}
        document.fields["progress"] = before | {"rows": max(rows, before.get("rows") or 0), "checkpointRows": rows}
        text = f"suspended at row {rows}; {let}go on behind that row"
    else:
        if before := document.fields.get("progress"):
            document.fields["progress"] = {name: value for name, value in before.items() if name != "checkpointRows"}
        text = f"suspended; {let}begin anew, from the first row: {_why_anew(document)}"
    document.condition("Suspended", True, "Suspended", text)
    document.queue("Suspended", text)


def told(turn: Turn) -> tuple[Action, ...]:
    """The Event of it, once."""
    return turn.event("Normal", "Suspended", "suspended by spec.suspend; no deadline counts meanwhile")


def going_on(turn: Turn, document: status.Document) -> str:
    """Whether the run that is let go on will go on where it was."""
    if not turn.request.launched:
        return "it is let go on"
    if rows := kept_rows(turn):
        return f"it goes on behind row {rows}"
    return f"it begins anew, from the first row: {_why_anew(document)}"


def went_on(turn: Turn, document: status.Document) -> None:
    """The attempt after a suspension is under way: what it really did counts, as soon as it has rows."""
    progress = turn.seen.progress
    if progress is not None and progress.rows and document.has_condition("Suspended"):
        rows = progress.resumed_rows
        text = f"it went on behind row {rows}" if rows else "it began anew, from the first row"
        document.condition("Suspended", False, "Resumed", text)


def _why_anew(document: status.Document) -> str:
    effective = document.fields.get("effective") or {}
    if effective.get("consistency") == "Snapshot":
        return "with consistency: Snapshot all rows are of one moment, which has passed"
    if effective.get("resume") == "Never":
        return "with resume: Never no checkpoint is kept"
    return "no checkpoint was kept"
