"""The operator's part of a run's trace: told once, at the run's end, of what its status says by then.

So any replica that leads at the end tells all of it, and what a restart has interrupted is no gap. Times that this
process has seen are exact; of others the whole seconds that status keeps are told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from export_contract import names
from export_operator.domain import times
from export_operator.domain.model import TERMINAL_PHASES, Request

EXPORT = "export"
QUEUED, CREATING, CREATED = "queued", "creating", "created"
"""Moments of a run that status does not tell, or only in whole seconds: when it began to wait, and when its Job was
asked for and was there."""

SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """`run` and `name` give its id; `parent` is the name of another, empty for the first. `error`: the reason why what
    it stands for has failed."""

    run: str
    name: str
    parent: str = EXPORT
    began: datetime
    ended: datetime
    attributes: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""


def ends(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """A status is the first that tells the end of its run."""
    known = before.get("phase") in TERMINAL_PHASES and before.get("run") == after.get("run")
    return after.get("phase") in TERMINAL_PHASES and not known


def of_run(
    request: Request, told: Mapping[str, Any], moments: Mapping[str, datetime], now: datetime
) -> tuple[Span, ...]:
    """The spans of a run that has ended. `told` is the status that says so, `moments` is what this process saw of it,
    `now` is when it was written. The first span comes last."""
    run = str(told["run"])
    finished = times.parse(told.get("completionTime")) or now
    queued = moments.get(QUEUED) or times.parse(told.get("queuedTime"))
    created = moments.get(CREATED) or times.parse(told.get("startTime"))
    creating = moments.get(CREATING) or created
    admitted = creating or finished
    asked = request.created if not told.get("runID") else queued or admitted
    # Kubernetes tells whole seconds: the end was within the one that follows.
    ended = min(finished + SECOND, now)
    found = [_span(run, "admission", asked, admitted)]
    if queued is not None:
        found.append(_span(run, "queue", queued, admitted, parent="admission"))
    if creating is not None and created is not None and creating != created:
        found.append(_span(run, "create job", creating, created))
    if created is not None:
        found += [_span(run, names.RUN_SPAN, created, ended), _span(run, "closing", ended, now)]
    error = str(told.get("reason")) if told["phase"] in {"Failed", "Rejected"} else ""
    whole = _span(run, EXPORT, asked, now, parent="")
    return (*found, replace(whole, attributes=_attributes(request, told), error=error))


def _span(run: str, name: str, began: datetime, ended: datetime, *, parent: str = EXPORT) -> Span:
    """What the clocks of two machines make end before it began takes no time."""
    return Span(run=run, name=name, parent=parent, began=began, ended=max(began, ended))


def _attributes(request: Request, told: Mapping[str, Any]) -> dict[str, Any]:
    """Names, numbers and reasons. Not who asked, and no text that a person or a pod wrote freely."""
    effective, result = told.get("effective") or {}, told.get("result") or {}
    failure, adopted = told.get("failure") or {}, told.get("adopted") or {}
    found = {
        "k8s.namespace.name": request.key.namespace,
        "export.request": request.key.name,
        "export.run": told["run"],
        "export.phase": told["phase"],
        "export.reason": told.get("reason"),
        "export.attempts": told.get("attempts"),
        "export.policy": effective.get("policy"),
        "export.source": effective.get("source"),
        "export.dataset": effective.get("dataset"),
        "export.destination": effective.get("destination"),
        "export.format": effective.get("format"),
        "export.compression": effective.get("compression"),
        "export.rows": result.get("rows"),
        "export.bytes": result.get("bytes"),
        "export.used_fallback": result.get("usedFallback"),
        "export.adopted_run": adopted.get("run"),
        "export.failure_class": failure.get("class"),
        "error.type": failure.get("reason"),
    }
    return {name: value for name, value in found.items() if value is not None}
