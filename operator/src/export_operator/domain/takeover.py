"""What an operator that starts finds in the slots: they are made to agree with the Jobs before anybody is admitted."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from export_operator.domain.model import Job, Request
from export_operator.domain.pages import Entry


def without_slot(jobs: Iterable[Job], held: Collection[str], requests: Mapping[str, Request]) -> tuple[Entry, ...]:
    """Entries for the runs that may have a pod and hold no slot: whoever took it away was wrong, or the ledger was
    lost. `requests` are the known ones by run. A Job in a queue of Kueue needs no slot, and neither does a suspended
    one."""
    return tuple(
        _entry(job, requests.get(job.run))
        for job in jobs
        if job.run and job.run not in held and not (job.terminal or job.suspended or job.queue)
    )


def _entry(job: Job, request: Request | None) -> Entry:
    """What is known of the run: of a source that nobody knows no limit is enforced."""
    effective = (request.status.get("effective") or {}) if request is not None else {}
    return Entry(
        run=job.run,
        request=job.request,
        uid=job.request_uid,
        time=job.created,
        user=job.requester,
        source=str(effective.get("source") or ""),
        destination=str(effective.get("destination") or ""),
        policy=str(effective.get("policy") or ""),
    )
