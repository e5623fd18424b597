"""Whether a pod is still to start, why it does not, and when Kubernetes' Events are asked for."""

from __future__ import annotations

from datetime import timedelta

import pytest

from export_operator.domain.model import Job, Pod
from export_operator.domain.notices import Notice, parse_notice
from export_operator.domain.starting import awaited_since, start_problem, stop_needed, unexplained

from .builders import NOW, ended_pod, job, later, pod, running_pod, success

pytestmark = pytest.mark.unit

WAITING = [
    (
        "ErrImagePull",
        "not found",
        ("ImageNotPullable", "the exporter's image cannot be pulled: not found"),
    ),
    ("ImagePullBackOff", "", ("ImageNotPullable", "the exporter's image cannot be pulled: ImagePullBackOff")),
    (
        "InvalidImageName",
        "a b",
        ("ImageNotPullable", "the exporter's image name is not valid: a b"),
    ),
    (
        "ErrImageNeverPull",
        "x",
        ("ImageNotPullable", "the exporter's image is not on the node and may not be pulled: x"),
    ),
    (
        "CreateContainerConfigError",
        'secret "app-db" not found',
        ("CredentialsMissing", 'a Secret or a key of it is missing in the run namespace: secret "app-db" not found'),
    ),
    ("CreateContainerError", "x", ("PodNotStarting", "the container cannot be created: x")),
    ("RunContainerError", "x", ("PodNotStarting", "the container cannot be run: x")),
    ("ContainerCreating", "", None),
    ("PodInitializing", "", None),
]


@pytest.mark.parametrize(("reason", "message", "expected"), WAITING)
def test_a_waiting_container_means(reason: str, message: str, expected: tuple[str, str] | None) -> None:
    assert start_problem((pod(waiting_reason=reason, waiting_message=message),)) == expected


def test_no_pods_are_no_problem_yet() -> None:
    assert start_problem(()) is None


def test_a_pod_without_a_node_says_what_is_missing() -> None:
    found = start_problem((pod(unschedulable="0/3 nodes are available: Insufficient memory."),))
    assert found == (
        "Unschedulable",
        "no node has room for the export pod: 0/3 nodes are available: Insufficient memory.",
    )


def test_only_the_newest_pod_tells_why_nothing_starts() -> None:
    old = pod(name="old", waiting_reason="ErrImagePull")
    assert start_problem((pod(name="new", created=later(9)), old)) is None


def test_a_long_sentence_of_the_kubelet_is_cut() -> None:
    found = start_problem((pod(waiting_reason="ErrImagePull", waiting_message="x" * 5000),))
    assert found is not None
    assert len(found[1]) == 600


FIVE = timedelta(seconds=300)
STOPS: dict[str, tuple[tuple[Pod, ...], float | None, float, tuple[str, str] | None]] = {
    "a new Job is waited for": ((), 0, 300, None),
    "nothing at all for too long": (
        (),
        0,
        301,
        ("StartDeadlineExceeded", "the export pod did not start (start deadline 300 s)"),
    ),
    "an image that does not come": (
        (pod(waiting_reason="ErrImagePull", waiting_message="no"),),
        0,
        301,
        ("ImageNotPullable", "the exporter's image cannot be pulled: no (start deadline 300 s)"),
    ),
    "an image that may still come": ((pod(waiting_reason="ErrImagePull"),), 0, 299, None),
    "a pod that runs": ((running_pod(),), None, 9999, None),
    "a pod that was killed at its memory limit": (
        (ended_pod(137, exit_reason="OOMKilled"),),
        None,
        2,
        ("OutOfMemory", "the export pod was killed at its memory limit"),
    ),
}


@pytest.mark.parametrize("case", STOPS)
def test_a_job_is_ended_early_when_it_must(case: str) -> None:
    pods, since, now, expected = STOPS[case]
    assert stop_needed(pods, None if since is None else later(since), FIVE, later(now)) == expected


def notice(reason: str, message: str, seconds: float = 0) -> Notice:
    return Notice(reason, message, later(seconds))


