"""The process: what it always does, what it does while it leads, and how it ends."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import kopf

from export_operator.adapters.elector import Elector
from export_operator.adapters.health import HealthServer
from export_operator.adapters.kube import ApiError, Kube
from export_operator.adapters.metrics import Metrics
from export_operator.beginning import Beginning
from export_operator.clock import now
from export_operator.handlers import make_registry
from export_operator.leading import BrokenError, Leading, Work, cancel, until_one_ends
from export_operator.parts import Parts
from export_operator.settings import ProcessSettings
from export_operator.startup import check_served

log = logging.getLogger(__name__)

ELECTION_SECONDS = 0.5  # after which whoever finds nobody leading leads
RESOLVERS = 64  # threads that look up names: with Python's few, names whose server is silent would stop all others


class App:
    """`run` returns when it is asked to stop, and raises when a part breaks. `kube` is fenced by the `elector`: nothing
    is written but by the leader. A standby keeps its caches warm."""

    def __init__(self, settings: ProcessSettings, kube: Kube, metrics: Metrics, elector: Elector) -> None:
        self._settings = settings
        self._kube = kube
        self._metrics = metrics
        self._elector = elector
        self._ready = False
        self._parts = Parts(settings, kube, metrics, elector)
        self._beginning = Beginning(self._parts)
        self._leading = Leading(
            elector,
            works_of_the_leader(self._parts, self._beginning),
            begin=self._beginning.lead,
            end=self._parts.ledger.deferred.flush,
        )

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT. Raises `NotLeading` when the Lease is lost."""
        stop = asyncio.Event()
        _take_signals(stop)
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(RESOLVERS, "resolver"))
        await check_served(self._kube)
        health = HealthServer(self._settings.http_port, self._metrics, alive=lambda: True, ready=lambda: self._ready)
        await health.start()
        always: list[asyncio.Task[None]] = []
        leading: list[asyncio.Task[None]] = []
        try:
            always += [work.start() for work in works_of_all(self._parts)]
            await self._beginning.catch_up()
            leading.append(Work("leading", self._leading.run).start())
            # kopf cancels, at its end, every task younger than itself: it ends last.
            always.append(Work("kopf", lambda: self._kopf(stop)).start())
            self._ready = True
            log.info("serving %s", ", ".join(self._settings.watch_namespaces) or "all namespaces")
            await _until(stop, [*always, *leading])
        finally:
            self._ready = False
            await cancel(leading)
            await cancel(always)
            await health.stop()
            await self._parts.close()

    async def _kopf(self, stop: asyncio.Event) -> None:
        """kopf lists everything as well: where this process leads at once, those who wait are looked at before."""
        await asyncio.sleep(ELECTION_SECONDS)
        if self._elector.leads:
            await self._beginning.looked()
        others = asyncio.all_tasks()
        namespaces = self._settings.watch_namespaces
        tasks = await kopf.spawn_tasks(
            registry=make_registry(self._parts.store), clusterwide=not namespaces, namespaces=namespaces
        )
        _take_signals(stop)  # kopf has taken them over, and would end before the leader
        await kopf.run_tasks(tasks, ignored=others)


def works_of_all(parts: Parts) -> tuple[Work, ...]:
    """What leader and standby do: keep up with the cluster. Nothing is written by these."""
    kueue = (Work("workloads", parts.workloads.informer.run),) if parts.settings.kueue else ()
    return (
        Work("jobs", parts.runs.jobs.run),
        Work("pods", parts.runs.pods.run),
        Work("ledger", parts.ledger.informer.run),
        *kueue,
        Work("redeliveries", parts.redeliveries.run),
        Work("totals", parts.counting.follow),
        Work("outbox", parts.notifications.follow),
        Work("admission policies", parts.canary.watch),
        Work("backlog", parts.store.backlog.run),  # what a standby lets out is let go of
    )


def works_of_the_leader(parts: Parts, beginning: Beginning) -> tuple[Work, ...]:
    """What only the leader does, all at once."""
    history = () if parts.history is None else (Work("history", parts.history.run),)
    return (
        *history,
        Work("workers", parts.queue.run),
        Work("queueing", beginning.admit),
        Work("progress", parts.progress.run),
        Work("prober", parts.prober.run),
        Work("policies", parts.policies.run),
        Work("settling", lambda: parts.ledger.run(now)),
        Work("clean-up", parts.cleaner.run),
        Work("sweeper", lambda: parts.sweeper.run(parts.settings.sweep_every.total_seconds(), parts.swept)),
        Work("canary", parts.canary.run),
        Work("schedules", parts.schedules.run),
        Work("downloads", parts.downloads.run),
        Work("resync", lambda: parts.resync.run(parts.wake)),
        Work("counting", parts.counting.run),
        Work("overdue", parts.overdue.run),
        Work("notifications", parts.notifications.run),
    )


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
