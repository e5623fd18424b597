"""A world in memory: requests, ledger, Jobs and pods, with the real `Reconciler` at work in it.

It keeps what an API server keeps (resourceVersions, names that are taken, UIDs) and nothing more. Every call of the
operator passes `Hand.call`, where trouble can befall it. Clean-up, history and totals are the real ones too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, cast

from export_contract import environment, names
from export_contract.leftovers import owned
from export_contract.manifest import Manifest, ObjectRef
from export_contract.report import Outcome
from export_contract.runspec import RunSpec
from export_operator.adapters import totals
from export_operator.adapters.cells import LedgerError
from export_operator.adapters.kube import ApiError
from export_operator.adapters.ledger import SOON_SECONDS, Ledger
from export_operator.adapters.metrics import Metrics
from export_operator.adapters.storage import StorageError
from export_operator.adapters.totals import TotalsStore
from export_operator.adapters.unwritten import Unwritten
from export_operator.cleaner import Cleaner
from export_operator.counting import Counting
from export_operator.domain import manifests, times
from export_operator.domain.actions import Emit, Seek, Settings
from export_operator.domain.breaker import DESTINATION, PROBES_TO_OPEN, SOURCE
from export_operator.domain.history import Row
from export_operator.domain.identity import Enforcement, Subject
from export_operator.domain.kueue import Condition, Workload
from export_operator.domain.manifests import Sought
from export_operator.domain.model import (
    ANNOTATION_STOP_MESSAGE,
    ANNOTATION_STOP_REASON,
    ANNOTATION_UNDONE,
    EPOCH,
    LABEL_RUN,
    TERMINAL_PHASES,
    Job,
    Key,
    Named,
    Pod,
    Request,
    going,
    parse_job,
)
from export_operator.domain.notices import Notice
from export_operator.domain.pages import Entry
from export_operator.domain.status import ended_as
from export_operator.domain.tombstones import Tombstones
from export_operator.domain.totals import Totals
from export_operator.domain.usage import SLOTS, parse_usage
from export_operator.gates import Gates
from export_operator.history import History, Recorder
from export_operator.queueing import Queueing
from export_operator.reconcile import Reconciler
from export_operator.store import REQUESTS, Store
from export_operator.takeover import take_over
from export_operator.traces import NoTraces, Tracer

from .builders import ENFORCED, NOW, SETTINGS, SHA, catalogue, destination, source, spec
from .hand import Hand, Killed, finish, unreachable
from .stores import Bucket, Objects, Shelf

MAX_STATUS = 8192
PREFIX = "prod"  # of the destination
ROWS = 100  # of every dataset


@dataclass
class World:
    """The truth, as a cluster would hold it."""

    now: datetime = NOW
    requests: dict[Key, dict[str, Any]] = field(default_factory=dict)
    usages: dict[str, dict[str, Any]] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    pods: dict[str, tuple[Pod, ...]] = field(default_factory=dict)
    workloads: dict[str, Workload] = field(default_factory=dict)
    created: list[str] = field(default_factory=list)
    job_manifests: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    objects: Objects = field(default_factory=Objects)
    bucket_away: bool = False
    """For the operator; pods reach it still."""
    rows: dict[str, Row] = field(default_factory=dict)
    """The history."""
    configmaps: dict[str, dict[str, Any]] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)
    notices: tuple[Notice, ...] = ()
    specs: dict[str, RunSpec] = field(default_factory=dict)
    delivered: dict[str, int] = field(default_factory=dict)
    policies: tuple[Named, ...] = ()
    policy_version: int = 1
    places: tuple[Named, ...] = (source(), destination())
    down: set[Subject] = field(default_factory=set)
    identity: Enforcement = ENFORCED
    version: int = 100
    births: int = 0
    job_versions: dict[str, tuple[Job, int]] = field(default_factory=dict)
    jobs_kept: bool = False
    """By a finalizer of somebody's: whoever deletes one only marks it."""
    ends: dict[tuple[str, str], str] = field(default_factory=dict)

    def next(self) -> int:
        self.version += 1
        return self.version

    def facts(self) -> tuple[Any, ...]:
        """All of it now; values in it are replaced, never changed."""
        return (
            dict(self.requests),
            dict(self.usages),
            dict(self.jobs),
            dict(self.pods),
            dict(self.workloads),
            self.objects.facts(),
            dict(self.configmaps),
            frozenset(self.rows),
        )

    @property
    def manifests(self) -> dict[str, str]:
        """Those of exports in the bucket, by run."""
        texts = self.objects.texts.items()
        return {told.run: text for key, text in texts if (told := owned(key, PREFIX)) is not None and told.manifest}

    @property
    def left(self) -> set[str]:
        """Runs of which there is something in the bucket that is no export."""
        found = {
            told.run for key in (*self.objects.texts, *self.objects.uploads.values()) if (told := owned(key, PREFIX))
        }
        documents = {told.run for key in self.objects.texts if (told := owned(key, PREFIX)) and not told.data}
        uploads = {told.run for key in self.objects.uploads.values() if (told := owned(key, PREFIX))}
        return (found - set(self.manifests)) | documents | uploads

    @property
    def totals(self) -> Totals | None:
        """What all runs that ended add up to, as it is kept."""
        kept = self.configmaps.get(totals.NAME)
        return None if kept is None else Totals.parse(kept["data"][totals.KEY])

    @property
    def windows(self) -> dict[Subject, tuple[Entry, ...]]:
        """The entries of every window that has any."""
        found = {usage.subject: usage.page.entries for usage in map(parse_usage, self.usages.values())}
        return {subject: entries for subject, entries in found.items() if entries and subject != SLOTS}

    @property
    def tombstones(self) -> dict[Subject, Tombstones]:
        """Those of every subject that has any."""
        found = {usage.subject: usage.page.tombstones for usage in map(parse_usage, self.usages.values())}
        return {subject: stones for subject, stones in found.items() if stones != Tombstones()}

    @property
    def slots(self) -> tuple[Entry, ...]:
        document = self.usages.get("slots")
        return () if document is None else parse_usage(document).page.entries

    # What people do.

    def apply(
        self,
        key: Key,
        annotations: Mapping[str, str] | None = None,
        finalizers: tuple[str, ...] = (),
        **changes: Any,
    ) -> None:
        """Create the request, or change its spec."""
        known = self.requests.get(key)
        if known is None:
            self.births += 1
            self.requests[key] = {
                "metadata": {
                    "namespace": key.namespace,
                    "name": key.name,
                    "uid": f"uid-{self.births}",
                    "resourceVersion": str(self.next()),
                    "generation": 1,
                    "creationTimestamp": times.render(self.now),
                    "annotations": dict(annotations or {}),
                    "finalizers": finalizers,
                },
                "spec": spec(**changes),
                "status": {"observedGeneration": -1},
            }
            return
        version = {"generation": known["metadata"]["generation"] + 1, "resourceVersion": str(self.next())}
        self.requests[key] = {**known, "metadata": known["metadata"] | version, "spec": known["spec"] | changes}

    def change_policies(self, *policies: Named) -> None:
        """What the platform team does; none goes or comes."""
        self.policies, self.policy_version = policies, self.policy_version + 1

    def fall(self, kind: str, name: str) -> None:
        """The source or destination goes down; every operator finds out before it looks at anything else."""
        self.down.add(Subject(kind, name))

    def rise(self, kind: str, name: str) -> None:
        self.down.discard(Subject(kind, name))

    def delete(self, key: Key) -> None:
        """As the API server does it: what has a finalizer stays, and says that it is going."""
        document = self.requests.pop(key, None)
        if document is not None and document["metadata"]["finalizers"]:
            marks = {"resourceVersion": str(self.next()), "deletionTimestamp": times.render(self.now)}
            self.requests[key] = {**document, "metadata": document["metadata"] | marks}

    def let_go(self, key: Key) -> None:
        """Nothing keeps the request any more."""
        document = self.requests.get(key)
        if document is not None and document["metadata"]["finalizers"]:
            changes = {"resourceVersion": str(self.next()), "finalizers": ()}
            self.requests[key] = {**document, "metadata": document["metadata"] | changes}
            if going(document):
                self.delete(key)

    def delete_job(self, name: str) -> None:
        """Likewise. Its pods are left to whoever collects garbage when it is gone."""
        if self.jobs_kept:
            self.jobs[name] = replace(self.jobs[name], deleting=True)
        else:
            del self.pods[self.jobs.pop(name).run]

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def status(self, key: Key) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.requests[key]["status"]
        return found

    def job(self, name: str) -> Job | None:
        """With its resourceVersion, which is another whenever it has changed."""
        job = self.jobs.get(name)
        if job is None:
            return None
        seen, version = self.job_versions.get(name, (None, 0))
        if seen != job:
            version += 1
            self.job_versions[name] = (job, version)
        return replace(job, resource_version=str(version))

    def job_document(self, name: str) -> dict[str, Any] | None:
        """The Job as the API server tells it."""
        job = self.job(name)
        if job is None:
            return None
        manifest = self.job_manifests[name]
        stop = {ANNOTATION_STOP_REASON: job.stop_reason, ANNOTATION_STOP_MESSAGE: job.stop_message}
        noted = (stop if job.stop_reason else {}) | ({ANNOTATION_UNDONE: "true"} if job.undone else {})
        stamped = {
            "uid": job.uid,
            "resourceVersion": job.resource_version,
            "creationTimestamp": times.render(job.created),
            "annotations": manifest["metadata"]["annotations"] | noted,
            "deletionTimestamp": times.render(job.created) if job.deleting else None,
        }
        end = {"status": "True", "lastTransitionTime": times.render(job.finished or job.created)}
        failed = {"reason": job.failed_reason, "message": job.failed_message}
        conditions = [{"type": "Complete", **end}] if job.complete else []
        status = {
            "conditions": [{"type": "Failed", **end, **failed}] if job.failed else conditions,
            "failed": job.failed_pods,
            "startTime": times.render(job.started) if job.started else None,
        }
        told = {
            **manifest,
            "metadata": manifest["metadata"] | stamped,
            "spec": manifest["spec"] | {"suspend": job.suspended},
            "status": status,
        }
        assert parse_job(told) == job
        return told

    # What the Job controller and the kubelet do, one step at a time.

    def start(self, name: str) -> None:
        """A pod of the Job begins to run."""
        job = self.jobs[name]
        if job.suspended or job.terminal or job.deleting or any(pod.running for pod in self.pods[job.run]):
            return
        number = len(self.pods[job.run])
        pod = Pod(
            name=f"{name}-{number}",
            uid=f"{name}-{number}",
            run=job.run,
            created=self.now,
            phase="Running",
            running=True,
            started=self.now,
        )
        self.pods[job.run] = (*self.pods[job.run], pod)
        place = self.specs[job.run].destination
        if place.manifest_key not in self.objects.texts:
            self.objects.texts[place.checkpoint_key] = "{}"
            self.objects.uploads[f"upload-{job.run}"] = place.key

    def end(self, name: str, code: int, message: str = "", reason: str = "Error", *, last: bool = True) -> None:
        """The running attempt ends; `last` says that the Job ends with it."""
        job = self.jobs[name]
        self.pods[job.run] = tuple(
            replace(pod, running=False, exit_code=code, exit_reason=reason, exit_message=message, finished=self.now)
            if pod.running
            else pod
            for pod in self.pods[job.run]
        )
        failed = job.failed_pods + (code != 0)
        if code == 0:
            self.jobs[name] = replace(job, complete=True, finished=self.now)
        elif last:
            why = "DeadlineExceeded" if job.stop_reason else "PodFailurePolicy"
            self.jobs[name] = replace(job, failed=True, failed_reason=why, failed_pods=failed, finished=self.now)
        else:
            self.jobs[name] = replace(job, failed_pods=failed)

    def deliver(self, name: str) -> None:
        """The running attempt delivers, or finds that an earlier one did."""
        job = self.jobs[name]
        if not any(pod.running for pod in self.pods[job.run]):
            return
        spec = self.specs[job.run]
        place = spec.destination
        known = self.objects.texts.get(place.manifest_key)
        manifest = self._manifest(spec) if known is None else Manifest.from_json(known)
        self.objects.texts.pop(place.checkpoint_key, None)
        self.objects.uploads.pop(f"upload-{job.run}", None)
        self.objects.texts[place.key] = "rows"
        self.objects.texts[place.manifest_key] = manifest.to_json()
        rows = self.delivered[job.run] = manifest.rows
        delivered = manifest.delivered(f"s3://{place.bucket}/{place.key}", f"s3://{place.bucket}/{place.manifest_key}")
        self.end(name, 0, Outcome(run=job.run, delivered=delivered, rows=rows).to_json(), "Completed")

    def _manifest(self, spec: RunSpec) -> Manifest:
        place, rows = spec.destination, min(ROWS, spec.limits.max_rows or ROWS)
        stored = ObjectRef(bucket=place.bucket, key=place.key, rows=rows, bytes=2048, sha256=SHA, etag="e", parts=1)
        return Manifest(
            run=spec.run,
            source=spec.source.name,
            dataset=spec.source.dataset,
            format=spec.output.format,
            compression=spec.output.compression,
            columns=(),
            rows=rows,
            objects=(stored,),
            complete=True,
            consistency="Snapshot",
            snapshot="1:1:",
            snapshot_time="",
            started_at=times.render(self.now),
            finished_at=times.render(self.now),
        )

    def obey(self) -> None:
        """The Job controller ends what was stopped and takes away the pods of what was suspended."""
        for name, job in list(self.jobs.items()):
            if job.suspended:
                self.pods[job.run] = ()
            elif job.stop_reason and not job.terminal:
                self.end(name, 143)

    # A stand-in for Kueue, which does what its job reconciler does (kubernetes-sigs/kueue v0.19.2,
    # pkg/controller/jobframework/reconciler.go: ReconcileGenericJob). Kueue itself is met in tests/e2e/test_kueue.py.

    def queue(self) -> None:
        """Every Job of a queue has a Workload, and is suspended unless that is admitted."""
        for name, job in list(self.jobs.items()):
            if not job.queue or job.terminal:
                continue
            workload = self.workloads.get(name)
            if workload is None or workload.job_uid != job.uid:
                workload = Workload(
                    f"job-{name}", f"workload-{self.next()}", name, job.uid, active=True, suspended=False
                )
            if not workload.active:
                workload = replace(workload, admitted=None, evicted=Condition(True, "Deactivated", "it is deactivated"))
            self.workloads[name] = workload
            admitted = workload.admitted is not None
            if job.suspended == admitted:
                self.jobs[name] = replace(job, suspended=not admitted, started=self.now if admitted else None)
        for name in set(self.workloads) - set(self.jobs):
            del self.workloads[name]
        self.obey()

    def admit(self) -> None:
        """There is room for whoever waits."""
        self.queue()
        yes = Condition(True, "Admitted", "the ClusterQueue has room")
        for name, workload in self.workloads.items():
            if workload.active:
                self.workloads[name] = replace(workload, reserved=yes, admitted=yes, evicted=None)
        self.queue()

    def evict(self) -> None:
        """All lose their places to somebody of more weight."""
        away = Condition(True, "Preempted", "preempted to accommodate another")
        for name, workload in self.workloads.items():
            if workload.admitted is not None:
                self.workloads[name] = replace(workload, reserved=None, admitted=None, evicted=away)
        self.queue()


