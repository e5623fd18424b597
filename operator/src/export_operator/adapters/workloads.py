"""Kueue's Workloads of the run namespace: read by a watch, and taken out of the queue or put back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from export_operator.adapters.informer import Informer
from export_operator.adapters.kube import Kube, path_of
from export_operator.domain.kueue import ANNOTATION_SUSPENDED, API_GROUP, API_VERSION, Workload, parse_workload
from export_operator.domain.model import Job


class Workloads:
    """`wake` is told the name of the Job whose Workload has changed. Without Kueue in the cluster nothing is ever seen;
    the watch asks again, so that Kueue may be installed later."""

    def __init__(self, kube: Kube, namespace: str, wake: Callable[[str], None]) -> None:
        self._kube = kube
        self._path = path_of(API_GROUP, API_VERSION, "workloads", namespace=namespace)
        self._wake = wake
        self._by_job: dict[str, str] = {}
        self.informer = Informer(kube, self._path, parse_workload, self._changed)

    @property
    def seen(self) -> bool:
        """Whether Workloads can be read: a Job without one then has none."""
        return self.informer.synced.is_set()

    def of(self, job: Job) -> Workload | None:
        return self.informer.items.get(self._by_job.get(job.uid, ""))

    async def set_active(self, workload: Workload, *, active: bool) -> None:
        """An inactive Workload holds no place and waits for none. That it is so by our word is written beside it.

        Raises `ApiError`."""
        annotations: dict[str, Any] = {ANNOTATION_SUSPENDED: None if active else "true"}
        body = {"metadata": {"uid": workload.uid, "annotations": annotations}, "spec": {"active": active}}
        self.informer.put(await self._kube.patch(f"{self._path}/{workload.name}", body))

    def _changed(self, before: Workload | None, after: Workload | None) -> None:
        workload = after or before
        assert workload is not None
        if after is not None:
            self._by_job[after.job_uid] = after.name
        elif self._by_job.get(workload.job_uid) == workload.name:
            del self._by_job[workload.job_uid]
        self._wake(workload.job)
