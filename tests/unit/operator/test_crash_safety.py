"""Whatever moment the operator dies at, or is refused, or loses an answer: the end is the undisturbed one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest

from export_operator.domain.actions import Settings
from export_operator.domain.breaker import SOURCE
from export_operator.domain.identity import Finding
from export_operator.domain.model import Job, Key, Named, going
from export_operator.domain.policy import Defaults

from .builders import ENFORCED, KEY, NOW, RUN, SETTINGS, failure
from .hand import Hand, Killed, Trouble, finish
from .world import Operator, World, settle

pytestmark = pytest.mark.unit

OTHER = Key("team-a", "other")
STRANGER = Key("team-a", "stranger")
ONE_EACH = replace(SETTINGS, defaults=Defaults(requests_per_user=1))
ONE_AT_ONCE = replace(SETTINGS, max_concurrent_runs=1)
TIGHT_NAMESPACE = (Named("tight", {"limits": {"user": {"requests": 5}, "namespace": {"requests": 1}}}),)
QUEUED = (Named("queued", {"kueue": {"queueName": "exports"}}),)
FOUR_LEVELS = (
    Named("four", {"limits": {level: {"requests": 5, "rows": 300} for level in ("user", "namespace", "all")}}),
)


def objects_kept(seconds: int) -> tuple[Named, ...]:
    return (Named("kept", {"retention": {"objectTTLSeconds": seconds}}),)


CAROL: dict[str, Any] = {"requester": {"username": "carol"}, "submittedBy": {"username": "carol"}}
BOB: dict[str, Any] = {"requester": {"username": "bob"}, "submittedBy": {"username": "bob"}}


def jobs(world: World, action: Callable[[str], None]) -> None:
    for name in list(world.jobs):
        if not world.jobs[name].terminal:
            action(name)


def start(world: World) -> None:
    jobs(world, world.start)


def deliver(world: World) -> None:
    jobs(world, world.deliver)


def fail(world: World) -> None:
    jobs(world, lambda name: world.end(name, 67, failure().replace(RUN, world.jobs[name].run)))


def fail_by_its_own_fault(world: World) -> None:
    """After some rows, for a reason that its requester must mend."""
    told = failure(reason="ValueTooLarge", failure_class="User", exit_code=72, read=0.2)
    jobs(world, lambda name: world.end(name, 72, told.replace(RUN, world.jobs[name].run)))


def interrupt(world: World) -> None:
    jobs(world, lambda name: world.end(name, 82, last=False))


def run_out_of_memory(world: World) -> None:
    jobs(world, lambda name: world.end(name, 137, reason="OOMKilled", last=False))


def die(world: World) -> None:
    """Killed for the last time, without a word."""
    jobs(world, lambda name: world.end(name, 137))


def die_delivering(world: World) -> None:
    """Likewise, between the manifest and the word of it."""
    deliver(world)
    for name, job in world.jobs.items():
        world.jobs[name] = replace(job, complete=False, failed=True, failed_reason="BackoffLimitExceeded")
        world.pods[job.run] = tuple(replace(pod, exit_code=137, exit_message="") for pod in world.pods[job.run])


def lose_the_node(world: World) -> None:
    """Its pod shall be gone in twenty seconds, and nobody is there to end it."""
    world.silent = {"node"}
    for run, pods in world.pods.items():
        late = world.now + timedelta(seconds=20)
        world.pods[run] = tuple(replace(pod, node="node", deleting=True, gone_by=late) for pod in pods)


def end_without_pods(world: World) -> None:
    """The Job controller ends what was stopped when no pod of it is there any more."""
    for name, job in world.jobs.items():
        if job.stop_reason and not world.pods[job.run]:
            world.jobs[name] = replace(job, failed=True, failed_reason="DeadlineExceeded", finished=world.now)


def deliver_and_lose_the_job(world: World) -> None:
    deliver(world)
    lose_the_job(world)


def lose_the_job(world: World) -> None:
    for name in list(world.jobs):
        del world.pods[world.jobs.pop(name).run]


def lose_the_job_alone(world: World) -> None:
    """As `kubectl delete --cascade=orphan` does: its pod goes on."""
    world.jobs.clear()


def keep_the_jobs(world: World) -> None:
    """A finalizer of somebody else's does."""
    world.jobs_kept = True


def delete_the_job(world: World) -> None:
    for name in list(world.jobs):
        world.delete_job(name)


def applied(key: Key = KEY, **changes: Any) -> Callable[[World], None]:
    return lambda world: world.apply(key, **changes)


def lose_the_ledger(world: World) -> None:
    world.usages.clear()


def bucket_away(world: World) -> None:
    world.bucket_away = True


def bucket_back(world: World) -> None:
    world.bucket_away = False


SHORT: dict[str, Any] = {"ttlSecondsAfterFinished": 60}
TRACKED = {"argocd.argoproj.io/tracking-id": "app:export-operator.io/ExportRequest:team-a/users"}
AT_ONCE: dict[str, Any] = {"ttlSecondsAfterFinished": 0}
KEPT: dict[str, Any] = {"finalizers": ("example.org/audit",)}
OTHER_COLUMNS: dict[str, Any] = {"source": {"name": "app-db", "dataset": "users", "columns": ["id"]}}
BRIEF = applied(**SHORT)
MANAGED = applied(annotations=TRACKED, **SHORT)
HOOK = applied(annotations=TRACKED | {"argocd.argoproj.io/hook": "PostSync"}, **SHORT)


def source_down(world: World) -> None:
    world.fall(SOURCE, "app-db")


def source_up(world: World) -> None:
    world.rise(SOURCE, "app-db")


def waited(seconds: float) -> Callable[[World], None]:
    return lambda world: world.wait(seconds)


def deleted(key: Key = KEY) -> Callable[[World], None]:
    return lambda world: world.delete(key)


def torn(world: World) -> None:
    """The canary sees that the policies are missing."""
    world.identity = world.identity.after(Finding(world.now, False, "check-identity is missing"))


