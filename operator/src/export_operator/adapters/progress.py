"""Progress of running pods, read from the ends of their logs at a bounded rate."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from export_contract import names
from export_contract.report import Progress
from export_operator.adapters.cluster import Cluster
from export_operator.adapters.kube import ApiError
from export_operator.adapters.runs import Runs
from export_operator.domain.model import Key, Pod
from export_operator.logs import concerning

log = logging.getLogger(__name__)

TICK_SECONDS = 0.5
FIRST_SECONDS, NEXT_SECONDS = 2.0, 10.0
READS_PER_TICK = 15  # thirty a second in all, whatever runs


class ProgressPoller:
    """The newest progress of each run; `wake` is told when there is more of it."""

    def __init__(self, cluster: Cluster, runs: Runs, wake: Callable[[Key], None]) -> None:
        self._cluster = cluster
        self._runs = runs
        self._wake = wake
        self._due: dict[str, float] = {}
        self._latest: dict[str, Progress] = {}

    def latest(self, run: str) -> Progress | None:
        return self._latest.get(run)

    async def run(self) -> None:
        """Poll until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(TICK_SECONDS)
            running = {pod.name: pod for pod in self._runs.running()}
            self._due = {name: self._due.get(name, loop.time() + FIRST_SECONDS) for name in running}
            alive = {pod.run for pod in running.values()}
            self._latest = {run: progress for run, progress in self._latest.items() if run in alive}
            due = sorted(name for name, when in self._due.items() if when <= loop.time())
            # Those who waited longest first: with many pods each is read less often, none is forgotten.
            due.sort(key=lambda name: self._due[name])
            batch = due[:READS_PER_TICK]
            for name in batch:
                self._due[name] = loop.time() + NEXT_SECONDS
            await asyncio.gather(*(self._read(running[name]) for name in batch))

    async def _read(self, pod: Pod) -> None:
        job = self._runs.jobs.items.get(names.job_name(pod.run))
        concerning(job.request if job is not None else "", pod.run)
        try:
            progress = await self._cluster.progress(pod.name)
        except ApiError as error:
            log.debug("log of pod %s: %s", pod.name, error)
            return
        before = self._latest.get(pod.run)
        if progress is None or progress.run != pod.run or progress == before:
            return
        self._latest[pod.run] = progress
        if job is not None:
            self._wake(job.request)
