"""What the operator is made of, and who tells whom. Nothing begins by itself here."""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from export_operator.adapters import artifact_tables, recall, storage
from export_operator.adapters.canary import Canary
from export_operator.adapters.cells import LedgerError
from export_operator.adapters.cluster import Cluster, request_path
from export_operator.adapters.elector import Elector
from export_operator.adapters.finder import Finder
from export_operator.adapters.history import Database, HistoryTable
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
from export_operator.clock import now
from export_operator.counting import Counting
from export_operator.domain import gitops
from export_operator.domain.breaker import DESTINATION, Breaker
from export_operator.domain.identity import Enforcement, Subject
from export_operator.domain.model import GROUP, VERSION, Key, parse_pod
from export_operator.downloads import Downloads
from export_operator.gates import Gates
from export_operator.history import History, NoHistory
from export_operator.notifications import Notifications
from export_operator.overdue import Overdue
from export_operator.queueing import Queueing
from export_operator.reconcile import Reconciler
from export_operator.resync import Resync
from export_operator.schedules import Schedules
from export_operator.settings import ProcessSettings
from export_operator.store import CATALOGUE, DOWNLOADS, REQUESTS, Document, Store
from export_operator.sweep_report import Report
from export_operator.sweeper import Sweeper
from export_operator.traces import NoTraces, Traces
from export_operator.workqueue import WorkQueue

if TYPE_CHECKING:
    from export_operator.adapters.otlp import Collector

LAST_SPANS_SECONDS = 2.0  # for those of runs that ended a moment ago; nothing of the operator's waits any more