def mended(world: World) -> None:
    world.identity = world.identity.after(Finding(world.now, True))


def forgotten(world: World) -> None:
    """Mended, and looked at by an operator that was not there before."""
    world.identity = replace(ENFORCED, good=world.now)


def activate(active: bool) -> Callable[[World], None]:
    """What an administrator does to the Workloads, past the operator."""

    def change(world: World) -> None:
        for name, workload in world.workloads.items():
            world.workloads[name] = replace(workload, active=active)
        world.queue()

    return change


@dataclass(frozen=True)
class Story:
    """What happens, step by step; after each the operator comes to rest. `phases` and `runs` are how it ends."""

    steps: tuple[Callable[[World], None], ...]
    phases: Mapping[Key, str]
    runs: int
    entries: int
    settings: Settings = SETTINGS
    policies: tuple[Named, ...] = ()


RAN = (start, deliver)
STORIES: dict[str, Story] = {
    "delivered": Story((applied(), *RAN), {KEY: "Succeeded"}, 1, 1),
    "delivered under a runID": Story((applied(runID="first"), *RAN), {KEY: "Succeeded"}, 1, 1),
    "failed": Story((applied(), start, fail), {KEY: "Failed"}, 1, 1),
    "delivered by the second pod": Story((applied(), start, interrupt, *RAN), {KEY: "Succeeded"}, 1, 1),
    "out of memory": Story((applied(), start, run_out_of_memory, World.obey), {KEY: "Failed"}, 1, 1),
    "never started": Story((applied(), waited(301), World.obey), {KEY: "Failed"}, 1, 1),
    "refused for an unknown source": Story((applied(source={"name": "nowhere"}), waited(11)), {KEY: "Rejected"}, 0, 0),
    "refused for want of quota": Story(
        (applied(OTHER), *RAN, applied(onQuotaExceeded="Reject")),
        {OTHER: "Succeeded", KEY: "Rejected"},
        1,
        1,
        ONE_EACH,
    ),
    "refused by the second of two windows": Story(
        (applied(OTHER), *RAN, applied(onQuotaExceeded="Reject", **BOB)),
        {OTHER: "Succeeded", KEY: "Rejected"},
        1,
        2,  # of OTHER: one for alice, one for the namespace; bob holds nothing
        policies=TIGHT_NAMESPACE,
    ),
    "queued until the window has room": Story(
        (applied(OTHER), *RAN, applied(), waited(86_400), *RAN),
        {OTHER: "Succeeded", KEY: "Succeeded"},
        2,
        2,
        ONE_EACH,
    ),
    "queued until a slot is free": Story(
        (applied(OTHER), applied(), start, deliver, *RAN), {OTHER: "Succeeded", KEY: "Succeeded"}, 2, 2, ONE_AT_ONCE
    ),
    "three users take turns at one slot": Story(
        (
            applied(OTHER, **CAROL),
            waited(5),
            applied(),
            waited(5),
            applied(STRANGER, **BOB),
            *RAN,
            *RAN,
            *RAN,
        ),
        {OTHER: "Succeeded", KEY: "Succeeded", STRANGER: "Succeeded"},
        3,
        3,
        ONE_AT_ONCE,
    ),
    "one more than may wait": Story(
        (applied(OTHER), applied(), applied(STRANGER), *RAN, *RAN),
        {OTHER: "Succeeded", KEY: "Succeeded", STRANGER: "Rejected"},
        2,
        2,
        ONE_AT_ONCE,
        policies=(Named("short", {"limits": {"user": {"maxQueued": 1}}}),),
    ),
    "two in line for one place in a window": Story(
        (
            applied(OTHER),
            *RAN,
            applied(),
            waited(5),
            applied(STRANGER),
            waited(86_400),
            *RAN,
        ),
        {OTHER: "Succeeded", KEY: "Succeeded", STRANGER: "Queued"},
        2,
        2,
        ONE_EACH,
    ),
    "waited longer than its queue deadline": Story(
        (applied(OTHER), applied(queueDeadlineSeconds=100), waited(101)),
        {OTHER: "Pending", KEY: "Failed"},
        1,
        1,
        replace(ONE_EACH, max_concurrent_runs=9),
    ),
    "held while its source is down": Story(
        (source_down, applied(), waited(100), source_up, *RAN), {KEY: "Succeeded"}, 1, 1
    ),
    "held longer than its queue deadline": Story(
        (source_down, applied(queueDeadlineSeconds=100), waited(101)), {KEY: "Failed"}, 0, 0
    ),
    "held and deleted": Story((source_down, applied(), deleted()), {}, 0, 0),
    "held while it waits for a slot": Story(
        (applied(OTHER), applied(), source_down, *RAN, source_up, *RAN),
        {OTHER: "Succeeded", KEY: "Succeeded"},
        2,
        2,
        ONE_AT_ONCE,
    ),
    "a source that goes down while it runs": Story((applied(), start, source_down, deliver), {KEY: "Succeeded"}, 1, 1),
    "let go on while its source is down": Story(
        (
            applied(),
            start,
            applied(suspend=True),
            World.obey,
            source_down,
            applied(suspend=False),
            waited(1000),
            source_up,
            *RAN,
        ),
        {KEY: "Succeeded"},
        1,
        1,
    ),
    "cancelled in the queue": Story(
        (applied(OTHER), applied(), applied(cancel=True)),
        {OTHER: "Pending", KEY: "Cancelled"},
        1,
        1,
        ONE_AT_ONCE,
    ),
    "cancelled while it runs": Story((applied(), start, applied(cancel=True), World.obey), {KEY: "Cancelled"}, 1, 1),
    "suspended from the start": Story((applied(suspend=True), applied(suspend=False), *RAN), {KEY: "Succeeded"}, 1, 1),
    "suspended for long while it runs": Story(
        (applied(), start, applied(suspend=True), World.obey, waited(4000), applied(suspend=False), *RAN),
        {KEY: "Succeeded"},
        1,
        1,
    ),
    "a slot given on while it was suspended": Story(
        (
            applied(),
            start,
            applied(suspend=True),
            World.obey,
            applied(OTHER),
            *RAN,
            applied(suspend=False),
            *RAN,
        ),
        {OTHER: "Succeeded", KEY: "Succeeded"},
        2,
        2,
        ONE_AT_ONCE,
    ),
    "cancelled while it is suspended": Story(
        (applied(), start, applied(suspend=True), World.obey, applied(cancel=True)), {KEY: "Cancelled"}, 1, 1
    ),
    "suspended for longer than it may wait": Story(
        (
            applied(queueDeadlineSeconds=100, suspend=True),
            waited(4000),
            applied(suspend=False),
            start,
            applied(suspend=True),
            World.obey,
            waited(4000),
            applied(suspend=False),
            *RAN,
        ),
        {KEY: "Succeeded"},
        1,
        1,
    ),
    "waited too long after it was suspended": Story(
        (
            applied(queueDeadlineSeconds=100),
            start,
            applied(suspend=True),
            World.obey,
            applied(OTHER),
            start,
            applied(suspend=False),
            waited(101),
            deliver,
        ),
        {OTHER: "Succeeded", KEY: "Failed"},
        2,
        2,
        ONE_AT_ONCE,
    ),
    "an old runID again, when nothing is left of its run": Story(
        (
            applied(**SHORT, expiry="Keep"),
            start,
            fail_by_its_own_fault,
            applied(runID="again"),
            *RAN,
            waited(61),
            applied(runID=""),
        ),
        {KEY: "Rejected"},
        2,
        2,
    ),
    "an old runID again, when its run waits to be undone": Story(
        (
            applied(),
            start,
            applied(suspend=True),
            World.obey,
            bucket_away,
            applied(cancel=True),
            waited(5),
            applied(cancel=False, suspend=False, runID="again"),
            *RAN,
            applied(runID=""),
            start,
            bucket_back,
        ),
        {KEY: "Rejected"},
        2,
        2,
    ),
    "an old runID again, when its Job is still there": Story(
        (applied(deletionPolicy="Delete"), *RAN, waited(5), applied(runID="again"), *RAN, applied(runID="")),
        {KEY: "Rejected"},
        2,
        2,
    ),
    "an old runID again, when its objects wait for the end of the request": Story(
        (
            applied(deletionPolicy="Delete", expiry="Keep", **SHORT),
            *RAN,
            waited(5),
            applied(runID="again"),
            *RAN,
            applied(runID=""),
            waited(61),
            deleted(),
        ),
        {},
        2,
        2,
    ),
    "failed while its bucket is away": Story((applied(), start, bucket_away, fail, bucket_back), {KEY: "Failed"}, 1, 1),
    "run again after a failure, while its bucket is away": Story(
        (applied(), start, bucket_away, fail, applied(runID="again"), *RAN, bucket_back), {KEY: "Succeeded"}, 2, 2
    ),
    "deleted after it had failed, while its bucket was away": Story(
        (applied(), start, bucket_away, fail, deleted(), bucket_back), {}, 1, 1
    ),
    "gone when its time is over": Story((BRIEF, *RAN, waited(61)), {}, 1, 1),
    "kept when its time is over": Story((applied(**SHORT, expiry="Keep"), *RAN, waited(61)), {KEY: "Expired"}, 1, 1),
    "kept because a tool manages it": Story((MANAGED, *RAN, waited(61)), {KEY: "Expired"}, 1, 1),
    "kept, and run again under a new runID": Story(
        (MANAGED, *RAN, waited(61), applied(runID="again"), *RAN), {KEY: "Succeeded"}, 2, 2
    ),
    "made again after its time": Story((BRIEF, *RAN, waited(61), BRIEF, *RAN), {KEY: "Succeeded"}, 1, 1),
    "made again after its time, again and again": Story(
        (BRIEF, *RAN, *(waited(61), BRIEF) * 3, *RAN), {KEY: "Succeeded"}, 1, 1
    ),
    "made again after its time where there is no quota left": Story(
        (BRIEF, *RAN, waited(61), BRIEF), {KEY: "Succeeded"}, 1, 1, ONE_EACH
    ),
    "made again while its source is down": Story(
        (BRIEF, *RAN, waited(61), source_down, BRIEF), {KEY: "Succeeded"}, 1, 1
    ),
    "made again after it failed and its time": Story((BRIEF, start, fail, waited(61), BRIEF), {KEY: "Failed"}, 1, 1),
    "made again after it was cancelled and its time": Story(
        (BRIEF, start, applied(cancel=True), World.obey, waited(61), BRIEF), {KEY: "Cancelled"}, 1, 1
    ),
    "deleted by a person and applied again": Story((BRIEF, *RAN, deleted(), BRIEF, *RAN), {KEY: "Succeeded"}, 2, 2),
    "adopted, deleted by a person and applied again": Story(
        (BRIEF, *RAN, waited(61), BRIEF, deleted(), BRIEF, *RAN), {KEY: "Succeeded"}, 2, 2
    ),
    "made again under a new runID": Story(
        (BRIEF, *RAN, waited(61), applied(**SHORT, runID="again"), *RAN), {KEY: "Succeeded"}, 2, 2
    ),
    "made again for something else": Story(
        (BRIEF, *RAN, waited(61), applied(**SHORT, **OTHER_COLUMNS), *RAN), {KEY: "Succeeded"}, 2, 2
    ),
    "made again by somebody else": Story(
        (BRIEF, *RAN, waited(61), applied(**SHORT, **BOB), *RAN), {KEY: "Succeeded"}, 2, 2
    ),
    "managed, deleted by anybody and made again": Story(
        (MANAGED, *RAN, deleted(), MANAGED, *RAN), {KEY: "Succeeded"}, 1, 1
    ),
    "managed, deleted after its time and made again": Story(
        (MANAGED, *RAN, waited(61), deleted(), MANAGED, waited(61)), {KEY: "Expired"}, 1, 1
    ),
    "managed, run again, deleted and made again as it was": Story(
        (MANAGED, *RAN, applied(runID="again"), *RAN, deleted(), MANAGED, *RAN), {KEY: "Succeeded"}, 3, 3
    ),
    "managed, deleted and made again when the ledger is lost": Story(
        (MANAGED, *RAN, deleted(), lose_the_ledger, MANAGED, *RAN), {KEY: "Succeeded"}, 1, 0
    ),
    "managed, and made again for something else when the ledger is lost": Story(
        (MANAGED, *RAN, deleted(), lose_the_ledger, applied(annotations=TRACKED, **OTHER_COLUMNS), *RAN),
        {KEY: "Succeeded"},
        2,
        1,
    ),
    "made again after its time when the ledger is lost": Story(
        (BRIEF, *RAN, waited(61), lose_the_ledger, BRIEF, *RAN), {KEY: "Succeeded"}, 2, 1
    ),
    "gone when its time is over, with its objects": Story(
        (applied(**SHORT, deletionPolicy="Delete"), *RAN, waited(61)), {}, 1, 1
    ),
    "made again after its objects went with it": Story(
        (*(applied(**SHORT, deletionPolicy="Delete"), *RAN, waited(61)) * 2, applied(**SHORT, deletionPolicy="Delete")),
        {KEY: "Succeeded"},
        1,
        1,
    ),
    "managed, and deleted with its objects": Story(
        (applied(annotations=TRACKED, deletionPolicy="Delete"), *RAN, deleted(), MANAGED, *RAN),
        {KEY: "Succeeded"},
        2,
        2,
    ),
    "its objects go at a time of their own, by its Job": Story(
        (applied(), *RAN, waited(101)), {KEY: "Succeeded"}, 1, 1, policies=objects_kept(100)
    ),
    "its objects go when the Job has gone before": Story(
        (applied(**SHORT, expiry="Keep"), *RAN, waited(61), waited(40)),
        {KEY: "Expired"},
        1,
        1,
        policies=objects_kept(100),
    ),
    "gone when the time of its objects is over too": Story(
        (BRIEF, *RAN, waited(61), waited(40), waited(6)), {}, 1, 1, policies=objects_kept(100)
    ),
    "made again when its objects have gone": Story(
        (BRIEF, *RAN, waited(61), waited(40), waited(6), BRIEF), {KEY: "Succeeded"}, 1, 1, policies=objects_kept(100)
    ),
    "deleted before the time of its objects is over": Story(
        (applied(), *RAN, deleted(), waited(101)), {}, 1, 1, policies=objects_kept(100)
    ),
    "a hook": Story((HOOK, *RAN, deleted(), HOOK, *RAN), {KEY: "Succeeded"}, 2, 2),
    "a hook, made again after its time": Story((HOOK, *RAN, waited(61), HOOK, *RAN), {KEY: "Succeeded"}, 2, 2),
    "run again under a new runID": Story((applied(), *RAN, applied(runID="again"), *RAN), {KEY: "Succeeded"}, 2, 2),
    "run again after a failure": Story(
        (applied(), start, fail, applied(runID="again"), *RAN), {KEY: "Succeeded"}, 2, 2
    ),
    "a new runID while it runs": Story(
        (applied(), start, applied(runID="again"), deliver, *RAN), {KEY: "Succeeded"}, 2, 2
    ),
    "deleted while it runs": Story((applied(), start, deleted(), World.obey), {}, 1, 1),
    "deleted while it is suspended": Story((applied(), start, applied(suspend=True), World.obey, deleted()), {}, 1, 1),
    "deleted after it had failed": Story((applied(), start, fail, deleted()), {}, 1, 1),
    "deleted after it was delivered": Story((applied(), *RAN, deleted()), {}, 1, 1),
    "deleted with its objects": Story((applied(deletionPolicy="Delete"), *RAN, deleted()), {}, 1, 1),
    "deleted with the objects of two runs": Story(
        (applied(deletionPolicy="Delete"), *RAN, applied(runID="again"), *RAN, deleted()), {}, 2, 2
    ),
    "its objects wait for its deletion longer than its Job would": Story(
        (applied(deletionPolicy="Delete", ttlSecondsAfterFinished=60), *RAN, waited(61), deleted()), {}, 1, 1
    ),
    "deleted in the queue": Story((applied(OTHER), applied(), deleted()), {OTHER: "Pending"}, 1, 2, ONE_AT_ONCE),
    "deleted and made anew": Story(
        (applied(), *RAN, deleted(), applied(onQuotaExceeded="Reject")), {KEY: "Rejected"}, 1, 1, ONE_EACH
    ),
    "asked while nobody attests who asks": Story(
        (torn, waited(5), applied(), waited(5), mended, *RAN), {KEY: "Rejected"}, 0, 0
    ),
    "asked while nobody attested, and found by another operator": Story(
        (torn, waited(5), applied(), waited(5), forgotten, *RAN), {KEY: "Rejected"}, 0, 0
    ),
    "admitted before nobody attested who asks": Story(
        (applied(OTHER), applied(), start, waited(5), torn, deliver, waited(5), mended, *RAN),
        {OTHER: "Succeeded", KEY: "Succeeded"},
        2,
        2,
        ONE_AT_ONCE,
    ),
    "through Kueue": Story((applied(), World.admit, *RAN), {KEY: "Succeeded"}, 1, 1, policies=QUEUED),
    "through Kueue, whatever slots there are": Story(
        (applied(OTHER), applied(), World.admit, *RAN),
        {OTHER: "Succeeded", KEY: "Succeeded"},
        2,
        2,
        ONE_AT_ONCE,
        QUEUED,
    ),
    "held by Kueue for longer than a start may take": Story(
        (applied(), World.queue, waited(4000), World.admit, waited(200), *RAN),
        {KEY: "Succeeded"},
        1,
        1,
        policies=QUEUED,
    ),
    "admitted by Kueue and never started": Story(
        (applied(), World.admit, waited(301), World.obey), {KEY: "Failed"}, 1, 1, policies=QUEUED
    ),
    "waited longer than its queue deadline in Kueue": Story(
        (applied(queueDeadlineSeconds=100), World.queue, waited(101)), {KEY: "Failed"}, 1, 1, policies=QUEUED
    ),
    "evicted by Kueue, and waiting anew": Story(
        (
            applied(queueDeadlineSeconds=100),
            World.queue,
            waited(60),
            World.admit,
            start,
            waited(60),
            World.evict,
            waited(60),
            World.admit,
            *RAN,
        ),
        {KEY: "Succeeded"},
        1,
        1,
        policies=QUEUED,
    ),
    "cancelled while Kueue holds it": Story(
        (applied(), World.queue, applied(cancel=True), World.admit), {KEY: "Cancelled"}, 1, 1, policies=QUEUED
    ),
    "cancelled while it runs through Kueue": Story(
        (applied(), World.admit, start, applied(cancel=True), World.obey), {KEY: "Cancelled"}, 1, 1, policies=QUEUED
    ),
    "suspended while Kueue holds it": Story(
        (applied(), World.queue, applied(suspend=True), World.admit, applied(suspend=False), World.admit, *RAN),
        {KEY: "Succeeded"},
        1,
        1,
        policies=QUEUED,
    ),
    "suspended for long while it runs through Kueue": Story(
        (
            applied(queueDeadlineSeconds=100),
            World.admit,
            start,
            applied(suspend=True),
            World.queue,
            waited(4000),
            applied(suspend=False),
            World.admit,
            *RAN,
        ),
        {KEY: "Succeeded"},
        1,
        1,
        policies=QUEUED,
    ),
    "deactivated by an administrator and activated again": Story(
        (applied(), World.admit, start, activate(False), waited(10), activate(True), World.admit, *RAN),
        {KEY: "Succeeded"},
        1,
        1,
        policies=QUEUED,
    ),
    "deleted while Kueue holds it": Story((applied(), World.queue, deleted(), World.admit), {}, 1, 1, policies=QUEUED),
    "the source's failure gives the place back": Story(
        (applied(OTHER), start, fail, applied(onQuotaExceeded="Reject"), *RAN),
        {OTHER: "Failed", KEY: "Succeeded"},
        2,
        2,
        ONE_EACH,
    ),
    "a failure of one's own gives nothing back": Story(
        (applied(OTHER), start, fail_by_its_own_fault, applied(onQuotaExceeded="Reject")),
        {OTHER: "Failed", KEY: "Rejected"},
        1,
        1,
        ONE_EACH,
    ),
    "whoever cancels gets nothing back": Story(
        (applied(OTHER), start, applied(OTHER, cancel=True), World.obey, applied(onQuotaExceeded="Reject")),
        {OTHER: "Cancelled", KEY: "Rejected"},
        1,
        1,
        ONE_EACH,
    ),
    "deleted while it runs and made anew": Story(
        (applied(), start, deleted(), World.obey, applied(onQuotaExceeded="Reject")), {KEY: "Rejected"}, 1, 1, ONE_EACH
    ),
    "deleted after a failure that was refunded": Story(
        (applied(), start, fail, deleted(), applied(onQuotaExceeded="Reject"), *RAN), {KEY: "Succeeded"}, 2, 2, ONE_EACH
    ),
    "made to fail again and again": Story(
        (
            applied(),
            *(step for number in range(3) for step in (start, fail, applied(runID=str(number)))),
            start,
            fail,
            applied(runID="4", onQuotaExceeded="Reject"),
        ),
        {KEY: "Rejected"},
        4,
        4,
        ONE_EACH,
    ),
    "refused by the last of four windows": Story(
        (applied(OTHER), *RAN, applied(onQuotaExceeded="Reject")),
        {OTHER: "Succeeded", KEY: "Rejected"},
        1,
        4,
        replace(SETTINGS, defaults=Defaults(cluster={"requests": 1})),
        FOUR_LEVELS,
    ),
    "queued until less is delivered than was reserved": Story(
        (applied(OTHER), applied(), *RAN, *RAN), {OTHER: "Succeeded", KEY: "Succeeded"}, 2, 6, policies=FOUR_LEVELS
    ),
    "queued until the window has as many rows as the last run delivered": Story(
        (applied(OTHER), *RAN, applied(), waited(86_400), *RAN),
        {OTHER: "Succeeded", KEY: "Succeeded"},
        2,
        2,
        policies=(Named("rows", {"limits": {"user": {"rows": 150}}}),),
    ),
    "gone at once": Story((applied(**AT_ONCE), *RAN, waited(5)), {}, 1, 1),
    "gone at once with its objects": Story((applied(**AT_ONCE, deletionPolicy="Delete"), *RAN, waited(5)), {}, 1, 1),
    "gone at once after it failed": Story((applied(**AT_ONCE), start, fail, waited(5)), {}, 1, 1),
    "gone at once after it was cancelled": Story(
        (applied(**AT_ONCE), start, applied(cancel=True), World.obey, waited(5)), {}, 1, 1
    ),
    "gone at once, made again, and gone at once": Story(
        (applied(**AT_ONCE), *RAN, waited(5), applied(**AT_ONCE), waited(5)), {}, 1, 1
    ),
    "kept by a finalizer when it is deleted while it runs": Story(
        (applied(**KEPT), start, deleted(), World.obey), {KEY: "Running"}, 1, 1
    ),
    "kept by a finalizer when it is deleted in the queue": Story(
        (applied(OTHER), applied(**KEPT), deleted(), *RAN), {OTHER: "Succeeded", KEY: "Queued"}, 1, 2, ONE_AT_ONCE
    ),
    "kept by a finalizer when it is deleted with its objects": Story(
        (applied(**KEPT, deletionPolicy="Delete"), *RAN, deleted()), {KEY: "Succeeded"}, 1, 1
    ),
    "kept by a finalizer when its time is over": Story(
        (applied(**KEPT, **SHORT), *RAN, waited(61), waited(61)), {KEY: "Succeeded"}, 1, 1
    ),
    "its Job is deleted and kept by a finalizer, and delivers": Story(
        (keep_the_jobs, applied(), start, delete_the_job, deliver), {KEY: "Succeeded"}, 1, 1
    ),
    "its Job is deleted and kept by a finalizer, and gets no other pod": Story(
        (keep_the_jobs, applied(), start, delete_the_job, interrupt, World.obey), {KEY: "Failed"}, 1, 1
    ),
    "its Job is deleted and kept by a finalizer while it is suspended": Story(
        (keep_the_jobs, applied(), start, applied(suspend=True), World.obey, delete_the_job), {KEY: "Failed"}, 1, 1
    ),
    "its Job is kept by a finalizer when its objects go": Story(
        (keep_the_jobs, applied(**SHORT, expiry="Keep"), *RAN, waited(61), waited(40)),
        {KEY: "Expired"},
        1,
        1,
        policies=objects_kept(100),
    ),
    "robbed of its Job, whose pod goes on": Story((applied(), start, lose_the_job_alone), {KEY: "Failed"}, 1, 1),
    "robbed of its Job": Story((applied(), start, lose_the_job), {KEY: "Failed"}, 1, 1),
    "robbed of its Job when it had delivered": Story(
        (applied(), start, deliver_and_lose_the_job), {KEY: "Succeeded"}, 1, 1
    ),
    "killed when it had delivered": Story((applied(), start, die_delivering), {KEY: "Succeeded"}, 1, 1),
    "killed": Story((applied(), start, die), {KEY: "Failed"}, 1, 1),
    "on a node that does not answer any more": Story(
        (applied(), start, lose_the_node, waited(31), *RAN), {KEY: "Succeeded"}, 1, 1
    ),
    "deleted while its node does not answer": Story(
        (applied(), start, lose_the_node, deleted(), waited(31), end_without_pods), {}, 1, 1
    ),
    "not attested": Story((applied(submittedBy=None),), {KEY: "Rejected"}, 0, 0),
}


