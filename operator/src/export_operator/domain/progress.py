"""`status.progress`: how far a run is, never backwards, and when it may be done."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from export_contract.report import Progress
from export_operator.domain import times

WRITE_SECONDS = 10  # a running pod costs at most one status write in this time
WRITE_PERCENT = 1  # and none at all for less than this
COMPLETION = "estimatedCompletionTime"
FORESEEN = timedelta(days=366)  # a guess at what is later says nothing


def progress_status(
    before: Mapping[str, Any] | None, progress: Progress | None, now: datetime
) -> Mapping[str, Any] | None:
    """The progress to write: the old one unless the new one is ahead of it, old enough and far enough. Never backwards:
    a second attempt begins at row 0, and shows itself only when it passes the first. An end that was foreseen and has
    passed is told no longer."""
    if progress is None:
        return before
    percent = None
    if progress.estimated_rows:
        # An estimate is a guess: 100 is for those who have finished.
        percent = min(99, progress.rows * 100 // progress.estimated_rows)
    if before is not None:
        written = times.parse(before.get("heartbeatTime"))
        recent = written is not None and (now - written).total_seconds() < WRITE_SECONDS
        rows, known = before.get("rows", 0), before.get("percent")
        small = (progress.rows - rows) * 100 < WRITE_PERCENT * (progress.estimated_rows or 0)
        if recent:
            return before
        if progress.rows <= rows or small:
            return unforeseen(before) if _past(before, now) else before
        if known is not None:
            percent = max(percent or 0, known)  # an estimate that has grown takes nothing back
    rate = _rate(progress)
    found: dict[str, Any] = {
        "rows": progress.rows,
        "bytes": max(progress.bytes, (before or {}).get("bytes", 0)),
        "rowsPerSecond": int(rate),
        "heartbeatTime": times.render(now),
    }
    if progress.estimated_rows is not None:
        found["estimatedRows"] = progress.estimated_rows
        found["estimateSource"] = progress.estimate_source
    if percent is not None:
        found["percent"] = percent
    if (completion := _completion(progress, rate, now)) is not None:
        found[COMPLETION] = times.render(completion)
    marks = {"resumedRows": progress.resumed_rows, "checkpointRows": progress.checkpoint_rows}
    return found | {name: rows for name, rows in marks.items() if rows is not None}


def unforeseen(progress: Mapping[str, Any]) -> dict[str, Any]:
    """Without the end that was foreseen."""
    return {name: value for name, value in progress.items() if name != COMPLETION}


def _past(progress: Mapping[str, Any], now: datetime) -> bool:
    """The end that was foreseen has passed."""
    foreseen = times.parse(progress.get(COMPLETION))
    return foreseen is not None and foreseen < now


def _rate(progress: Progress) -> float:
    """Rows a second of the present attempt, its start included: those that it went on behind were there before."""
    return max(0, progress.rows - (progress.resumed_rows or 0)) / max(progress.elapsed_seconds, 0.001)


def _completion(progress: Progress, rate: float, now: datetime) -> datetime | None:
    """When the last row is there, if the rate stays and the estimate is right; None when it has proved wrong, or there
    is none, or it says nothing."""
    missing = (progress.estimated_rows or 0) - progress.rows
    if missing <= 0 or rate * FORESEEN.total_seconds() < missing:
        return None
    return now + timedelta(seconds=missing / rate)
