"""The process: what it is made of, what it always does, and what it does while it leads."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import signal
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import kopf

from export_operator.adapters import artifact_tables, recall, storage
from export_operator.adapters.canary import Canary
from export_operator.adapters.cells import LedgerError
from export_operator.adapters.cluster import Cluster, request_path
from export_operator.adapters.elector import Elector
from export_operator.adapters.finder import Finder
from export_operator.adapters.health import HealthServer
from export_operator.adapters.history import HistoryTable
from export_operator.adapters.informer import Informer
from export_operator.adapters.kube import ApiError, Kube, path_of
from export_operator.adapters.ledger import Ledger
from export_operator.adapters.metrics import Metrics, OutboxCollector, ResourceCollector, TotalsCollector
from export_operator.adapters.notify import Messenger, Webhook
from export_operator.adapters.outbox import OutboxStore
from export_operator.adapters.policies import PolicyReporter
from export_operator.adapters.probe import Prober
from export_operator.adapters.progress import ProgressPoller
from export_operator.adapters.runs import REDELIVER, Runs
from export_operator.adapters.totals import TotalsStore
from export_operator.adapters.unwritten import Unwritten
from export_operator.adapters.workloads import Workloads
from export_operator.cleaner import Cleaner
from export_operator.counting import Counting
from export_operator.domain.breaker import DESTINATION, Breaker
from export_operator.domain.identity import Enforcement, Subject
from export_operator.domain.model import GROUP, VERSION, Key, parse_pod
from export_operator.downloads import Downloads
from export_operator.gates import Gates
from export_operator.handlers import make_registry
from export_operator.history import History, NoHistory
from export_operator.leading import BrokenError, Leading, Work, cancel, until_one_ends
from export_operator.notifications import Notifications
from export_operator.overdue import Overdue
from export_operator.queueing import Queueing
from export_operator.reconcile import Reconciler
from export_operator.resync import Resync
from export_operator.schedules import Schedules
from export_operator.settings import ProcessSettings
from export_operator.startup import check_served
from export_operator.store import CATALOGUE, DOWNLOADS, REQUESTS, Document, Store
from export_operator.sweep_report import Report
from export_operator.sweeper import Sweeper
from export_operator.takeover import take_over
from export_operator.traces import NoTraces, Traces
from export_operator.workqueue import WorkQueue

if TYPE_CHECKING:
    from export_operator.adapters.otlp import Collector

log = logging.getLogger(__name__)

FIRST_LOOK_SECONDS = 30.0  # at everybody who waits; then those who were not seen yet come later
RETRY_SECONDS = 5.0
RESOLVERS = 64  # threads that look up names: with Python's few, names whose server is silent would stop all others
START_SECONDS = 60.0  # for the first lists; an API server that is slower restarts the pod
LAST_SPANS_SECONDS = 2.0  # for those of runs that ended a moment ago; nothing of the operator's waits any more
KUEUE_SECONDS = 5.0  # for the first list of Workloads, which may be of a kind that nobody has installed


class App:
    """Everything the operator is made of. `run` returns when it is asked to stop, and raises when a part breaks.

    `kube` is fenced by the `elector`: nothing is written but by the leader. A standby keeps its caches warm."""

    def __init__(self, settings: ProcessSettings, kube: Kube, metrics: Metrics, elector: Elector) -> None:
        decisions = settings.decisions
        self._settings = settings
        self._kube = kube
        self._metrics = metrics
        self._ready = False
        self._begun = False
        looked = metrics.workqueue("exportrequests", lambda: len(self._queue))
        self._queue: WorkQueue[Key] = WorkQueue(self._reconcile, settings.workers, (ApiError, LedgerError), looked)
        self._store = Store(self._wake, self._recorded)
        self._cluster = Cluster(kube, decisions.pods.namespace)
        self._runs = Runs(kube, self._cluster, self._wake)
        self._workloads = Workloads(kube, decisions.pods.namespace, self._runs.wake_job)
        self._ledger = Ledger(
            kube,
            decisions.pods.namespace,
            self._slots_changed,
            self._window_freed,
            metrics.ledger_unreadable,
        )
        self._progress = ProgressPoller(self._cluster, self._runs, self._wake)
        self._gates = Gates(self._gate_changed, self._store.backlog.add)
        self._queueing = Queueing(self._ledger, self._wake, now, self._gate, metrics.queue_depth)
        self._prober = Prober(self._cluster, self._store, self._gates, now, metrics.credential_expiry)
        outbox = OutboxCollector(now)
        metrics.register(outbox)
        self._notifications = Notifications(
            kept=OutboxStore(kube, decisions.pods.namespace),
            store=self._store,
            cluster=self._cluster,
            jobs=self._runs.all,
            senders={"Webhook": Webhook(now).send, "Apprise": Messenger().send},
            fence=elector.fence,
            clock=now,
            show=outbox.show,
        )
        self._policies = PolicyReporter(
            cluster=self._cluster,
            store=self._store,
            ledger=self._ledger,
            defaults=decisions.defaults,
            clock=now,
            timer=time.monotonic,
            delivery=self._notifications.standing,
        )
        opened = partial(storage.opened, kube, decisions.pods.namespace, fence=elector.fence)
        self._cleaner = Cleaner(
            self._cluster, opened, self._destination, decisions.pods, waiting=metrics.clean_ups_waiting
        )
        self._sweeper = Sweeper(
            kube,
            decisions.pods.namespace,
            settings.watch_namespaces,
            partial(opened, own_identity=settings.sweep_own_identity),
            partial(artifact_tables.opened, kube, decisions.pods.namespace, fence=elector.fence),
            clock=now,
            grace=settings.sweep_grace,
        )
        self._resync = Resync(kube, self._store, self._runs, self._ledger, settings.watch_namespaces)
        self._history = None if settings.history is None else self._make_history(HistoryTable(settings.history))
        self._collector = None if decisions.pods.tracing is None else _collector(settings.pod_name)
        totals = TotalsCollector(self._store)
        self._counting = Counting(
            TotalsStore(kube, decisions.pods.namespace), self._store, self._runs.all, totals.show, now
        )
        metrics.register(totals)
        self._store.listen(DOWNLOADS, self._counting.answered)
        self._redeliveries = Informer(kube, self._cluster.pods_path, parse_pod, self._counting.pod_changed, REDELIVER)
        self._overdue = Overdue(self._store, self._runs.all, metrics.ttl_lag, now)
        metrics.register(
            ResourceCollector(self._store, lambda: len(self._ledger.slots()), decisions.max_concurrent_runs, now)
        )
        for resource, cache in (
            ("jobs", self._runs.jobs),
            ("pods", self._runs.pods),
            ("exportusages", self._ledger.informer),
            ("exportrequests", self._resync),
        ):
            metrics.cache_age(resource, partial(getattr, cache, "age"))
        self._canary = Canary(
            kube,
            namespace=settings.namespace,
            mode=settings.identity_mode,
            some_object=self._some_object,
            changed=self._identity_changed,
            clock=now,
        )
        self._schedules = Schedules(
            store=self._store,
            cluster=self._cluster,
            ledger=self._ledger,
            history=self._history or NoHistory(),
            identity=lambda: self._canary.state,
            clock=now,
            metrics=metrics,
        )
        self._downloads = Downloads(
            store=self._store,
            cluster=self._cluster,
            open_bucket=opened,
            identity=lambda: self._canary.state,
            markers=decisions.markers,
            clock=now,
        )
        self._reconciler = Reconciler(
            store=self._store,
            runs=self._runs,
            workloads=self._workloads,
            ledger=self._ledger,
            queueing=self._queueing,
            finder=Finder(kube, decisions.pods.namespace, self._wake),
            cluster=self._cluster,
            cleaner=self._cleaner,
            history=self._history or NoHistory(),
            traces=NoTraces() if self._collector is None else Traces(self._collector.send, now),
            settings=decisions,
            gates=self._gates,
            identity=lambda: self._canary.state,
            progress=self._progress.latest,
            recall=partial(recall.manifests, kube, decisions.pods.namespace),
            clock=now,
            metrics=metrics,
        )
        metrics.leader(lambda: elector.leads)
        self._leading = Leading(elector, self._leaders_works(), begin=self._begin, end=self._ledger.flush)

    def _make_history(self, table: HistoryTable) -> History:
        namespace = self._settings.decisions.pods.namespace
        made = History(table, Unwritten(self._kube, namespace), self._cluster, now, self._metrics.history_backlog)
        self._store.listen(REQUESTS, lambda key: None if key in self._store.requests else made.gone(key))
        return made

    def _watches(self) -> tuple[Work, ...]:
        """What leader and standby do: keep up with the cluster. Nothing is written by these."""
        kueue = (Work("workloads", self._workloads.informer.run),) if self._settings.kueue else ()
        return (
            Work("jobs", self._runs.jobs.run),
            Work("pods", self._runs.pods.run),
            Work("ledger", self._ledger.informer.run),
            *kueue,
            Work("redeliveries", self._redeliveries.run),
            Work("totals", self._counting.follow),
            Work("outbox", self._notifications.follow),
            Work("admission policies", self._canary.watch),
            Work("backlog", self._store.backlog.run),  # what a standby lets out is let go of
        )

    def _leaders_works(self) -> tuple[Work, ...]:
        """What only the leader does, all at once."""
        history = () if self._history is None else (Work("history", self._history.run),)
        return (
            *history,
            Work("workers", self._queue.run),
            Work("queueing", self._admit),
            Work("progress", self._progress.run),
            Work("prober", self._prober.run),
            Work("policies", self._policies.run),
            Work("settling", lambda: self._ledger.run(now)),
            Work("clean-up", self._cleaner.run),
            Work("sweeper", lambda: self._sweeper.run(self._settings.sweep_every.total_seconds(), self._swept)),
            Work("canary", self._canary.run),
            Work("schedules", self._schedules.run),
            Work("downloads", self._downloads.run),
            Work("resync", lambda: self._resync.run(self._wake)),
            Work("counting", self._counting.run),
            Work("overdue", self._overdue.run),
            Work("notifications", self._notifications.run),
        )

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT. Raises `NotLeading` when the Lease is lost."""
        stop = asyncio.Event()
        _take_signals(stop)
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(RESOLVERS, "resolver"))
        await check_served(self._kube)
        health = HealthServer(self._settings.http_port, self._metrics, alive=lambda: True, ready=lambda: self._ready)
        await health.start()
        watches: list[asyncio.Task[None]] = []
        leading: list[asyncio.Task[None]] = []
        try:
            watches += [work.start() for work in self._watches()]
            await self._catch_up()
            leading.append(Work("leading", self._leading.run).start())
            # kopf cancels, at its end, every task younger than itself: it ends last.
            watches.append(Work("kopf", lambda: self._kopf(stop)).start())
            self._ready = True
            log.info("serving %s", ", ".join(self._settings.watch_namespaces) or "all namespaces")
            await _until(stop, [*watches, *leading])
        finally:
            self._ready = False
            await cancel(leading)
            await cancel(watches)
            await health.stop()
            if self._collector is not None:
                await asyncio.to_thread(self._collector.close, LAST_SPANS_SECONDS)

    async def _catch_up(self) -> None:
        """Nothing is decided before every source, destination and policy is known: half of them would lie."""
        if self._settings.kueue:
            with contextlib.suppress(TimeoutError):  # without Kueue in the cluster its own runs wait, and no others
                async with asyncio.timeout(KUEUE_SECONDS):
                    await self._workloads.informer.synced.wait()
        async with asyncio.timeout(START_SECONDS):
            for cache in (self._runs.jobs, self._runs.pods, self._redeliveries, self._ledger.informer):
                await cache.synced.wait()
            await self._resync.once()

    async def _begin(self) -> None:
        """Lead from here on: with what is known of sources and destinations, and who asks; then look at everything.

        A watch may lag behind what the last leader has written: a run that is over, and whose Job has been deleted,
        would begin again. So all is listed once more, now that nobody else writes."""
        while True:
            try:
                await self._resync.once()
                break
            except ApiError as error:
                log.warning("requests cannot be listed, again in %.0f s: %s", RETRY_SECONDS, error)
                await asyncio.sleep(RETRY_SECONDS)
        self._prober.restore()
        await self._canary.look()
        self._begun = True
        for key in (*self._store.requests, *self._runs.requests(), *self._ledger.requests()):
            self._wake(key)

    async def _admit(self) -> None:
        """Nothing is admitted before the slots agree with the Jobs, and before everybody who waits has been looked at:
        who is looked at first shall not be served first."""
        while True:
            try:
                await take_over(self._store, self._runs, self._ledger, self._cluster)
                break
            except (ApiError, LedgerError) as error:
                log.warning("slots cannot be taken over, again in %.0f s: %s", RETRY_SECONDS, error)
                self._queueing.close(LedgerError(str(error)))
                await asyncio.sleep(RETRY_SECONDS)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_LOOK_SECONDS):
                await self._queue.passed()
        self._queueing.open()
        await self._queueing.run()

    async def _kopf(self, stop: asyncio.Event) -> None:
        others = asyncio.all_tasks()
        namespaces = self._settings.watch_namespaces
        tasks = await kopf.spawn_tasks(
            registry=make_registry(self._store), clusterwide=not namespaces, namespaces=namespaces
        )
        _take_signals(stop)  # kopf has taken them over, and would end before the leader
        await kopf.run_tasks(tasks, ignored=others)

    def _gate_changed(self, subject: Subject, breaker: Breaker | None) -> None:
        self._metrics.breaker_state(subject.kind, subject.name, None if breaker is None else breaker.state)
        self._prober.touch(subject)
        self._queueing.slots.gate_changed(subject)
        if breaker is not None and breaker.state != "open" and subject.kind == DESTINATION:
            self._cleaner.nudge(subject.name)

    def _gate(self, subject: Subject) -> int | None:
        return self._gates.limit(subject.kind, subject.name, now())

    def _destination(self, name: str) -> Mapping[str, Any] | None:
        found = self._store.catalogue().destinations.get(name)
        return None if found is None else found.spec

    def _swept(self, report: Report) -> None:
        self._metrics.swept(report.orphaned, report.whole, now())

    def _wake(self, key: Key) -> None:
        if self._begun:  # a standby would remember every key until then
            self._queue.add(key)

    def _recorded(self, before: Document | None, after: Document) -> None:
        self._counting.recorded(before, after)
        if self._history is not None:
            self._history.recorded(after)
        self._notifications.recorded(after)

    def _some_object(self) -> str | None:
        """The path of any object of ours that has a status."""
        paths = itertools.chain(
            (request_path(key) for key in self._store.requests),
            (path_of(GROUP, VERSION, kind, name) for kind in CATALOGUE for name in self._store.documents[kind]),
        )
        return next(paths, None)

    def _identity_changed(self, state: Enforcement) -> None:
        self._metrics.identity_enforced(state.enforced)
        self._store.wake_waiting()
        self._schedules.look_again()
        self._downloads.look_again()

    def _slots_changed(self) -> None:
        self._queueing.slots.slots_changed()

    def _window_freed(self, subject: Subject) -> None:
        self._queueing.window_freed(subject)

    async def _reconcile(self, key: Key) -> float | None:
        return await self._reconciler.reconcile(key)


def _collector(instance: str) -> Collector:
    """Loaded only where it is wanted: it takes a tenth of a second and some memory."""
    from export_operator.adapters.otlp import Collector

    return Collector(instance)


def now() -> datetime:
    return datetime.now(UTC)


def _take_signals(stop: asyncio.Event) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)


async def _until(stop: asyncio.Event, tasks: Iterable[asyncio.Task[None]]) -> None:
    """A part that ends by itself is broken: the process ends, and Kubernetes starts it anew."""
    waiter = asyncio.create_task(stop.wait(), name="stop")
    try:
        await until_one_ends([waiter, *tasks])
    except (ApiError, BrokenError):
        if not stop.is_set():
            raise
    finally:
        waiter.cancel()