def play(story: Story, hand: Hand, *, lazy: bool = False) -> World:
    """`lazy`: what is over is written at the end, or when something waits until it is."""
    world = World(policies=story.policies)
    operator = Operator(world, hand, story.settings)
    for step in story.steps:
        step(world)
        operator = settle(world, operator, hand, story.settings, lazy=lazy)
    if lazy:
        operator = settle(world, operator, hand, story.settings)
    if hand.late:
        hand.land()
        operator = settle(world, operator, hand, story.settings)
        world.obey()
        settle(world, operator, hand, story.settings)
    return world


def lasting(status: Mapping[str, Any]) -> dict[str, Any]:
    conditions = [
        {name: value for name, value in condition.items() if name != "observedGeneration"}
        for condition in status["conditions"]
    ]
    found = {name: value for name, value in status.items() if name != "quota"} | {"conditions": conditions}
    if status["phase"] == "Queued":
        found["queue"] = {name: value for name, value in status["queue"].items() if name != "position"}
        del found["message"]
    return found


def end_of(world: World) -> dict[str, Any]:
    """All that lasts. `status.quota` tells how full the windows were when the request was last admitted, which whoever
    died between Job and status does not know; a condition that stands is not told again for a new generation; and a
    place in the queue is told again only after a while."""
    return {
        "status": {key: lasting(document["status"]) for key, document in world.requests.items()},
        "going": {key for key, document in world.requests.items() if going(document)},
        "windows": {subject: entries for subject, entries in world.windows.items() if entries},
        "tombstones": world.tombstones,
        "slots": world.slots,
        "jobs": {name: _at_rest(job) for name, job in world.jobs.items()},
        "created": world.created,
        "specs": world.specs,
        "delivered": world.delivered,
        "manifests": world.manifests,
        "left": world.left,
        "uploads": world.objects.uploads,
        "objects": world.objects.texts,
        "rows": world.rows,
        "totals": counted(world),
    }