class Parts:
    """One of each, made once a process. `kube` is fenced by the `elector`: nothing is written but by the leader."""

    def __init__(self, settings: ProcessSettings, kube: Kube, metrics: Metrics, elector: Elector) -> None:
        decisions = settings.decisions
        namespace = decisions.pods.namespace
        self.settings = settings
        self._metrics = metrics
        self._woken = False
        # What is known of the cluster.
        self.store = Store(self.wake, self._recorded, gitops.keys(decisions.markers))
        self.cluster = Cluster(kube, namespace)
        self.runs = Runs(kube, self.cluster, self.wake)
        self.workloads = Workloads(kube, namespace, self.runs.wake_job)
        self.ledger = Ledger(
            kube, namespace, self._slots_changed, self._window_freed, metrics.ledger_unreadable, buried=self.wake
        )
        self.resync = Resync(
            kube, self.cluster, self.store, self.runs, self.ledger, namespaces=settings.watch_namespaces
        )
        self.progress = ProgressPoller(self.cluster, self.runs, self.wake)
        self.canary = Canary(
            kube,
            namespace=settings.namespace,
            mode=settings.identity_mode,
            some_object=self._some_object,
            changed=self._identity_changed,
            clock=now,
        )
        # Who waits, and for what.
        self.gates = Gates(self._gate_changed, self.store.backlog.add)
        self.queueing = Queueing(self.ledger, self.wake, now, self._gate, metrics.queue_depth)
        self.prober = Prober(self.cluster, self.store, self.gates, now, metrics.credential_expiry)
        # What is told and kept of runs.
        outbox = OutboxCollector(now)
        self.notifications = Notifications(
            kept=OutboxStore(kube, namespace),
            store=self.store,
            cluster=self.cluster,
            jobs=self.runs.all,
            senders={"Webhook": Webhook(now).send, "Apprise": Messenger().send},
            fence=elector.fence,
            clock=now,
            show=outbox.show,
        )
        self.policies = PolicyReporter(
            cluster=self.cluster,
            store=self.store,
            ledger=self.ledger,
            defaults=decisions.defaults,
            clock=now,
            timer=time.monotonic,
            delivery=self.notifications.standing,
        )
        self.history = None if settings.history is None else self._make_history(settings.history, kube, namespace)
        recorder = self.history or NoHistory()
        self._collector = None if decisions.pods.tracing is None else _collector(settings.pod_name)
        totals = TotalsCollector(self.store)
        self.counting = Counting(TotalsStore(kube, namespace), self.store, self.runs.all, totals.show, now)
        self.store.listen(DOWNLOADS, self.counting.answered)
        self.redeliveries = Informer(kube, self.cluster.pods_path, parse_pod, self.counting.pod_changed, REDELIVER)
        self.overdue = Overdue(self.store, self.runs.all, metrics.ttl_lag, now)
        # What is left in buckets.
        opened = partial(storage.opened, kube, namespace, fence=elector.fence)
        self.cleaner = Cleaner(
            self.cluster, opened, self._destination, decisions.pods, waiting=metrics.clean_ups_waiting
        )
        self.sweeper = Sweeper(
            kube,
            namespace,
            settings.watch_namespaces,
            partial(opened, own_identity=settings.sweep_own_identity),
            partial(artifact_tables.opened, kube, namespace, fence=elector.fence),
            clock=now,
            grace=settings.sweep_grace,
        )
        # What is done about each object that a tenant writes.
        self.schedules = Schedules(
            store=self.store,
            cluster=self.cluster,
            ledger=self.ledger,
            history=recorder,
            identity=self._identity,
            clock=now,
            metrics=metrics,
        )
        self.downloads = Downloads(
            store=self.store,
            cluster=self.cluster,
            open_bucket=opened,
            identity=self._identity,
            markers=decisions.markers,
            clock=now,
        )
        reconciler = Reconciler(
            store=self.store,
            runs=self.runs,
            workloads=self.workloads,
            ledger=self.ledger,
            queueing=self.queueing,
            finder=Finder(kube, namespace, self.wake),
            cluster=self.cluster,
            cleaner=self.cleaner,
            history=recorder,
            traces=NoTraces() if self._collector is None else Traces(self._collector.send, now),
            settings=decisions,
            gates=self.gates,
            identity=self._identity,
            progress=self.progress.latest,
            recall=partial(recall.manifests, kube, namespace),
            clock=now,
            metrics=metrics,
        )
        looked = metrics.workqueue("exportrequests", lambda: len(self.queue))
        self.queue: WorkQueue[Key] = WorkQueue(reconciler.reconcile, settings.workers, (ApiError, LedgerError), looked)
        # What a scrape asks for.
        metrics.register(outbox)
        metrics.register(totals)
        metrics.register(
            ResourceCollector(self.store, lambda: len(self.ledger.slots()), decisions.max_concurrent_runs, now)
        )
        metrics.cache_age("jobs", lambda: self.runs.jobs.age)
        metrics.cache_age("pods", lambda: self.runs.pods.age)
        metrics.cache_age("exportusages", lambda: self.ledger.informer.age)
        metrics.cache_age("exportrequests", lambda: self.resync.age if elector.leads else math.nan)
        metrics.leader(lambda: elector.leads)

    def begin(self) -> None:
        """From here on who is woken is looked at: a standby would remember every key until it leads."""
        self._woken = True

    def wake(self, key: Key) -> None:
        """Look at the request soon."""
        if self._woken:
            self.queue.add(key)

    def swept(self, report: Report) -> None:
        """A sweep has ended."""
        self._metrics.swept(report.orphaned, report.whole, report.unseen, now())

    async def close(self) -> None:
        """Say what is still unsaid. Nothing is at work any more."""
        if self._collector is not None:
            await asyncio.to_thread(self._collector.close, LAST_SPANS_SECONDS)

    def _make_history(self, where: Database, kube: Kube, namespace: str) -> History:
        made = History(
            HistoryTable(where), Unwritten(kube, namespace), self.cluster, now, self._metrics.history_backlog
        )
        self.store.listen(REQUESTS, lambda key: None if key in self.store.requests else made.gone(key))
        return made

    # Who is told of what: parts that are made later are found when it happens.

    def _recorded(self, before: Document | None, after: Document) -> None:
        self.counting.recorded(before, after)
        if self.history is not None:
            self.history.recorded(after)
        self.notifications.recorded(after)

    def _slots_changed(self) -> None:
        self.queueing.slots.slots_changed()

    def _window_freed(self, subject: Subject) -> None:
        self.queueing.window_freed(subject)

    def _gate_changed(self, subject: Subject, breaker: Breaker | None) -> None:
        self._metrics.breaker_state(subject.kind, subject.name, None if breaker is None else breaker.state)
        self.prober.touch(subject)
        self.queueing.slots.gate_changed(subject)
        if breaker is not None and breaker.state != "open" and subject.kind == DESTINATION:
            self.cleaner.nudge(subject.name)

    def _identity_changed(self, state: Enforcement) -> None:
        self._metrics.identity_enforced(state.enforced)
        self.store.wake_waiting()
        self.schedules.look_again()
        self.downloads.look_again()

    # What parts ask of others.

    def _gate(self, subject: Subject) -> int | None:
        return self.gates.limit(subject.kind, subject.name, now())

    def _identity(self) -> Enforcement:
        return self.canary.state

    def _destination(self, name: str) -> Mapping[str, Any] | None:
        found = self.store.catalogue().destinations.get(name)
        return None if found is None else found.spec

    def _some_object(self) -> str | None:
        """The path of any object of ours that has a status."""
        paths = itertools.chain(
            (request_path(key) for key in self.store.requests),
            (path_of(GROUP, VERSION, kind, name) for kind in CATALOGUE for name in self.store.documents[kind]),
        )
        return next(paths, None)


def _collector(instance: str) -> Collector:
    """Loaded only where it is wanted: it takes a tenth of a second and some memory."""
    from export_operator.adapters.otlp import Collector

    return Collector(instance)
