"""What a run that is over has used of its windows, and which ends do not count."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from export_operator.domain.model import TERMINAL_PHASES, Named, Request
from export_operator.domain.policy import select
from export_operator.domain.quota import Settlement
from export_operator.domain.status import ended_as

PREFLIGHT = "Preflight"


def settlement(request: Request, refund_on: Collection[str]) -> Settlement:
    """How the ended run that status speaks of, and which was launched, is settled: rows and bytes to what was
    delivered, nothing where nothing was. Its place is given back only after a failure of a class in `refund_on`, or
    after a refusal before the first row if Preflight is in it; whoever cancels or deletes a request gets nothing back,
    unless Kueue never let it begin."""
    status, run = request.status, str(request.status.get("run") or request.run)
    result, failure = status.get("result"), status.get("failure") or {}
    if status.get("adopted"):
        return Settlement(run, refunded=True)  # somebody has reserved for it who did not know: it has used nothing
    if result:
        return Settlement(run, rows=result.get("rows"), bytes=result.get("bytes"))
    forgiven = failure.get("class") in refund_on or (bool(failure.get("preflight")) and PREFLIGHT in refund_on)
    never_began = status.get("attempts") == 0
    return Settlement(run, never_began or (ended_as(status) == "Failed" and forgiven), rows=0, bytes=0)


def superseded(request: Request | None, run: str, policies: Mapping[str, Named]) -> Settlement:
    """How a run is settled that is not its request's any more: the request (None: it is gone) was made anew, or wants
    another run. All that was reserved counts, unless status still tells how the run ended."""
    if request is None or request.status.get("run") != run or request.phase not in TERMINAL_PHASES:
        return Settlement(run)
    return settlement(request, select(policies, request).refund_on)