def _at_rest(job: Job) -> Job:
    """To suspend what has ended changes nothing."""
    return replace(job, uid="", suspended=job.suspended and not job.terminal)


def counted(world: World) -> Any:
    """All that stands in the totals, but for when which run was added."""
    kept = world.totals
    return None if kept is None else (kept.rows, kept.tenants)


@pytest.mark.parametrize("name", STORIES)
def test_a_story_ends_as_it_should(name: str) -> None:
    story = STORIES[name]
    world = play(story, Hand())
    assert (
        {key: document["status"]["phase"] for key, document in world.requests.items()},
        len(world.created),
        sum(len(entries) for entries in world.windows.values()),
    ) == (story.phases, story.runs, story.entries)


def test_what_an_administrator_has_deactivated_stays_so() -> None:
    world, hand = World(policies=QUEUED), Hand()
    world.apply(KEY)
    operator = settle(world, Operator(world, hand), hand)
    world.admit()
    activate(False)(world)
    settle(world, operator, hand)
    (workload,) = world.workloads.values()
    status = world.status(KEY)
    assert (workload.active, status["phase"], status["reason"], status["message"]) == (
        False,
        "Queued",
        "Deactivated",
        "in Kueue's queue 'exports': it is deactivated",
    )


def test_runs_of_kueue_hold_no_slot() -> None:
    world, hand = World(policies=QUEUED), Hand()
    world.apply(KEY)
    settle(world, Operator(world, hand), hand)
    world.admit()
    start(world)
    assert (len(world.created), world.slots) == (1, ())


