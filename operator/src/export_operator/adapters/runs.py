"""Jobs and pods of the run namespace, findable by request and by run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from export_contract import names
from export_operator.adapters.cluster import Cluster
from export_operator.adapters.informer import Informer
from export_operator.adapters.kube import Kube
from export_operator.domain.model import LABEL_MANAGED_BY, LABEL_RUN, MANAGED_BY, Job, Key, Pod, parse_job, parse_pod

OURS = f"{LABEL_MANAGED_BY}={MANAGED_BY},{LABEL_RUN}"
"""Jobs and pods of runs, and not those that undo them."""
REDELIVER = "app.kubernetes.io/component=redeliver"
"""Pods that move exports out of a fallback, made by the platform team."""


class Runs:
    """Two informers and the ways in. `wake` is told the request that a changed Job or pod belongs to."""

    def __init__(self, kube: Kube, cluster: Cluster, wake: Callable[[Key], None]) -> None:
        self._cluster = cluster
        self._wake = wake
        self._jobs_by_request: dict[Key, set[str]] = defaultdict(set)
        self._pods_by_run: dict[str, set[str]] = defaultdict(set)
        self._gone: dict[str, dict[str, Pod]] = defaultdict(dict)
        self.jobs = Informer(kube, cluster.jobs_path, parse_job, self._job_changed, OURS)
        self.pods = Informer(kube, cluster.pods_path, parse_pod, self._pod_changed, OURS)

    def put_job(self, document: Mapping[str, Any]) -> None:
        """A Job as it was just written."""
        self.jobs.put(document)

    async def refresh(self, job: Job) -> None:
        """Look at the Job again: the cache lags."""
        document = await self._cluster.job(job.name)
        if document is not None:
            self.jobs.put(document)

    def requests(self) -> Iterable[Key]:
        """Every request that has a Job here, whether it still exists or not."""
        return tuple(self._jobs_by_request)

    def all(self) -> list[Job]:
        """Every Job of ours."""
        return list(self.jobs.items.values())

    def jobs_of(self, key: Key) -> list[Job]:
        return [self.jobs.items[name] for name in sorted(self._jobs_by_request.get(key, ()))]

    async def job(self, run: str, *, confirm: bool) -> Job | None:
        """The run's Job. With `confirm`, "none" is the API server's own word, not a cache's that may lag."""
        name = names.job_name(run)
        if name not in self.jobs.items and confirm:
            document = await self._cluster.job(name)
            if document is not None:
                self.jobs.put(document)
        return self.jobs.items.get(name)

    async def pods_of(self, job: Job) -> tuple[Pod, ...]:
        """The pods of the Job's run. Once it is over, they are asked for if not all of their ends are known yet."""
        known = self.known_pods(job.run)
        ends = sum(pod.over for pod in (*known, *self.gone(job.run)))
        if job.terminal and ends < max(1, job.failed_pods + (1 if job.complete else 0)):
            return tuple(parse_pod(document) for document in await self._cluster.pods_of(job.run))
        return known

    def gone(self, run: str) -> tuple[Pod, ...]:
        """Pods of the run that were removed, as long as its Job is there: Kubernetes removes those of a suspended Job
        as soon as they end, and so do those who evict or preempt them."""
        return tuple(self._gone[run].values()) if run in self._gone else ()

    def known_pods(self, run: str) -> tuple[Pod, ...]:
        """The pods of a run that are there, as far as the cache knows."""
        return tuple(self.pods.items[name] for name in sorted(self._pods_by_run.get(run, ())))

    def lives(self, job: Job) -> bool:
        """A pod of the Job's run is known that has not ended."""
        pods = self.known_pods(job.run)
        return any(pod.exit_code is None and pod.phase not in {"Succeeded", "Failed"} for pod in pods)

    def running(self) -> list[Pod]:
        return [pod for pod in self.pods.items.values() if pod.running and not pod.deleting]

    def wake_job(self, name: str) -> None:
        """Something of this Job has changed: a pod, or what Kueue says of it."""
        job = self.jobs.items.get(name)
        if job is not None:
            self._wake(job.request)

    def _job_changed(self, before: Job | None, after: Job | None) -> None:
        job = after or before
        assert job is not None
        if after is None:
            self._jobs_by_request[job.request].discard(job.name)
            if not self._jobs_by_request[job.request]:
                del self._jobs_by_request[job.request]
            self._gone.pop(job.run, None)
        else:
            self._jobs_by_request[job.request].add(job.name)
        self._wake(job.request)

    def _pod_changed(self, before: Pod | None, after: Pod | None) -> None:
        pod = after or before
        assert pod is not None
        if after is None:
            self._pods_by_run[pod.run].discard(pod.name)
            if not self._pods_by_run[pod.run]:
                del self._pods_by_run[pod.run]
            if names.job_name(pod.run) in self.jobs.items:
                self._gone[pod.run][pod.name] = pod if pod.over else replace(pod, phase="Failed", running=False)
        else:
            self._pods_by_run[pod.run].add(pod.name)
        self.wake_job(names.job_name(pod.run))
