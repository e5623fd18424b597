"""Jobs as the operator makes, stops and deletes them, with the real Job controller at the other end."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from export_contract import names
from export_operator.adapters.cluster import Cluster
from export_operator.adapters.informer import Informer
from export_operator.adapters.kube import ApiError, Kube, path_of
from export_operator.adapters.runs import Runs
from export_operator.adapters.workloads import Workloads
from export_operator.domain import times
from export_operator.domain.actions import Emit
from export_operator.domain.model import Job, Key, parse_job, parse_request
from export_operator.domain.notices import no_pod

from .connections import synced, until

pytestmark = pytest.mark.integration

RUN = secrets.token_hex(10)


def manifest(run: str = RUN, uid: str = "uid-1", **spec: Any) -> dict[str, Any]:
    """A Job that never gets a pod to run: its image does not exist, and it begins suspended."""
    labels = {
        "app.kubernetes.io/managed-by": "export-operator",
        "export-operator.io/run": run,
        "export-operator.io/request-uid": uid,
    }
    container = {"name": "exporter", "image": "invalid.example/none:0", "imagePullPolicy": "Never"}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": names.job_name(run),
            "labels": labels,
            "annotations": {
                "export-operator.io/request-namespace": "team-a",
                "export-operator.io/request-name": "users",
            },
        },
        "spec": {
            "suspend": True,
            "activeDeadlineSeconds": 600,
            "template": {
                "metadata": {"labels": labels},
                "spec": {"restartPolicy": "Never", "terminationGracePeriodSeconds": 0, "containers": [container]},
            },
        }
        | spec,
    }


async def as_it_is(cluster: Cluster, name: str, act: Callable[[Job], Awaitable[Any]]) -> Any:
    """What becomes of an act upon the present Job; the Job controller may write its status meanwhile."""
    for _ in range(20):
        try:
            return await act(parse_job(await cluster.job(name) or {}))
        except ApiError as error:
            if not error.conflict:
                raise
    raise AssertionError("the Job does not come to rest")


@pytest.fixture
def cluster(kube: Kube, namespace: str) -> Cluster:
    return Cluster(kube, namespace)


async def test_what_is_said_again_stands_once_and_is_counted(cluster: Cluster, kube: Kube, namespace: str) -> None:
    asking = parse_request(
        {
            "metadata": {"namespace": namespace, "name": "users", "uid": "uid-1", "resourceVersion": "1"},
            "spec": {"source": {"name": "app-db"}, "requester": {"username": "alice"}},
        }
    )

    async def told() -> list[tuple[str, str, int]]:
        events, _ = await kube.list(path_of("", "v1", "events", namespace=namespace))
        return sorted((each["reason"], each["message"], each["count"]) for each in events)

    def waits(place: int) -> Emit:
        return Emit("Normal", "QuotaExceeded", f"number {place} in line", RUN)

    for event in (waits(3), waits(2), waits(2), Emit("Normal", "QuotaExceeded", "of another run", "other"), waits(1)):
        await cluster.emit(asking, event, datetime.now(UTC))
    for words in ("attempt 1 failed", "attempt 2 failed", "attempt 2 failed"):
        await cluster.emit(asking, Emit("Warning", "Retrying", words, RUN), datetime.now(UTC))
    warned = [("Retrying", "attempt 1 failed", 1), ("Retrying", "attempt 2 failed", 1)]
    other = ("QuotaExceeded", "of another run", 1)
    assert await told() == [("QuotaExceeded", "number 1 in line", 3), other, *warned]
    await Cluster(kube, namespace).emit(asking, waits(7), datetime.now(UTC))  # by the next operator
    assert await told() == [("QuotaExceeded", "number 7 in line", 3), other, *warned]


async def test_a_job_that_was_created_before_is_the_one(cluster: Cluster) -> None:
    first = await cluster.create_job(manifest())
    second = await cluster.create_job(manifest())
    assert second["metadata"]["uid"] == first["metadata"]["uid"]


async def test_a_job_of_another_request_under_the_name_is_refused(cluster: Cluster) -> None:
    await cluster.create_job(manifest(uid="uid-1"))
    with pytest.raises(ApiError, match="NameTaken") as refused:
        await cluster.create_job(manifest(uid="uid-2"))
    assert (refused.value.conflict, refused.value.exists) == (False, False)


async def test_a_job_that_is_not_there_is_none(cluster: Cluster) -> None:
    assert await cluster.job("export-none") is None


async def test_a_stopped_job_fails_and_bears_the_reason(cluster: Cluster, kube: Kube) -> None:
    runs = Runs(kube, cluster, lambda _: None)
    name = names.job_name(RUN)
    async with synced(runs.jobs):
        job = parse_job(await cluster.create_job(manifest()))
        runs.put_job(await cluster.stop_job(job, "Cancelled", "cancelled by a test"))
        await until(lambda: runs.jobs.items[name].terminal, "the Job controller ends the Job")
    ended = runs.jobs.items[name]
    assert (ended.failed_reason, ended.stop_reason, ended.stop_message) == (
        "DeadlineExceeded",
        "Cancelled",
        "cancelled by a test",
    )


async def test_a_job_that_was_made_anew_is_not_stopped_for_the_old_one(cluster: Cluster) -> None:
    old = parse_job(await cluster.create_job(manifest()))
    await cluster.delete_job(old)
    new = await cluster.create_job(manifest())
    with pytest.raises(ApiError, match="field is immutable"):
        await cluster.stop_job(old, "Cancelled", "")
    found = await cluster.job(old.name)
    assert found is not None
    assert (found["metadata"]["annotations"], found["spec"]) == (new["metadata"]["annotations"], new["spec"])


async def test_a_job_is_suspended_and_let_go_on(cluster: Cluster) -> None:
    job = parse_job(await cluster.create_job(manifest(suspend=False, activeDeadlineSeconds=1)))
    suspended = parse_job(await cluster.suspend_job(job, suspend=True))
    going_on = await as_it_is(cluster, job.name, partial(cluster.suspend_job, suspend=False))
    assert (suspended.suspended, parse_job(going_on).suspended) == (True, False)


async def test_a_job_that_has_changed_is_neither_let_go_on_nor_deleted_as_what_it_was(cluster: Cluster) -> None:
    job = parse_job(await cluster.create_job(manifest()))
    await cluster.stop_job(job, "Cancelled", "cancelled by a test")
    for attempt in (cluster.suspend_job(job, suspend=False), cluster.delete_job(job, unchanged=True)):
        with pytest.raises(ApiError) as refused:
            await attempt
        assert refused.value.conflict
    await as_it_is(cluster, job.name, partial(cluster.delete_job, unchanged=True))
    assert await cluster.job(job.name) is None
    await cluster.delete_job(job, unchanged=True)


async def test_a_stopped_job_of_kueues_stays_suspended_and_ends_as_soon_as_it_is_let_go(
    cluster: Cluster, kube: Kube
) -> None:
    runs = Runs(kube, cluster, lambda _: None)
    name = names.job_name(RUN)
    queued = manifest()
    queued["metadata"]["labels"] = queued["metadata"]["labels"] | {"kueue.x-k8s.io/queue-name": "exports"}
    async with synced(runs.jobs):
        job = parse_job(await cluster.create_job(queued))
        stopped = parse_job(await cluster.stop_job(job, "Cancelled", "cancelled by a test"))
        assert (stopped.queue, stopped.suspended, stopped.stop_reason) == ("exports", True, "Cancelled")
        await kube.patch(f"{cluster.jobs_path}/{name}", {"spec": {"suspend": False}})  # Kueue, which did not know
        await until(lambda: runs.jobs.items[name].terminal, "the Job controller ends the Job")
    assert (runs.jobs.items[name].failed_reason, runs.jobs.items[name].stop_reason) == ("DeadlineExceeded", "Cancelled")


async def test_the_deadline_of_a_job_counts_from_when_it_is_let_go(cluster: Cluster, kube: Kube) -> None:
    """What the deadlines of runs that Kueue holds rest on: a suspended Job has no clock; letting it go starts it."""
    jobs: Informer[Any] = Informer(kube, cluster.jobs_path, lambda document: document, lambda _before, _after: None)
    name = names.job_name(RUN)

    def since(kind: str) -> str:
        conditions = jobs.items[name]["status"].get("conditions") or ()
        return next((each["lastTransitionTime"] for each in conditions if each["type"] == kind), "")

    async with synced(jobs):
        job = parse_job(await cluster.create_job(manifest(activeDeadlineSeconds=1)))
        await until(lambda: name in jobs.items and since("Suspended") != "", "the Job controller has seen it")
        assert "startTime" not in jobs.items[name]["status"]
        suspended = since("Suspended")
        await as_it_is(cluster, job.name, partial(cluster.suspend_job, suspend=False))
        await until(lambda: since("Failed") != "", "its second is over")
    ended = parse_job(jobs.items[name])
    assert ended.started is not None
    assert ended.finished is not None
    assert ended.failed_reason == "DeadlineExceeded"
    assert times.render(ended.started) >= suspended
    assert (ended.finished - ended.started).total_seconds() >= 1


async def test_without_kueue_in_the_cluster_no_workload_is_seen_and_nothing_fails(
    kube: Kube, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    workloads = Workloads(kube, namespace, lambda _: None)
    watching = asyncio.create_task(workloads.informer.run())
    await until(lambda: "workloads is broken" in caplog.text, "it has asked once")
    assert (workloads.seen, watching.done()) == (False, False)
    watching.cancel()


async def test_jobs_are_found_by_their_request_until_they_are_deleted(cluster: Cluster, kube: Kube) -> None:
    woken: list[Key] = []
    runs = Runs(kube, cluster, woken.append)
    users = Key("team-a", "users")
    async with synced(runs.jobs):
        job = parse_job(await cluster.create_job(manifest()))
        await until(lambda: runs.requests() == (users,), "the Job is seen")
        found: list[Job] = runs.jobs_of(users)
        await cluster.delete_job(job)
        await until(lambda: runs.requests() == (), "the deletion is seen")
    assert ([each.uid for each in found], set(woken)) == ([job.uid], {users})


async def test_a_job_that_the_cache_lacks_is_asked_for(cluster: Cluster, kube: Kube) -> None:
    runs = Runs(kube, cluster, lambda _: None)
    await cluster.create_job(manifest())
    unconfirmed = await runs.job(RUN, confirm=False)
    confirmed = await runs.job(RUN, confirm=True)
    assert (unconfirmed, confirmed and confirmed.run) == (None, RUN)


async def complaint(cluster: Cluster, job: Job) -> tuple[str, str]:
    """What the Job controller says of a Job that gets no pod."""
    for _ in range(200):
        found = no_pod(await cluster.notices(job.uid))
        if found is not None:
            return found
        await asyncio.sleep(0.1)
    raise AssertionError("nobody complains")


async def test_a_job_that_gets_no_pod_for_want_of_quota_says_so(cluster: Cluster, kube: Kube, namespace: str) -> None:
    quotas = path_of("", "v1", "resourcequotas", namespace=namespace)
    await kube.create(quotas, {"metadata": {"name": "few"}, "spec": {"hard": {"pods": "0"}}})
    job = parse_job(await cluster.create_job(manifest(suspend=False)))
    reason, text = await complaint(cluster, job)
    assert (reason, "exceeded quota: few, requested: pods=1" in text) == ("ResourceQuotaExceeded", True)


async def test_a_job_whose_pods_are_not_safe_enough_says_so(cluster: Cluster, kube: Kube, namespace: str) -> None:
    label = {"pod-security.kubernetes.io/enforce": "restricted"}
    await kube.patch(path_of("", "v1", "namespaces", namespace), {"metadata": {"labels": label}})
    job = parse_job(await cluster.create_job(manifest(suspend=False)))
    reason, text = await complaint(cluster, job)
    assert (reason, 'violates PodSecurity "restricted' in text) == ("PodSecurityRefused", True)


async def test_a_run_namespace_is_there_until_it_is_gone_or_going(kube: Kube, cluster: Cluster, namespace: str) -> None:
    blocked = {"metadata": {"name": "last", "finalizers": ["export-operator.io/test"]}}
    configmaps = path_of("", "v1", "configmaps", namespace=namespace)
    await kube.create(configmaps, blocked)
    found = [await cluster.namespace_missing(), await Cluster(kube, "nowhere").namespace_missing()]
    await kube.delete(path_of("", "v1", "namespaces", namespace))
    found.append(await cluster.namespace_missing())
    await kube.patch(f"{configmaps}/last", {"metadata": {"finalizers": None}})
    assert found == [False, True, True]


async def test_a_node_that_is_not_there_is_silent_and_one_that_is_ready_is_not(cluster: Cluster, kube: Kube) -> None:
    nodes, _ = await kube.list(path_of("", "v1", "nodes"))
    ready = [
        node["metadata"]["name"]
        for node in nodes
        if {"Ready": "True"}.items() <= {item["type"]: item["status"] for item in node["status"]["conditions"]}.items()
    ]
    assert [await cluster.silent(ready[0]), await cluster.silent("nowhere")] == [False, True]


async def test_a_pod_that_its_node_never_ends_is_given_up_and_costs_no_attempt(cluster: Cluster, kube: Kube) -> None:
    runs = Runs(kube, cluster, lambda _: None)
    ignored = [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]
    made = manifest(suspend=False, podReplacementPolicy="Failed", podFailurePolicy={"rules": ignored}, backoffLimit=0)
    made["spec"]["template"]["spec"] |= {"nodeName": "nowhere", "terminationGracePeriodSeconds": 600}
    async with synced(runs.jobs, runs.pods):
        job = parse_job(await cluster.create_job(made))
        await until(lambda: len(runs.pods.items) == 1, "the pod is made")
        (first,) = await runs.pods_of(job)
        await kube.delete(f"{cluster.pods_path}/{first.name}", uid=first.uid)
        await until(lambda: runs.pods.items[first.name].gone_by is not None, "the pod is to end")
        await cluster.lose_pod(runs.pods.items[first.name], datetime.now(UTC))
        await until(lambda: first.name not in runs.pods.items and len(runs.pods.items) == 1, "another pod is made")
        await cluster.lose_pod(first, datetime.now(UTC))  # it is gone already
        pods = {pod.name: pod for pod in (*runs.gone(job.run), *await runs.pods_of(job))}
        present = runs.jobs.items[job.name]
    assert (len(pods), pods[first.name].over, pods[first.name].reason) == (2, True, "NodeLost")
    assert (present.failed, present.failing, present.failed_pods) == (False, None, 0)