@pytest.mark.parametrize("name", [name for name, story in STORIES.items() if "Pending" not in story.phases.values()])
def test_nobody_holds_a_slot_after_the_end(name: str) -> None:
    assert play(STORIES[name], Hand()).slots == ()


@pytest.mark.parametrize("name", [name for name, story in STORIES.items() if KEY not in story.phases])
def test_nothing_of_a_request_that_is_gone_is_left_but_what_it_delivered_unless_that_goes_too(name: str) -> None:
    world = play(STORIES[name], Hand())
    at_once = ("gone at once", "gone at once, made again, and gone at once")
    retained = ("deleted after it was delivered", "gone when its time is over", *at_once)
    kept = dict.fromkeys((*retained, "deleted before the time of its objects is over"), 1)
    assert (world.left, len(world.manifests), [job for job in world.jobs.values() if job.request == KEY]) == (
        set(),
        kept.get(name, 0),
        [],
    )


@pytest.mark.parametrize("name", [name for name in STORIES if name.startswith("kept by a finalizer")])
def test_who_was_deleted_is_as_good_as_gone_whatever_keeps_it(name: str) -> None:
    world = play(STORIES[name], Hand())
    jobs_of_it = [job for job in world.jobs.values() if job.request == KEY]
    assert (world.left, jobs_of_it, world.slots) == (set(), [], ())


