"""The process: connections, caches and workers start before kopf, and end after it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import signal
import time
from collections.abc import Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from typing import Any

import kopf

from export_operator.adapters import storage
from export_operator.adapters.canary import GUARDED, Canary
from export_operator.adapters.cells import LedgerError
from export_operator.adapters.cluster import Cluster, request_path
from export_operator.adapters.health import HealthServer
from export_operator.adapters.kube import ApiError, Kube, path_of
from export_operator.adapters.ledger import Ledger
from export_operator.adapters.metrics import Metrics, ResourceCollector, TotalsCollector
from export_operator.adapters.policies import PolicyReporter
from export_operator.adapters.probe import Prober
from export_operator.adapters.progress import ProgressPoller
from export_operator.adapters.runs import Runs
from export_operator.adapters.totals import TotalsStore
from export_operator.adapters.workloads import Workloads
from export_operator.cleaner import Cleaner
from export_operator.counting import Counting
from export_operator.domain.breaker import DESTINATION, Breaker
from export_operator.domain.identity import Enforcement, Subject
from export_operator.domain.model import GROUP, VERSION, Key
from export_operator.downloads import Downloads
from export_operator.gates import Gates
from export_operator.handlers import make_registry
from export_operator.queueing import Queueing
from export_operator.reconcile import Reconciler
from export_operator.resync import Resync
from export_operator.schedules import Schedules
from export_operator.settings import ProcessSettings
from export_operator.store import CATALOGUE, Document, Store
from export_operator.sweeper import Report, Sweeper
from export_operator.takeover import take_over
from export_operator.workqueue import WorkQueue

log = logging.getLogger(__name__)

KINDS = (*GUARDED, "exportsources", "exportdestinations", "exportpolicies", "exportusages")
FIRST_LOOK_SECONDS = 30.0  # at everybody who waits; then those who were not seen yet come later
RETRY_SECONDS = 5.0
STOP_SECONDS = 5.0  # for what the ledger still has to write
RESOLVERS = 64  # threads that look up names: with Python's few, names whose server is silent would stop all others
START_SECONDS = 60.0  # for the first lists; an API server that is slower restarts the pod
KUEUE_SECONDS = 5.0  # for the first list of Workloads, which may be of a kind that nobody has installed


class StartError(Exception):
    """The operator cannot work here; the message says what to mend."""


class App:
    """Everything the operator is made of. `run` returns when it is asked to stop, and raises when a part breaks."""

    def __init__(self, settings: ProcessSettings, kube: Kube, metrics: Metrics) -> None:
        decisions = settings.decisions
        self._settings = settings
        self._kube = kube
        self._metrics = metrics
        self._ready = False
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
        self._policies = PolicyReporter(
            cluster=self._cluster,
            store=self._store,
            ledger=self._ledger,
            defaults=decisions.defaults,
            clock=now,
            timer=time.monotonic,
        )
        opened = partial(storage.opened, kube, decisions.pods.namespace)
        self._cleaner = Cleaner(
            self._cluster, opened, self._destination, decisions.pods, waiting=metrics.clean_ups_waiting
        )
        self._sweeper = Sweeper(
            kube,
            decisions.pods.namespace,
            settings.watch_namespaces,
            opened,
            clock=now,
            grace=settings.sweep_grace,
        )
        self._resync = Resync(kube, self._store, self._runs, self._ledger, settings.watch_namespaces)
        totals = TotalsCollector(self._store)
        self._counting = Counting(
            TotalsStore(kube, decisions.pods.namespace), self._store, self._runs.all, totals.show, now
        )
        metrics.register(totals)
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
            identity=lambda: self._canary.state,
            clock=now,
            metrics=metrics,
        )
        self._downloads = Downloads(
            store=self._store,
            cluster=self._cluster,
            open_bucket=opened,
            identity=lambda: self._canary.state,
            clock=now,
        )
        self._reconciler = Reconciler(
            store=self._store,
            runs=self._runs,
            workloads=self._workloads,
            ledger=self._ledger,
            queueing=self._queueing,
            cluster=self._cluster,
            cleaner=self._cleaner,
            settings=decisions,
            gates=self._gates,
            identity=lambda: self._canary.state,
            progress=self._progress.latest,
            clock=now,
            metrics=metrics,
        )

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(RESOLVERS, "resolver"))
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await check_served(self._kube)
        health = HealthServer(self._settings.http_port, self._metrics, alive=lambda: True, ready=lambda: self._ready)
        await health.start()
        tasks: list[asyncio.Task[Any]] = []

        def spawn(name: str, work: Coroutine[Any, Any, None]) -> None:
            tasks.append(asyncio.create_task(work, name=name))

        try:
            spawn("jobs", self._runs.jobs.run())
            spawn("pods", self._runs.pods.run())
            spawn("ledger", self._ledger.informer.run())
            if self._settings.kueue:
                spawn("workloads", self._workloads.informer.run())
                with contextlib.suppress(TimeoutError):  # without Kueue in the cluster its own runs wait, and no others
                    async with asyncio.timeout(KUEUE_SECONDS):
                        await self._workloads.informer.synced.wait()
            spawn("totals", self._counting.follow())
            spawn("admission policies", self._canary.watch())
            async with asyncio.timeout(START_SECONDS):
                for synced in (self._runs.jobs.synced, self._runs.pods.synced, self._ledger.informer.synced):
                    await synced.wait()
                # Nothing is decided before every source, destination and policy is known: half of them would lie.
                await self._resync.once()
            self._prober.restore()
            await self._canary.look()
            # A leader elector will stand here: workers start when this process holds the Lease.
            spawn("workers", self._queue.run())
            spawn("backlog", self._store.backlog.run())
            spawn("queueing", self._admit())
            spawn("progress", self._progress.run())
            spawn("prober", self._prober.run())
            spawn("policies", self._policies.run())
            every = self._settings.sweep_every.total_seconds()
            for name, work in (
                ("downloads", self._downloads.run()),
                ("settling", self._ledger.run(now)),
                ("clean-up", self._cleaner.run()),
                ("sweeper", self._sweeper.run(every, self._swept)),
                ("canary", self._canary.run()),
                ("schedules", self._schedules.run()),
            ):
                spawn(name, work)
            spawn("resync", self._resync.run(self._wake))
            spawn("counting", self._counting.run())
            # kopf cancels, at its end, every task younger than itself: it comes last.
            spawn("kopf", self._kopf(stop))
            self._ready = True
            log.info("serving %s", ", ".join(self._settings.watch_namespaces) or "all namespaces")
            await self._until(stop, tasks)
        finally:
            self._ready = False
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_SECONDS):
                    await self._ledger.flush()
            await health.stop()

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

    async def _until(self, stop: asyncio.Event, tasks: list[asyncio.Task[Any]]) -> None:
        """A part that ends by itself is broken: the process ends, and Kubernetes starts it anew."""
        waiter = asyncio.create_task(stop.wait(), name="stop")
        done, _ = await asyncio.wait([waiter, *tasks], return_when=asyncio.FIRST_COMPLETED)
        waiter.cancel()
        for task in done - {waiter}:
            if not stop.is_set():
                raise RuntimeError(f"{task.get_name()} ended") from (None if task.cancelled() else task.exception())

    async def _kopf(self, stop: asyncio.Event) -> None:
        namespaces = self._settings.watch_namespaces
        await kopf.operator(
            registry=make_registry(self._store),
            clusterwide=not namespaces,
            namespaces=namespaces,
            stop_flag=stop,
        )
        stop.set()  # kopf takes over the signals, and ends well only when one came

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
        self._queue.add(key)

    def _recorded(self, before: Document | None, after: Document) -> None:
        self._counting.recorded(before, after)

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


def now() -> datetime:
    return datetime.now(UTC)


async def check_served(kube: Kube) -> None:
    """Every kind of ours is served by the API server. Raises `StartError` that names those that are not."""
    try:
        found = await kube.get(f"/apis/{GROUP}/{VERSION}")
    except ApiError as error:
        if error.not_found:
            found = {}
        else:
            raise StartError(f"the API server does not answer: {error}") from error
    served = {item["name"] for item in found.get("resources") or ()}
    missing = [kind for kind in KINDS if kind not in served]
    if missing:
        names = ", ".join(f"{kind}.{GROUP}" for kind in missing)
        raise StartError(f"not served by the API server: {names}. Install the CRDs (the chart does).")


async def check_access(kube: Kube, run_namespace: str) -> None:
    """The run namespace can be read. Raises `StartError`."""
    for path in (
        path_of("batch", "v1", "jobs", namespace=run_namespace),
        path_of(GROUP, VERSION, "exportusages", namespace=run_namespace),
    ):
        try:
            await kube.get(path, limit=1)
        except ApiError as error:
            raise StartError(f"cannot list {path}: {error}") from error


@contextlib.asynccontextmanager
async def connection(metrics: Metrics) -> Any:
    """To the API server, its calls counted; closed at the end. Raises `ApiError` when there is no way to a cluster."""
    kube = await Kube.connect(metrics.count_call)
    try:
        yield kube
    finally:
        await kube.close()