FORBIDDEN = 'Error creating: pods "export-x" is forbidden: '
COMPLAINTS: dict[str, tuple[tuple[Pod, ...], tuple[Notice, ...], tuple[str, str] | None]] = {
    "nothing": ((), (), None),
    "a ResourceQuota": (
        (),
        (notice("FailedCreate", f"{FORBIDDEN}exceeded quota: few, requested: pods=1, used: pods=5, limited: pods=5"),),
        (
            "ResourceQuotaExceeded",
            (
                f"the API server takes no export pod: {FORBIDDEN}exceeded quota: few, requested: pods=1, used: pods=5,"
                " limited: pods=5"
            ),
        ),
    ),
    "a ResourceQuota that wants limits": (
        (),
        (notice("FailedCreate", f"{FORBIDDEN}failed quota: few: must specify limits.cpu for: exporter"),),
        (
            "ResourceQuotaExceeded",
            f"the API server takes no export pod: {FORBIDDEN}failed quota: few: must specify limits.cpu for: exporter",
        ),
    ),
    "Pod Security": (
        (),
        (notice("FailedCreate", f'{FORBIDDEN}violates PodSecurity "restricted:latest": runAsNonRoot != true'),),
        (
            "PodSecurityRefused",
            (
                f'the API server takes no export pod: {FORBIDDEN}violates PodSecurity "restricted:latest":'
                " runAsNonRoot != true"
            ),
        ),
    ),
    "no service account": (
        (),
        (notice("FailedCreate", f'{FORBIDDEN}error looking up service account: serviceaccount "x" not found'),),
        (
            "PodRefused",
            (
                f"the API server takes no export pod: {FORBIDDEN}error looking up service account: serviceaccount"
                ' "x" not found'
            ),
        ),
    ),
    "the newest of several": (
        (),
        (notice("FailedCreate", "exceeded quota: few", 9), notice("FailedCreate", "something else", 3)),
        ("ResourceQuotaExceeded", "the API server takes no export pod: exceeded quota: few"),
    ),
    "a Secret to mount": (
        (pod(),),
        (notice("FailedMount", 'MountVolume.SetUp failed for volume "source" : secret "app-db" not found'),),
        (
            "CredentialsMissing",
            (
                'a Secret or a key of it is missing in the run namespace: MountVolume.SetUp failed for volume "source"'
                ' : secret "app-db" not found'
            ),
        ),
    ),
    "another volume": (
        (pod(),),
        (notice("FailedMount", "no space left on device"),),
        ("PodNotStarting", "the export pod cannot be made ready: no space left on device"),
    ),
    "no network": (
        (pod(),),
        (notice("FailedCreatePodSandBox", "no address is left"),),
        ("PodNotStarting", "the export pod cannot be made ready: no address is left"),
    ),
    "what is no complaint": ((pod(),), (notice("Scheduled", "assigned to a node"),), None),
    "no pod after an attempt": (
        (ended_pod(82),),
        (notice("FailedCreate", "exceeded quota: few"),),
        ("ResourceQuotaExceeded", "the API server takes no export pod: exceeded quota: few"),
    ),
}


@pytest.mark.parametrize("case", COMPLAINTS)
def test_kubernetes_complains_of(case: str) -> None:
    pods, told, expected = COMPLAINTS[case]
    assert start_problem(pods, told) == expected


SINCE: dict[str, tuple[Job, tuple[Pod, ...], float | None]] = {
    "no pod yet": (job(), (), 0),
    "no pod since it was let go on": (job(started=later(9)), (), 9),
    "Kueue has not let it go": (job(queue="exports"), (), None),
    "Kueue has let it go": (job(queue="exports", started=later(9)), (), 9),
    "a pod that is new": (job(), (pod(created=later(3)),), 3),
    "a pod that runs": (job(), (running_pod(),), None),
    "a pod after another": (job(), (ended_pod(82), pod(name="z", created=later(15))), 15),
    "no pod after another, whose back-off does not count": (job(), (ended_pod(82),), 45),
}


@pytest.mark.parametrize("case", SINCE)
def test_a_pod_is_awaited_since(case: str) -> None:
    given, pods, expected = SINCE[case]
    assert awaited_since(given, pods) == (None if expected is None else later(expected))


NEW = pod(created=later(10))
FAILED = job(failed=True)
ASKED: dict[str, tuple[Job, tuple[Pod, ...], float, str]] = {
    "a Job that is new": (job(), (), 4, ""),
    "a Job without a pod": (job(), (), 5, "job-uid"),
    "a Job that is suspended": (job(suspended=True), (), 5, ""),
    "a Job that is being deleted": (job(deleting=True), (), 5, ""),
    "a pod that is new": (job(), (NEW,), 14, ""),
    "a pod that does not start": (job(), (NEW,), 15, "pod-uid"),
    "a pod that says why it does not start": (job(), (pod(unschedulable="no room"),), 99, ""),
    "a pod that runs": (job(), (running_pod(),), 99, ""),
    "an attempt that ended by itself, and its back-off": (job(), (ended_pod(80),), 49, ""),
    "an attempt that was told to stop, and its back-off": (job(), (ended_pod(82),), 49, "pod-uid"),
    "an attempt that ended, and no other comes": (job(), (ended_pod(82),), 50, "job-uid"),
    "a pod that was killed": (FAILED, (ended_pod(137),), 9, "pod-uid"),
    "a pod that was told to stop": (FAILED, (ended_pod(82),), 9, "pod-uid"),
    "a pod that was told to stop by us": (job(failed=True, stop_reason="Cancelled"), (ended_pod(82),), 9, ""),
    "a pod that was evicted": (FAILED, (ended_pod(137, reason="Evicted"),), 9, ""),
    "a pod that was preempted": (FAILED, (ended_pod(82, disruption="PreemptionByScheduler"),), 9, ""),
    "a pod that was killed at its memory limit": (FAILED, (ended_pod(137, exit_reason="OOMKilled"),), 9, ""),
    "a pod that crashed": (FAILED, (ended_pod(1),), 9, ""),
    "a Job that delivered": (job(complete=True), (ended_pod(0, success()),), 9, ""),
    "a Job that left no pod": (FAILED, (), 9, ""),
}


@pytest.mark.parametrize("case", ASKED)
def test_events_are_asked_for_only_when_all_else_is_silent(case: str) -> None:
    given, pods, seconds, expected = ASKED[case]
    assert unexplained(given, pods, later(seconds)) == expected


def test_an_event_is_read_with_the_moment_when_it_was_last_said() -> None:
    body = {
        "reason": "FailedCreate",
        "message": "no",
        "lastTimestamp": "2026-11-24T12:00:05Z",
        "series": {"count": 3, "lastObservedTime": "2026-11-24T12:00:09.123456Z"},
    }
    assert parse_notice(body) == Notice("FailedCreate", "no", later(9.123456))
    assert parse_notice(body | {"series": None}) == Notice("FailedCreate", "no", later(5))
    assert parse_notice({}).last < NOW