def test_what_a_finalizer_keeps_of_a_job_keeps_nothing_else() -> None:
    world = play(STORIES["its Job is kept by a finalizer when its objects go"], Hand())
    assert (world.manifests, world.status(KEY)["result"]["deleted"]) == ({}, True)


def test_no_pod_goes_on_for_a_run_that_is_said_to_have_failed() -> None:
    world = play(STORIES["robbed of its Job, whose pod goes on"], Hand())
    assert (world.status(KEY)["reason"], [pods for pods in world.pods.values() if pods]) == ("JobDeleted", [])


def troubles(name: str, trouble: Trouble) -> Iterator[tuple[int, dict[str, Any], dict[str, Any]]]:
    quiet = Hand()
    expected = end_of(play(STORIES[name], quiet))
    for when in range(quiet.calls):
        yield when, end_of(play(STORIES[name], Hand(trouble, when))), expected


@pytest.mark.parametrize("trouble", ["killed", "refused", "lost"])
@pytest.mark.parametrize("name", STORIES)
def test_trouble_at_any_one_call_changes_nothing_in_the_end(name: str, trouble: Trouble) -> None:
    differing = [(when, found) for when, found, expected in troubles(name, trouble) if found != expected]
    assert differing == []


def accounted(found: Mapping[str, Any]) -> dict[str, Any]:
    """Of a run whose request is gone, or has had another since, nobody knows what it has delivered."""
    known = {status["run"] for key, status in found["status"].items() if key not in found["going"]}
    windows = {
        subject: [entry if entry.run in known else replace(entry, rows=0, bytes=0) for entry in entries]
        for subject, entries in found["windows"].items()
    }
    return {**found, "windows": windows}


