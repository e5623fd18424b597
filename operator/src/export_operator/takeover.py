"""Before the first admission: the slots are made to agree with the Jobs that are there."""

from __future__ import annotations

import logging

from export_operator.adapters.cluster import Cluster
from export_operator.adapters.kube import ApiError
from export_operator.adapters.ledger import Ledger
from export_operator.adapters.runs import Runs
from export_operator.domain import takeover
from export_operator.domain.model import parse_request
from export_operator.domain.pages import Entry
from export_operator.store import Store

log = logging.getLogger(__name__)

Entries = tuple[Entry, ...]


async def take_over(store: Store, runs: Runs, ledger: Ledger, cluster: Cluster) -> None:
    """A Job that may have a pod gets its slot back; a slot is freed when the API server knows neither Job nor request
    of its run. Raises `ApiError`, `LedgerError`."""
    held = ledger.slots()
    jobs = runs.all()
    requests = [parse_request(store.requests[job.request]) for job in jobs if job.request in store.requests]
    missing = takeover.without_slot(jobs, held, {request.run: request for request in requests})
    known = {job.run for job in jobs}
    abandoned = [run for run, entry in held.items() if run not in known and await _abandoned(entry, runs, cluster)]
    if not missing and not abandoned:
        return
    log.warning("slots: %d runs get theirs back, %d are of nobody and are freed", len(missing), len(abandoned))

    def change(entries: Entries) -> tuple[Entries, None]:
        present = {entry.run for entry in entries}
        kept = tuple(entry for entry in entries if entry.run not in abandoned)
        return (*kept, *(entry for entry in missing if entry.run not in present)), None

    await ledger.change_slots(change)


async def _abandoned(entry: Entry, runs: Runs, cluster: Cluster) -> bool:
    try:
        document = await cluster.request(entry.request)
    except ApiError as error:
        if error.status != 403:
            raise
        return False  # in that namespace nothing may be read: nobody else shall wait for that
    if document is not None and parse_request(document).run == entry.run:
        return False
    return await runs.job(entry.run, confirm=True) is None