class Finder:
    """The bucket, as far as manifests are looked for in it; the answer is there at once, and wakes the request."""

    def __init__(self, world: World, wake: Callable[[Key], None]) -> None:
        self._world = world
        self._wake = wake
        self._answers: dict[tuple[Key, str], Sought] = {}

    def answer(self, key: Key, run: str) -> Sought | None:
        return self._answers.get((key, run))

    def ask(self, seek: Seek) -> None:
        assert seek.spec is not None, "the destination is there in every story"
        text, key = self._world.manifests.get(seek.run), seek.at.keys(seek.spec).manifest
        self._answers[seek.request, seek.run] = Sought(
            None if text is None else manifests.delivered(text.encode(), key, seek.run, seek.spec, fallback=False)
        )
        self._wake(seek.request)

    def forget(self, key: Key) -> None:
        self._answers = {asked: answer for asked, answer in self._answers.items() if asked[0] != key}


class Ledgers:
    """The API server as far as ledger, totals and outbox ask it: objects of the run namespace, with resourceVersions
    that are compared."""

    def __init__(self, world: World, hand: Hand) -> None:
        self._world = world
        self._hand = hand

    async def find(self, path: str) -> dict[str, Any] | None:
        async with self._hand.call(unreachable):
            kind, _, name = path.rpartition("/")
            return self._shelf(kind).get(name)

    async def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        async with self._hand.call(unreachable):
            name = body["metadata"]["name"]
            if name in self._shelf(path):
                raise ApiError(409, "AlreadyExists", name)
            return self._keep(path, body)

    async def replace(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        async with self._hand.call(unreachable):
            kind, _, name = path.rpartition("/")
            present = self._shelf(kind).get(name)
            if present is None:
                raise ApiError(404, "NotFound", name)
            if present["metadata"]["resourceVersion"] != body["metadata"]["resourceVersion"]:
                raise ApiError(409, "Conflict", path)
            return self._keep(kind, body)

    def _shelf(self, path: str) -> dict[str, dict[str, Any]]:
        shelves = {"exportusages": self._world.usages, "configmaps": self._world.configmaps}
        return shelves[path.rpartition("/")[2]]

    def _keep(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        metadata = {**body["metadata"], "resourceVersion": str(self._world.next())}
        kept = self._shelf(path)[metadata["name"]] = {**body, "metadata": metadata}
        return kept


class Papers:
    """The cluster as far as clean-up and history ask it: Jobs and pods as documents."""

    def __init__(self, operator: Operator, world: World, hand: Hand) -> None:
        self.delete_job = operator.delete_job
        self.note_undone = operator.note_undone
        self._world = world
        self._hand = hand

    async def job(self, name: str) -> dict[str, Any] | None:
        async with self._hand.call(unreachable):
            return self._world.job_document(name)

    async def pods_of(self, run: str) -> list[dict[str, Any]]:
        async with self._hand.call(unreachable):
            return [_pod_document(pod) for pod in self._world.pods.get(run, ())]


def _pod_document(pod: Pod) -> dict[str, Any]:
    ended = {
        "exitCode": pod.exit_code,
        "reason": pod.exit_reason,
        "message": pod.exit_message,
        "startedAt": times.render(pod.started) if pod.started else None,
        "finishedAt": times.render(pod.finished) if pod.finished else None,
    }
    state = {"running": {"startedAt": ended["startedAt"]}} if pod.running else {"terminated": ended}
    return {
        "metadata": {
            "name": pod.name,
            "uid": pod.uid,
            "labels": {LABEL_RUN: pod.run},
            "creationTimestamp": times.render(pod.created),
        },
        "status": {"phase": pod.phase, "containerStatuses": [{"state": state}]},
    }


class Operator:
    """One process: caches of its own, which `look` brings up to date, and the real reconciler."""

    def __init__(
        self,
        world: World,
        hand: Hand,
        settings: Settings = SETTINGS,
        history: Recorder | None = None,
        traces: Tracer | None = None,
    ) -> None:
        self._world = world
        self._hand = hand
        self._open = False
        self._woken: list[Key] = []
        self._found: set[Key] = set()
        self._jobs: dict[str, Job] = {}
        self._pods: dict[str, tuple[Pod, ...]] = {}
        self._workloads: dict[str, Workload] = {}
        documents = cast("Any", Ledgers(world, hand))
        papers = cast("Any", Papers(self, world, hand))
        self._ledger = Ledger(documents, "export-runs", lambda: None)
        self._queueing = Queueing(self._ledger, self._woken.append, lambda: world.now, self._gate)
        self._store = Store(lambda _: None, self._recorded)
        self._cleaner = Cleaner(papers, self._opened, self._destination, settings.pods)
        self._counting = Counting(
            TotalsStore(documents, "export-runs"), self._store, self.all, lambda _: None, lambda: world.now
        )
        self._counting._leading = True
        self._history = History(
            cast("Any", Shelf(hand, world.rows)), Unwritten(documents, "export-runs"), papers, lambda: world.now
        )
        self._history._leading = True
        self._store.listen(REQUESTS, lambda key: None if key in self._store.requests else self._history.gone(key))
        self.gates = Gates(lambda subject, _: self._queueing.slots.gate_changed(subject), self._woken.extend)
        for named in world.places:
            kind = "exportdestinations" if "bucket" in named.spec else "exportsources"
            self._store.put_named(kind, _document(named.name, named.spec))
        self._look_at_policies()
        assert self._store.catalogue() == catalogue(*world.places, policies=world.policies)
        self._reconciler = Reconciler(
            store=self._store,
            runs=cast("Any", self),
            workloads=cast("Any", self),
            ledger=self._ledger,
            queueing=self._queueing,
            finder=cast("Any", Finder(world, self._found.add)),
            cluster=cast("Any", self),
            cleaner=self._cleaner,
            history=history or self._history,
            traces=traces or NoTraces(),
            settings=settings,
            gates=self.gates,
            identity=lambda: world.identity,
            progress=lambda _: None,
            recall=self._recalled,
            clock=lambda: world.now,
            metrics=Metrics(),
        )
        self.look()

    def look(self) -> None:
        """All watches have delivered everything."""
        self._jobs = {name: job for name in self._world.jobs if (job := self._world.job(name)) is not None}
        self._pods = dict(self._world.pods)
        self._workloads = {workload.job_uid: workload for workload in self._world.workloads.values()}
        self.look_at_requests()

    def _look_at_policies(self) -> None:
        for policy in self._world.policies:
            document = _document(policy.name, policy.spec, self._world.policy_version)
            self._store.put_named("exportpolicies", document)

    def look_at_requests(self) -> None:
        """The watches of requests and ledger have delivered everything; those of Jobs and pods lag behind."""
        self._look_at_policies()
        informer = self._ledger.informer
        for name in set(informer.items) - set(self._world.usages):
            informer.drop(name)
        for document in self._world.usages.values():
            informer.put(document)
        for named in self._world.places:
            subject = Subject(DESTINATION if "bucket" in named.spec else SOURCE, named.name)
            for _ in range(PROBES_TO_OPEN):
                self.gates.probed(subject, "connection refused" if subject in self._world.down else "", self._world.now)
        for key in set(self._store.requests) - set(self._world.requests):
            self._store.drop_request(key)
        for document in self._world.requests.values():
            self._store.put_request(document)

    def _recorded(self, before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> None:
        self._counting.recorded(before, after)
        self._history.recorded(after)

    def _destination(self, name: str) -> Mapping[str, Any] | None:
        found = self._store.catalogue().destinations.get(name)
        return None if found is None else found.spec

    @asynccontextmanager
    async def _opened(self, place: Mapping[str, Any]) -> AsyncIterator[Any]:
        async with self._hand.call(lambda: StorageError("its Secret cannot be read")):
            if self._world.bucket_away:
                raise StorageError(f"bucket {place['bucket']!r}: EndpointConnectionError")
        yield Bucket(self._world.objects, self._hand, place["bucket"])

    async def _recalled(self, place: Mapping[str, Any], folder: str) -> list[Manifest]:
        """The manifests of a bucket."""
        async with self._hand.call(lambda: StorageError(f"bucket {place['bucket']!r}: ReadTimeoutError")):
            return [
                Manifest.from_json(text)
                for run, text in self._world.manifests.items()
                if self._world.specs[run].destination.manifest_key.rsplit("/", 2)[0] == folder
            ]

    def _gate(self, subject: Subject) -> int | None:
        return self.gates.limit(subject.kind, subject.name, self._world.now)

    def known(self) -> list[Key]:
        """Every request that anything speaks of; those that the queue has woken come first."""
        spoken = {job.request for job in self._jobs.values()} | self._ledger.requests() | set(self._store.requests)
        woken = [key for key in dict.fromkeys(self._woken) if key in spoken]
        self._woken.clear()
        return [*woken, *sorted(spoken - set(woken))]

    def reconcile(self, key: Key) -> None:
        """One turn, and another when a manifest was found. An error is what the work queue would retry."""
        with suppress(ApiError, LedgerError):
            finish(self._reconciler.reconcile(key))
        if key in self._found:
            self._found.remove(key)
            self.reconcile(key)

    def open(self) -> bool:
        """What an operator does when it has looked at everybody once, for the first time; whether it was that."""
        if self._open:
            return False
        with suppress(ApiError, LedgerError):
            finish(take_over(self._store, cast("Any", self), self._ledger, cast("Any", self)))
            self._queueing.open()
            self._open = True
        return True

    def flush(self, *, everything: bool = True) -> None:
        """What the ledger does every few seconds, and at its end; or what cannot wait so long."""
        until = float("inf") if everything else time.monotonic() + SOON_SECONDS
        for subject in self._ledger.deferred.due_by(until):
            finish(self._ledger.deferred.write(subject))

    def clean(self) -> bool:
        """What the cleaner does beside all else: one round. Whether there was anything to do."""
        waiting = [each for each in self._cleaner._waiting.values() if each]
        for each in waiting:
            asyncio.run(self._cleaner._round(each, 1))
        return bool(waiting) and not self._world.bucket_away

    def record(self) -> None:
        """What history and totals do every few seconds. What has failed is not too recent to be tried again."""
        self._history._again = EPOCH
        finish(self._history.look())
        with suppress(ApiError):
            finish(self._counting.save())

    # The cluster that the reconciler acts on.

    async def request(self, key: Key) -> dict[str, Any] | None:
        async with self._hand.call(unreachable):
            found = self._world.requests.get(key)
            return None if found is None or going(found) else found

    async def write_status(self, path: str, document: Mapping[str, Any], status: Mapping[str, Any]) -> dict[str, Any]:
        async with self._hand.call(unreachable):
            metadata = document["metadata"]
            key = Key(metadata["namespace"], metadata["name"])
            assert path.endswith(f"/namespaces/{key.namespace}/exportrequests/{key.name}")
            present = self._world.requests.get(key)
            if present is None:
                raise ApiError(404, "NotFound", path)
            if present["metadata"]["resourceVersion"] != metadata["resourceVersion"]:
                raise ApiError(409, "Conflict", path)
            run = (metadata["uid"], str(status.get("runID") or ""))
            end = self._world.ends.get(run)
            again = status["reason"] == "RunIDUsed"  # asked for once more, it is refused
            assert again or end in {None, ended_as(status)}, f"{run} had ended as {end} and is now {status['phase']}"
            if status["phase"] in TERMINAL_PHASES:
                self._world.ends[run] = ended_as(status)
            version = {"resourceVersion": str(self._world.next())}
            written = {**present, "metadata": present["metadata"] | version, "status": dict(status)}
            self._world.requests[key] = written
            return written

    async def create_job(self, manifest: Mapping[str, Any]) -> Job:
        async with self._hand.call(unreachable):
            metadata = manifest["metadata"]
            name = metadata["name"]
            if name not in self._world.jobs:
                stamped = {"uid": f"job-{self._world.next()}", "creationTimestamp": times.render(self._world.now)}
                job = parse_job({**manifest, "metadata": {**metadata, **stamped}})
                self._world.jobs[name] = job
                self._world.job_manifests[name] = manifest
                self._world.pods[job.run] = ()
                self._world.created.append(job.run)
                self._world.specs[job.run] = run_spec(manifest)
            return self._there(name)

    def _there(self, name: str) -> Job:
        found = self._world.job(name)
        assert found is not None
        return found

    async def stop_job(self, job: Job, reason: str, message: str) -> Job:
        let_go: dict[str, Any] = {} if job.queue else {"suspended": False}
        return await self._change(job, **let_go, stop_reason=reason, stop_message=message)

    async def suspend_job(self, job: Job, *, suspend: bool) -> Job:
        assert not job.queue, "Kueue alone suspends its Jobs and lets them go on"
        return await self._change(job, unchanged=not suspend, suspended=suspend)

    async def note_undone(self, job: Job) -> None:
        await self._change(job, undone=True)

    async def _change(self, job: Job, *, unchanged: bool = False, **changes: Any) -> Job:
        async with self._hand.call(unreachable):
            present = self._world.job(job.name)
            if present is None:
                raise ApiError(404, "NotFound", job.name)
            if present.uid != job.uid or (unchanged and present.resource_version != job.resource_version):
                raise ApiError(409, "Conflict", job.name)
            self._world.jobs[job.name] = replace(present, **changes)
            return self._there(job.name)

    async def delete_job(self, job: Job, *, unchanged: bool = False) -> None:
        async with self._hand.call(unreachable):
            present = self._world.job(job.name)
            if present is None:
                return
            if present.uid == job.uid and not (unchanged and present.resource_version != job.resource_version):
                self._world.delete_job(job.name)
            elif unchanged:
                raise ApiError(409, "Conflict", job.name)

    async def delete_pod(self, pod: Pod) -> None:
        async with self._hand.call(unreachable):
            known = self._world.pods.get(pod.run, ())
            self._world.pods[pod.run] = tuple(each for each in known if each.uid != pod.uid)

    async def lose_pod(self, pod: Pod, _: datetime) -> None:
        async with self._hand.call(unreachable):
            pods = self._world.pods.get(pod.run, ())
            self._world.pods[pod.run] = tuple(each for each in pods if each.uid != pod.uid)

    async def silent(self, node: str) -> bool:
        return node in self._world.silent

    async def notices(self, _: str) -> tuple[Notice, ...]:
        return self._world.notices

    async def namespace_missing(self) -> bool:
        return False

    async def delete_request(self, request: Request) -> None:
        async with self._hand.call(unreachable):
            present = self._world.requests.get(request.key)
            if present is not None and present["metadata"]["resourceVersion"] == request.resource_version:
                self._world.delete(request.key)

    async def emit(self, request: Request, event: Emit, now: datetime) -> None:
        """Events inform: an error while one is written is logged by the adapter and goes no further."""
        async with self._hand.call(unreachable, quiet=True):
            assert "" not in {request.uid, event.reason, times.render(now)}

    async def log_tail(self, pod: str) -> str:
        """An error while it is read goes no further, as with Events."""
        async with self._hand.call(unreachable, quiet=True):
            return f"the last words of {pod}"

    # The Jobs, pods and Workloads that the reconciler sees.

    seen = True

    def gone(self, run: str) -> tuple[Pod, ...]:
        """Who starts anew remembers no pods that were removed, and nothing in the end may depend on them."""
        assert run
        return ()

    def of(self, job: Job) -> Workload | None:
        return self._workloads.get(job.uid)

    async def set_active(self, workload: Workload, *, active: bool) -> None:
        async with self._hand.call(unreachable):
            present = self._world.workloads.get(workload.job)
            if present is None or present.uid != workload.uid:
                raise ApiError(404, "NotFound", workload.name)
            changed = replace(present, active=active, suspended=not active)
            self._world.workloads[workload.job] = changed
            self._workloads[workload.job_uid] = changed

    def put_job(self, job: Job) -> None:
        self._jobs[job.name] = job

    def all(self) -> list[Job]:
        return list(self._jobs.values())

    def jobs_of(self, key: Key) -> list[Job]:
        return [job for _, job in sorted(self._jobs.items()) if job.request == key]

    async def job(self, run: str, *, confirm: bool) -> Job | None:
        name = names.job_name(run)
        if name not in self._jobs and confirm:
            async with self._hand.call(unreachable):
                if name in self._world.jobs:
                    self._jobs[name] = self._there(name)
        return self._jobs.get(name)

    async def refresh(self, job: Job) -> None:
        async with self._hand.call(unreachable):
            if job.name in self._world.jobs:
                self._jobs[job.name] = self._there(job.name)

    def known_pods(self, run: str) -> tuple[Pod, ...]:
        return self._pods.get(run, ())

    def lives(self, job: Job) -> bool:
        return any(pod.running for pod in self._pods.get(job.run, ()))

    async def pods_of(self, job: Job) -> tuple[Pod, ...]:
        known = self._pods.get(job.run, ())
        if job.terminal and not any(pod.exit_code is not None for pod in known):
            return self._world.pods.get(job.run, ())
        return known


def run_spec(manifest: Mapping[str, Any]) -> RunSpec:
    """What the Job's pod is told."""
    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    (text,) = (each["value"] for each in container["env"] if each["name"] == environment.RUN_SPEC)
    return RunSpec.from_json(text)


def _document(name: str, given: Mapping[str, Any], version: int = 1) -> dict[str, Any]:
    return {"metadata": {"name": name, "uid": name, "resourceVersion": str(version)}, "spec": given}


def settle(
    world: World, operator: Operator, hand: Hand, settings: Settings = SETTINGS, *, lazy: bool = False
) -> Operator:
    """Reconcile until nothing changes any more. An operator that is killed is started anew, with fresh caches; one that
    is `lazy` writes no more of what is over than it must."""
    quiet = 0
    for _ in range(30):
        before, calls = world.facts(), hand.calls
        try:
            operator.look()
            for key in operator.known():
                operator.reconcile(key)
            begun = operator.open()
            operator.flush(everything=not lazy)
            cleaned = operator.clean()
            operator.record()
        except Killed:
            operator = Operator(world, hand, settings)
            continue
        undisturbed = hand.when is None or not calls <= hand.when < hand.calls
        rests = undisturbed and not (begun or cleaned) and before == world.facts()
        quiet = quiet + 1 if rests else 0
        if quiet > lazy:  # what is free in its memory alone is no fact yet, and may be taken in the next round
            return operator
    raise AssertionError("the operator does not come to rest")