@pytest.mark.parametrize("name", STORIES)
def test_so_it_is_while_all_that_is_over_stands_in_the_memory_of_who_dies(name: str) -> None:
    """Slots and places of every step before."""
    expected = accounted(end_of(play(STORIES[name], Hand())))
    quiet = Hand()
    assert accounted(end_of(play(STORIES[name], quiet, lazy=True))) == expected
    ends = {
        when: accounted(end_of(play(STORIES[name], Hand("killed", when), lazy=True))) for when in range(quiet.calls)
    }
    assert {when: found for when, found in ends.items() if found != expected} == {}


def late_end_of(world: World) -> dict[str, Any]:
    """A Job that is made once more, when nobody wants it any more, is none that runs."""
    found = end_of(world)
    return found | {"created": list(dict.fromkeys(found["created"]))}


@pytest.mark.parametrize("delay", [3, None], ids=["while the next one begins", "at the end of all"])
@pytest.mark.parametrize("name", STORIES)
def test_the_last_call_of_a_dead_operator_changes_nothing_however_late_it_arrives(name: str, delay: int | None) -> None:
    """Another has taken over meanwhile. What it finds left of a run whose Job somebody has deleted only a Job that
    comes late can tell it of, so in that story more is cleaned up."""
    quiet = Hand()
    expected = late_end_of(play(STORIES[name], quiet))
    ends = {when: late_end_of(play(STORIES[name], Hand("late", when, delay=delay))) for when in range(quiet.calls)}
    if name in {"robbed of its Job", "robbed of its Job, whose pod goes on"}:
        for found in (expected, *ends.values()):
            for what in ("left", "uploads", "objects"):
                del found[what]
    assert {when: found for when, found in ends.items() if found != expected} == {}


def test_every_story_has_calls_at_which_trouble_can_come() -> None:
    hands = {name: Hand() for name in STORIES}
    for name, hand in hands.items():
        play(STORIES[name], hand)
    assert [name for name, hand in hands.items() if hand.calls < 2] == []


