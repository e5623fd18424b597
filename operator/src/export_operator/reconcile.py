"""observe → decide → act, one request at a time. The decisions are in `domain`; here is only the order of calls."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from export_contract.manifest import Manifest
from export_contract.report import Progress
from export_operator.adapters.cells import LedgerError
from export_operator.adapters.cluster import Cluster, request_path
from export_operator.adapters.finder import Finder
from export_operator.adapters.kube import ApiError
from export_operator.adapters.ledger import Ledger
from export_operator.adapters.metrics import Metrics
from export_operator.adapters.runs import Runs
from export_operator.adapters.storage import StorageError
from export_operator.adapters.workloads import Workloads
from export_operator.cleaner import Cleaner
from export_operator.domain import actions, decide, lost, notices, refunds, starting
from export_operator.domain.identity import Enforcement, subject_of
from export_operator.domain.model import Job, Key, Pod, Request, parse_request
from export_operator.domain.notices import Notice
from export_operator.gates import Gates
from export_operator.history import Recorder
from export_operator.logs import concerning
from export_operator.queueing import Queueing
from export_operator.store import Document, Store
from export_operator.traces import Tracer

log = logging.getLogger(__name__)


class Reconciler:
    """Looks at one key at a time. `clock` gives the present moment in UTC."""

    def __init__(
        self,
        *,
        store: Store,
        runs: Runs,
        workloads: Workloads,
        ledger: Ledger,
        queueing: Queueing,
        finder: Finder,
        cluster: Cluster,
        cleaner: Cleaner,
        history: Recorder,
        traces: Tracer,
        settings: actions.Settings,
        gates: Gates,
        identity: Callable[[], Enforcement],
        progress: Callable[[str], Progress | None],
        recall: Callable[[Mapping[str, Any], str], Awaitable[list[Manifest]]],
        clock: Callable[[], datetime],
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._runs = runs
        self._workloads = workloads
        self._ledger = ledger
        self._queueing = queueing
        self._finder = finder
        self._cluster = cluster
        self._cleaner = cleaner
        self._history = history
        self._traces = traces
        self._settings = settings
        self._gates = gates
        self._identity = identity
        self._progress = progress
        self._recall = recall
        self._clock = clock
        self._metrics = metrics

    async def reconcile(self, key: Key) -> float | None:
        """Do what is to be done about `key` now; the answer is when to look again (seconds), None for "on change"."""
        document = self._store.requests.get(key)
        request = parse_request(document) if document is not None else None
        current = request.run if request is not None else ""
        concerning(key, current)
        self._ledger.forget(key)
        await self._clean_up(key, request)
        if request is None:
            self._gates.forget(key)
            self._queueing.withdraw(key)
            self._finder.forget(key)
            return None
        if request.finished:
            self._queueing.learn(request)
            self._finder.forget(key)
        try:
            seen = await self._observe(request, current)
            with self._metrics.deciding():
                decision = decide.decide(seen, self._settings, self._clock())
            return await self._act(seen, decision)
        except ApiError as error:
            if not (error.conflict or error.not_found):
                raise
            await self._refresh(key)  # somebody was faster: look at what is there now
            return 0.0

    async def _clean_up(self, key: Key, known: Request | None) -> None:
        """Jobs, slots and places in windows of runs that are no longer the request's: it is gone, was made anew, or
        wants a new run."""
        current = known.run if known is not None else ""
        jobs = [job for job in self._runs.jobs_of(key) if job.run != current and self._concerns(job, known)]
        entries = [entry for entry in self._ledger.slots_of(key) if entry.run != current]
        unsettled = [run for run in self._ledger.unsettled_runs(key) if run != current]
        if not jobs and not entries and not unsettled:
            return
        # A cache that lags must not end a run that another operator has just begun: the API server's word counts.
        present = await self._present(key)
        current = present.run if present is not None else ""
        for job in jobs:
            if job.run != current:
                gone = present is None or present.uid != job.request_uid
                pods = self._runs.known_pods(job.run)
                stranded = lost.lost(pods, await self._silent_nodes(pods), self._clock())
                for action in decide.orphaned(job, stranded, pod_lives=self._runs.lives(job), gone=gone).actions:
                    if isinstance(action, actions.DeleteJob | actions.Undo):
                        await self._history.part_with(job)
                    await self._perform(action)
        for entry in entries:
            if entry.run != current and not await self._works(entry.run):
                self._ledger.free_slot(entry.run)
        for run in unsettled:
            if run != current:  # soon, for whoever looks next may not know any more how it ended
                found = refunds.superseded(present, run, self._store.catalogue().policies)
                self._ledger.settle(found, soon=True)

    def _concerns(self, job: Job, known: Request | None) -> bool:
        """There is something to do about a Job of an earlier run: it does not wait for clean-up, or for the end of its
        request, already."""
        kept = job.complete and job.deletes_objects and known is not None and known.uid == job.request_uid
        return not (job.leaving or (kept and not self._runs.known_pods(job.run)) or self._cleaner.waits(job.run))

    async def _works(self, run: str) -> bool:
        """The run has a Job whose pods may be at work: one that only waits for clean-up holds no place."""
        job = await self._runs.job(run, confirm=True)
        return job is not None and (not (job.terminal or job.suspended) or self._runs.lives(job))

    async def _present(self, key: Key) -> Request | None:
        """The request as the API server has it now; None when it is gone."""
        document = await self._cluster.request(key)
        if document is None:
            return None
        known = self._store.requests.get(key)
        if known is None or known["metadata"]["resourceVersion"] != document["metadata"]["resourceVersion"]:
            self._store.put_request(document)
        return parse_request(document)

    async def _observe(self, request: Request, run: str) -> actions.Observation:
        open_run = not request.finished
        job = await self._runs.job(run, confirm=request.launched and open_run)
        pods: tuple[Pod, ...] = ()
        if job is not None:
            pods = await self._runs.pods_of(job) if open_run else self._runs.known_pods(run)
        robbed = job is None and request.launched and open_run
        if robbed:
            pods = self._runs.known_pods(run)
        gone = self._runs.gone(run)
        recent = () if job is None else starting.recent(job, gone, pods)
        return actions.Observation(
            request=request,
            catalogue=self._store.catalogue(),
            identity=self._identity(),
            job=job,
            pods=pods,
            gone=gone,
            log_tail=await self._log_tail(pods) if job is not None and job.failed and open_run else "",
            pod_lives=job is not None and self._runs.lives(job),
            undone=self._cleaner.undone((request.status.get("adopted") or {}).get("run") or run, objects=True),
            told=await self._notices(job, recent) if job is not None and open_run else (),
            silent_nodes=await self._silent_nodes(pods),
            sought=self._finder.answer(request.key, run),
            namespace_missing=robbed and await self._cluster.namespace_missing(),
            slot_held=run in self._ledger.slots(),
            unsettled=bool(self._ledger.unsettled(run)),
            unrecorded=self._history.unwritten(run),
            progress=self._progress(run),
            workloads_seen=self._workloads.seen,
            workload=self._workloads.of(job) if job is not None and job.queue else None,
            breakers=self._gates.breakers,
            waits=self._queueing.waits(request.key),
            queued=self._queueing.queued,
            forecast=self._queueing.forecast(request.key),
            tombstones=self._ledger.tombstones(subject_of(request)),
        )

    async def _log_tail(self, pods: Sequence[Pod]) -> str:
        """The end of the last attempt's log, for the dead letter."""
        ended = [pod for pod in pods if pod.exit_code is not None]
        last = max(ended, key=lambda pod: (pod.finished or pod.created, pod.name), default=None)
        return "" if last is None else await self._cluster.log_tail(last.name)

    async def _notices(self, job: Job, pods: Sequence[Pod]) -> tuple[Notice, ...]:
        uid = starting.unexplained(job, pods, self._clock())
        return await self._cluster.notices(uid) if uid else ()

    async def _silent_nodes(self, pods: Sequence[Pod]) -> frozenset[str]:
        nodes = {pod.node for pod in lost.overdue(pods, self._clock()) if pod.node}
        return frozenset([node for node in nodes if await self._cluster.silent(node)])

    async def _act(self, seen: actions.Observation, decision: actions.Decision, *, waits: bool = False) -> float | None:
        if not waits and not any(
            isinstance(action, actions.Recall | actions.Reserve | actions.TakeSlot | actions.Wait)
            for action in decision.actions
        ):
            self._queueing.withdraw(seen.request.key)
        for action in decision.actions:
            match action:
                case actions.Wait(subjects):
                    self._queueing.count(seen.request.key, subjects)
                case actions.Reserve() | actions.TakeSlot():
                    try:
                        after = await self._ask(seen, action)
                    except LedgerError as error:
                        if await self._cluster.namespace_missing():
                            return await self._no_namespace(seen)
                        text = f"quota cannot be checked, so nothing is admitted: {error}"
                        return await self._hold(seen, "LedgerUnavailable", text, waits=True)
                    return None if after is None else await self._act(seen, after)
                case actions.Recall():
                    return await self._act(seen, await self._recalled(seen, action))
                case actions.Hold(subject):
                    self._gates.hold(subject, seen.request.key)
                    self._queueing.step_aside(seen.request.key)
                case actions.WriteStatus(wanted):
                    await self._write_status(seen.request, wanted)
                case actions.Emit():
                    await self._cluster.emit(seen.request, action, self._clock())
                case actions.CreateJob(manifest, confirm):
                    if confirm:
                        await self._refresh(seen.request.key)
                        self._as_seen(seen.request)
                    self._traces.creating(seen.request.run)
                    try:
                        self._runs.put_job(await self._cluster.create_job(manifest))
                        self._traces.created(seen.request.run)
                    except ApiError as error:
                        return await self._no_job(seen, error)
                case actions.Seek():
                    self._finder.ask(action)
                case _:
                    await self._perform(action)
        return decision.requeue_after

    async def _no_job(self, seen: actions.Observation, error: ApiError) -> float | None:
        """The API server has not taken the Job."""
        text = f"the Job was refused by the API server: {error.message or error.reason}"
        if error.status in {0, 429} or error.status >= 500:  # it is not well, which says nothing of the Job
            return await self._hold(seen, "JobNotCreated", text)
        if await self._cluster.namespace_missing():
            return await self._no_namespace(seen)
        reason = notices.refusal(error.message) or "JobNotCreated"
        return await self._act(seen, decide.refused(seen, reason, text, self._settings, self._clock()))

    async def _no_namespace(self, seen: actions.Observation) -> float | None:
        name = self._cluster.run_namespace
        text = f"the run namespace {name!r}, where Jobs, credentials and the ledger live, does not exist"
        return await self._hold(
            seen, "RunNamespaceMissing", f"{text}: the platform team must make it again", waits=True
        )

    async def _recalled(self, seen: actions.Observation, asked: actions.Recall) -> actions.Decision:
        """What follows from the manifests of earlier runs."""
        place = seen.catalogue.destinations[asked.plan.effective.destination].spec
        try:
            found: list[Manifest] | str = await self._recall(place, asked.folder)
        except StorageError as error:
            found = [] if error.code else str(error)  # S3 itself says no: that does not change by waiting
        return decide.recalled(seen, asked, found, self._settings, self._clock())

    async def _ask(
        self, seen: actions.Observation, action: actions.Reserve | actions.TakeSlot
    ) -> actions.Decision | None:
        """What follows from the answer of windows or slots; None when it is too early to say, for then the request is
        woken. Raises `LedgerError`."""
        if isinstance(action, actions.Reserve):
            answer = await self._queueing.reserve(action)
            if answer is None:
                return None
            seen = replace(
                seen,
                forecast=self._queueing.forecast(seen.request.key),
                tombstones=self._ledger.tombstones(subject_of(seen.request)),
            )
            return decide.reserved(seen, action, answer, self._settings, self._clock())
        full = await self._queueing.take(action.waiting)
        if full is None:
            return None
        seen = replace(seen, forecast=self._queueing.forecast(seen.request.key))
        return decide.admitted(seen, action, full, self._settings, self._clock())

    async def _perform(self, action: actions.Action) -> None:
        match action:
            case actions.StopJob(job, reason, message):
                self._runs.put_job(await self._cluster.stop_job(job, reason, message))
            case actions.SuspendJob(job, suspend):
                try:
                    self._runs.put_job(await self._cluster.suspend_job(job, suspend=suspend))
                except ApiError as error:
                    if error.conflict:
                        await self._runs.refresh(job)  # else it would be tried again until the watch tells
                    raise
            case actions.SetActive(workload, active):
                await self._workloads.set_active(workload, active=active)
            case actions.DeleteJob(job):
                await self._cluster.delete_job(job)
            case actions.DeletePods(run):
                for pod in self._runs.known_pods(run):
                    if not pod.deleting:
                        await self._cluster.delete_pod(pod)
            case actions.Undo():
                self._cleaner.undo(action)
            case actions.LosePod(pod):
                await self._cluster.lose_pod(pod, self._clock())
            case actions.DeleteRequest(request):
                await self._history.secure(request.run)
                await self._cluster.delete_request(request)
                log.info("deleted, for its time to live is over")
            case actions.Bury(owner, stone, along):
                if along:
                    self._ledger.bury_along(owner, stone, self._clock())
                else:
                    await self._ledger.bury(owner, stone, self._clock())
            case actions.Unbury(owner, key):
                await self._ledger.unbury(owner, key)
            case actions.ReleaseSlot(run):
                self._ledger.free_slot(run)
            case actions.Learn(verdicts, told, began):
                self._gates.learn(verdicts, told, began)
            case actions.Refund(run):
                await self._ledger.give_back(run)
            case actions.Settle(settlement, soon):
                self._ledger.settle(settlement, soon=soon)
            case _:
                raise AssertionError(f"{type(action).__name__} needs an observed request")

    async def _write_status(self, request: Request, wanted: Mapping[str, Any]) -> None:
        document = self._as_seen(request)
        before = str(request.status.get("run") or "")
        if before and before != wanted.get("run"):
            await self._history.secure(before)
        written = await self._cluster.write_status(request_path(request.key), document, wanted)
        self._store.put_request(written)
        self._traces.written(request, wanted)
        log.info("%s (%s): %s", wanted.get("phase"), wanted.get("reason"), wanted.get("message"))

    def _as_seen(self, request: Request) -> Document:
        """What the request was decided on. Raises `ApiError` when something else is known of it by now."""
        document = self._store.requests.get(request.key)
        if document is None or document["metadata"]["resourceVersion"] != request.resource_version:
            raise ApiError(409, "Conflict", "the request changed while it was decided on")
        return document

    async def _hold(self, seen: actions.Observation, reason: str, text: str, *, waits: bool = False) -> float | None:
        """`waits`: it keeps its place in the queue."""
        decision = decide.held(seen, reason, text, self._settings, self._clock())
        return await self._act(seen, decision, waits=waits)

    async def _refresh(self, key: Key) -> None:
        known = self._store.requests.get(key)
        document = await self._cluster.request(key)
        if document is not None:
            self._store.put_request(document)
        elif known is not None:  # that one is gone; another of its name may have been told of meanwhile
            self._store.drop_request(key, known["metadata"]["uid"])