class TwiceUnlucky(Hand):
    """Killed at one call and, after the restart, at another."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__("killed", first)
        self._second = second

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "calls" and self.when is not None and value == self.when + 1 and self._second >= 0:
            super().__setattr__("when", value + self._second)
            super().__setattr__("_second", -1)


def test_two_deaths_of_the_operator_change_nothing_in_the_end() -> None:
    story = STORIES["delivered"]
    quiet = Hand()
    expected = end_of(play(story, quiet))
    pairs = [(first, second) for first in range(quiet.calls) for second in range(quiet.calls)]
    assert [pair for pair in pairs if end_of(play(story, TwiceUnlucky(*pair))) != expected] == []


def ended_without_a_job() -> tuple[World, Operator, Operator]:
    """A run that is over, and nothing of it is left but its status; who has ended it, and another whose caches are of
    before it began."""
    world, hand = World(), Hand()
    world.apply(KEY)
    late = Operator(world, hand)
    late.open()
    operator = settle(world, Operator(world, hand), hand)
    start(world)
    deliver(world)
    operator = settle(world, operator, hand)
    lose_the_job(world)
    return world, operator, late


def test_a_job_that_comes_late_is_taken_away_and_changes_nothing() -> None:
    world, operator, late = ended_without_a_job()
    before = world.status(KEY)
    (manifest,) = world.job_manifests.values()
    finish(late.create_job(manifest))  # by a call that was on its way all the while
    assert len(world.jobs) == 1
    operator = settle(world, operator, Hand())
    world.obey()
    settle(world, operator, Hand())
    assert (world.status(KEY), world.jobs, world.slots) == (before, {}, ())


def test_what_another_has_ended_is_not_begun_again_by_who_has_heard_nothing_of_it() -> None:
    world, _, late = ended_without_a_job()
    before, created = world.status(KEY), list(world.created)
    late.reconcile(KEY)
    late.reconcile(KEY)
    late.flush()
    assert (world.status(KEY), world.created, world.slots) == (before, created, ())


def test_a_job_that_the_cache_has_not_seen_yet_is_not_lost() -> None:
    world, hand = World(), Hand()
    other = Operator(world, hand)
    other.open()
    world.apply(KEY)
    settle(world, Operator(world, hand), hand)
    start(world)
    before = world.facts()
    other.look_at_requests()
    other.reconcile(KEY)
    assert (world.status(KEY)["phase"], world.facts()[1:]) == ("Pending", before[1:])


def test_a_request_that_was_made_anew_while_the_old_one_was_looked_for_is_not_forgotten() -> None:
    world = World()
    world.apply(KEY)
    operator = Operator(world, Hand())

    async def nothing(key: Key) -> None:
        """The answer comes after the news."""
        world.delete(key)
        world.apply(key)
        operator.look_at_requests()

    operator.request = nothing  # type: ignore[method-assign]
    finish(operator._reconciler._refresh(KEY))
    assert operator._store.requests[KEY]["metadata"]["uid"] == world.requests[KEY]["metadata"]["uid"] == "uid-2"


def test_a_late_operator_reserves_nothing_twice() -> None:
    world, hand = World(), Hand()
    world.apply(KEY)
    late = Operator(world, hand)
    late.open()
    settle(world, Operator(world, hand), hand)
    before = (dict(world.windows), world.slots, world.created)
    late.reconcile(KEY)
    assert (world.windows, world.slots, world.created) == before


def test_the_world_begins_now() -> None:
    """`end_of` compares times: every story tells them from the same beginning."""
    assert World().now == NOW


def slots_of(world: World) -> list[Key]:
    return [entry.request for entry in world.slots]


def test_a_job_whose_slot_was_lost_gets_it_back_before_anybody_is_admitted() -> None:
    world, hand = World(), Hand()
    world.apply(OTHER)
    settle(world, Operator(world, hand, ONE_AT_ONCE), hand, ONE_AT_ONCE)
    start(world)
    held = world.slots
    del world.usages["slots"]
    world.apply(KEY, **BOB)
    settle(world, Operator(world, hand, ONE_AT_ONCE), hand, ONE_AT_ONCE)
    assert ([replace(entry, time=NOW) for entry in world.slots], world.status(KEY)["reason"]) == (
        [replace(entry, time=NOW) for entry in held],
        "ClusterConcurrency",
    )


def test_slots_are_given_back_to_jobs_whatever_the_limits_say() -> None:
    world, hand = World(), Hand()
    for key in (OTHER, KEY):
        world.apply(key)
    settle(world, Operator(world, hand), hand)
    start(world)
    del world.usages["slots"]
    world.apply(STRANGER)
    settle(world, Operator(world, hand, ONE_AT_ONCE), hand, ONE_AT_ONCE)
    assert (sorted(slots_of(world)), world.status(STRANGER)["phase"]) == ([OTHER, KEY], "Queued")


def test_a_slot_of_a_run_that_has_neither_job_nor_request_is_freed_at_a_start() -> None:
    world, hand = World(), Hand()
    world.apply(OTHER)
    operator = Operator(world, hand, ONE_AT_ONCE)
    settle(world, operator, hand, ONE_AT_ONCE)
    lose_the_job(world)
    world.delete(OTHER)
    assert slots_of(world) == [OTHER]
    beginner = Operator(world, hand, ONE_AT_ONCE)
    beginner.open()
    assert slots_of(world) == []


def test_a_slot_whose_job_the_cache_has_not_seen_is_kept_at_a_start() -> None:
    world, hand = World(), Hand()
    beginner = Operator(world, hand, ONE_AT_ONCE)
    world.apply(OTHER)
    settle(world, Operator(world, hand, ONE_AT_ONCE), hand, ONE_AT_ONCE)
    world.delete(OTHER)
    beginner.look_at_requests()
    beginner.open()
    assert slots_of(world) == [OTHER]


def test_a_slot_that_was_taken_just_before_a_death_is_kept_at_the_next_start_and_its_job_is_made() -> None:
    quiet = Hand()
    world = World()
    world.apply(OTHER)
    settle(world, Operator(world, quiet), quiet)
    deaths = []
    for when in range(quiet.calls):
        world, hand = World(), Hand("killed", when)
        world.apply(OTHER)
        with suppress(Killed):
            operator = Operator(world, hand)
            operator.open()
            for _ in range(9):
                operator.reconcile(OTHER)
        before = slots_of(world)
        if before and not world.jobs:
            deaths.append(when)
            Operator(world, Hand()).open()
            assert slots_of(world) == before
            settle(world, Operator(world, Hand()), Hand())
            assert len(world.jobs) == 1
    assert deaths


@pytest.mark.parametrize("name", ["failed", "failed while its bucket is away", "out of memory", "killed"])
def test_what_failed_leaves_its_job_alone(name: str) -> None:
    """Nobody can go on with its upload and its checkpoint: a new runID is another run."""
    world = play(STORIES[name], Hand())
    assert ([job.undone for job in world.jobs.values()], world.left) == ([True], set())


@pytest.mark.parametrize("name", [name for name in STORIES if name.startswith("cancelled while")])
def test_what_was_cancelled_leaves_neither_a_job_nor_anything_in_the_bucket(name: str) -> None:
    world = play(STORIES[name], Hand())
    assert (world.jobs, world.left, world.manifests) == ({}, set(), {})
