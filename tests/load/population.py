"""An operator over many requests that are there already: how long until it decides, and what it costs, by their number.

Of the requests nine in ten have ended, with their Jobs and pods, and the others wait for a slot that never becomes
free. Beside ours a bare kopf operator is measured over the same objects, on the same control plane (see `bare`)."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import zlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, TypeVar

from export_contract import names
from export_operator.adapters.informer import Informer
from export_operator.adapters.kube import Kube, path_of
from export_operator.domain.model import ANNOTATION_NAMESPACE, GROUP, VERSION
from tests.cluster import say
from tests.integration.operator.connections import running, until
from tests.load import audit
from tests.load.bare import MARK, Bare
from tests.load.furnishing import PATIENCE_SECONDS, furnish, insist, made, namespaces, request
from tests.load.operators import Measured, Operator
from tests.load.plane import ACCOUNT, Plane
from tests.load.scenario import start
from tests.load.standin import StandIn, answering
from tests.platform.names import RUN_NAMESPACE

A = TypeVar("A")

SIZES = (1_000, 3_000, 10_000, 30_000)
WAITING = "waiting-"
"""How names of those who wait begin."""
WAITING_SHARE = 10
"""One request of so many waits; the others have ended."""
CLIENTS = 8
PIPELINE = "pipeline"
MOST_EVENTS = 500
"""Changes of requests that have ended, by which the cost of an event is measured: two of each, and at most so many."""
NEWCOMERS = 50
"""Requests that are new, by which the cost of a decision is measured."""
IDLE_SECONDS = 61.0
"""For which nothing happens: once a minute everything is listed."""
LIFETIME_SECONDS = 7 * 86_400
JOBS = path_of("batch", "v1", "jobs", namespace=RUN_NAMESPACE)
PODS = path_of("", "v1", "pods", namespace=RUN_NAMESPACE)

Document = Mapping[str, Any]


@dataclass(slots=True)
class Cost:
    """What one operator takes over a number of requests. Seconds of wall time and of CPU, bytes; `decision_cpu` is for
    a request that is new, and 0 for the bare operator, which decides nothing, as are the times of a successor."""

    start: float = 0.0
    start_cpu: float = 0.0
    memory: int = 0
    idle_cpu: float = 0.0
    """Of a processor, 0 to 1."""
    event_cpu: float = 0.0
    decision_cpu: float = 0.0
    handover: float = 0.0
    """From SIGTERM to the leader, with a replica that stands by and has listed everything."""
    failover: float = 0.0
    """From SIGKILL; the Lease must run out first."""
    start_calls: dict[str, int] = field(default_factory=dict)
    event_calls: dict[str, int] = field(default_factory=dict)
    """Of the changes and the newcomers together."""


@dataclass(slots=True)
class Level:
    """Both operators over so many requests."""

    requests: int
    waiting: int
    events: int
    newcomers: int
    ours: Cost
    bare: Cost


async def measure(plane: Plane, sizes: Iterable[int], idle_seconds: float) -> list[Level]:
    """One level for each size, from the smallest: the same objects, and more. Raises `Problem`, `TimeoutError`."""
    async with AsyncExitStack() as stack:
        kube = await stack.enter_async_context(plane.connected())
        port = await stack.enter_async_context(answering())
        await furnish(plane, kube, port, kept_seconds=LIFETIME_SECONDS)
        phases: Informer[str] = Informer(kube, path_of(GROUP, VERSION, "exportrequests"), _phase, lambda *_: None)
        await stack.enter_async_context(running(phases.run()))
        await phases.synced.wait()
        await _let_pipeline_ask(kube)
        pipeline = await stack.enter_async_context(plane.connected(PIPELINE))
        account = await stack.enter_async_context(plane.connected(ACCOUNT))
        stage = _Stage(plane, phases, idle_seconds, kube=kube, pipeline=pipeline, account=account)
        await stage.sample()
        # The one that gets the only slot runs for longer than anybody looks.
        await stack.enter_async_context(running(_hold(StandIn(kube, 1e6, WAITING))))
        return [await stage.level(size) for size in sorted(sizes)]


async def _let_pipeline_ask(kube: Kube) -> None:
    group = "rbac.authorization.k8s.io"
    rule = {"apiGroups": [GROUP], "resources": ["requesters"], "verbs": ["act-as"]}
    await kube.create(path_of(group, "v1", "clusterroles"), {"metadata": {"name": "act-as"}, "rules": [rule]})
    binding = {
        "metadata": {"name": "act-as"},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "act-as"},
        "subjects": [{"apiGroup": group, "kind": "User", "name": PIPELINE}],
    }
    await kube.create(path_of(group, "v1", "clusterrolebindings"), binding)


async def _hold(stand_in: StandIn) -> None:
    async with stand_in.working():
        await asyncio.Event().wait()


def _namespace(name: str) -> str:
    """Where the request of this name is: the same however often it is tried."""
    return namespaces()[zlib.crc32(name.encode()) % len(namespaces())]


def _phase(document: Document) -> str:
    return str((document.get("status") or {}).get("phase") or "")


class _Stage:
    """`pipeline` asks in everybody's name, `account` is the operator's, which alone writes status."""

    def __init__(
        self, plane: Plane, phases: Informer[str], idle_seconds: float, *, kube: Kube, pipeline: Kube, account: Kube
    ) -> None:
        self._plane = plane
        self._kube = kube
        self._pipeline = pipeline
        self._account = account
        self._phases = phases
        self._idle_seconds = idle_seconds
        self._random = random.Random(7)
        self._sample: tuple[Document, Document, Document] = ({}, {}, {})
        self._ended: list[tuple[str, str]] = []
        self._people = 0
        self._waiting = 0
        self._processes = 0

    async def sample(self) -> None:
        """A request, its Job and its pod, as the operator and the stand-in leave them: the others are made alike."""
        async with StandIn(self._kube, 0.1).working():
            operator = await self._operator()
            await start([operator])
            path = await self._apply("sample", "someone")
            await until(
                lambda: self._phases.items.get("sample") == "Succeeded", "the sample delivered", PATIENCE_SECONDS
            )
            found = await self._kube.get(path)
            (job,), _ = await self._kube.list(JOBS)
            (pod,), _ = await self._kube.list(PODS)
            operator.stop()
        self._sample = (found, job, pod)

    async def level(self, size: int) -> Level:
        """Grow to so many requests, and measure both operators."""
        waiting = max(size // WAITING_SHARE, 1)
        with say.step(f"population: {size:,} requests") as step:
            step.progress("making them")
            await self._grow(size - waiting)
            step.progress("letting them wait")
            await self._let_wait(waiting)
            step.progress("the operator")
            ours = await self._ours()
            step.progress("the bare operator")
            return Level(size, waiting, self._event_count(), NEWCOMERS, ours, await self._bare())

    async def _grow(self, ended: int) -> None:
        fresh = [f"ended-{number:06}" for number in range(len(self._ended), ended)]
        await _each(fresh, self._end)

    async def _end(self, name: str) -> None:
        """A request that has delivered, with its Job and its pod."""
        sample, job, pod = self._sample
        namespace = _namespace(name)
        path = path_of(GROUP, VERSION, "exportrequests", namespace=namespace)
        body = request(name, ttl_seconds=LIFETIME_SECONDS)
        body["spec"]["requester"] = {"username": f"user-{self._random.randrange(1000):03}"}
        found = await made(self._pipeline, path, body)
        old, new = sample["metadata"], found["metadata"]
        renamed = {
            names.run_id(old["uid"], ""): names.run_id(new["uid"], ""),
            old["uid"]: new["uid"],
            f"/{old['namespace']}/": f"/{namespace}/",
            old["name"]: name,
        }

        def like(document: Document) -> Any:
            text = json.dumps(document)
            for before, after in renamed.items():
                text = text.replace(before, after)
            return json.loads(text)

        await self._account.replace(f"{path}/{name}/status", {**found, "status": like(sample["status"])})
        for each, place in ((job, JOBS), (pod, PODS)):
            alike = like(unmade(each))
            if place == JOBS:
                alike["metadata"]["annotations"][ANNOTATION_NAMESPACE] = namespace
            written = await made(self._kube, place, alike)
            await self._kube.patch(f"{place}/{written['metadata']['name']}/status", {"status": like(each["status"])})
        self._ended.append((namespace, name))

    async def _let_wait(self, waiting: int) -> None:
        """So many requests wait: the operator itself has taken them in. One of all has the slot."""
        fresh = [f"{WAITING}{number:06}" for number in range(self._waiting, waiting)]
        await _each(fresh, lambda name: self._apply(name, f"{name}-user"))
        self._waiting = waiting
        operator = await self._operator()
        await start([operator])
        await until(lambda: all(self._phases.items.get(name) for name in fresh), "all wait", PATIENCE_SECONDS)
        operator.stop()

    async def _ours(self) -> Cost:
        cost, since = Cost(), audit.size(self._plane.audit)
        first = await self._operator()
        cost.start = await self._decided(first.launch)
        cost.start_cpu = first.cpu
        cost.start_calls = dict(audit.read(self._plane.audit, since).made)
        await self._settled(first)
        cost.idle_cpu = await self._idle(first)
        since = audit.size(self._plane.audit)
        cost.event_cpu = await self._events(first, cost.idle_cpu, self._decided)
        cost.decision_cpu = await self._decisions(first, cost.idle_cpu)
        cost.event_calls = dict(audit.read(self._plane.audit, since).made)
        cost.memory = first.peak_memory
        second = await self._operator()
        await start([second])
        await self._settled(second)
        cost.handover = await self._decided(lambda: first.send(first.stop_signal))
        first.stop()
        third = await self._operator()
        await start([third])
        await self._settled(third)
        cost.failover = await self._decided(second.kill)
        third.stop()
        return cost

    async def _bare(self) -> Cost:
        cost = Cost()
        self._processes += 1
        bare = Bare(
            self._plane.settings.directory,
            self._processes,
            await self._plane.operator_kubeconfig(self._kube, self._processes),
        )
        try:
            cost.start = await self._decided(bare.launch, by=bare)
            cost.start_cpu = bare.cpu
            await self._settled(bare)
            cost.idle_cpu = await self._idle(bare)
            cost.event_cpu = await self._events(bare, cost.idle_cpu, lambda: self._decided(by=bare))
            cost.memory = bare.peak_memory
        finally:
            bare.kill()
        return cost

    async def _operator(self) -> Operator:
        self._processes += 1
        settings = {"REQUESTS_PER_USER": "1000", "MAX_CONCURRENT_RUNS": "1", "LOG_LEVEL": "WARNING"}
        token = await self._plane.operator_kubeconfig(self._kube, self._processes)
        return Operator(self._plane.settings.directory, self._processes, token, settings)

    async def _decided(self, act: Callable[[], None] = lambda: None, by: Bare | None = None) -> float:
        """Seconds from `act` until a request that came right before it is decided upon, or has been seen `by` the bare
        operator."""
        self._people += 1
        name = f"zz-marked-{self._people:06}"  # the last of its namespace, which is the last that is listed
        await self._apply(name, f"{name}-user", namespaces()[-1], mark=True)
        began = asyncio.get_running_loop().time()
        act()
        await until(
            lambda: by.seen(name) if by is not None else bool(self._phases.items.get(name)),
            f"{name} is decided upon",
            PATIENCE_SECONDS,
        )
        return asyncio.get_running_loop().time() - began

    async def _settled(self, process: Measured) -> None:
        """What a start has left to do is done: for a second the process has next to nothing to do."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            before = -1.0
            while process.cpu - before > 0.1:
                before = process.cpu
                await asyncio.sleep(1)

    async def _idle(self, process: Measured) -> float:
        before = process.cpu
        await asyncio.sleep(self._idle_seconds)
        return (process.cpu - before) / self._idle_seconds

    async def _events(self, process: Measured, idle: float, done: Callable[[], Awaitable[float]]) -> float:
        """CPU seconds for each change of a request that has ended."""
        count = self._event_count()

        async def touch(where: tuple[str, str]) -> None:
            self._people += 1
            path = path_of(GROUP, VERSION, "exportrequests", where[1], namespace=where[0])
            await self._pipeline.patch(path, {"metadata": {"annotations": {"touched": str(self._people)}}})

        async def work() -> None:
            await _each(list(itertools.islice(itertools.cycle(self._ended), count)), touch)
            await done()

        return await self._cpu(process, idle, work) / count

    def _event_count(self) -> int:
        return min(2 * len(self._ended), MOST_EVENTS)

    async def _decisions(self, process: Measured, idle: float) -> float:
        """CPU seconds for each request that is new, until it has been told that it waits."""
        fresh = []
        for _ in range(NEWCOMERS):
            self._people += 1
            fresh.append(f"new-{self._people:06}")

        async def work() -> None:
            await _each(fresh, lambda name: self._apply(name, f"{name}-user"))
            await until(lambda: all(self._phases.items.get(name) for name in fresh), "all wait", PATIENCE_SECONDS)

        return await self._cpu(process, idle, work) / NEWCOMERS

    async def _cpu(self, process: Measured, idle: float, work: Callable[[], Awaitable[None]]) -> float:
        loop = asyncio.get_running_loop()
        began, before = loop.time(), process.cpu
        await work()
        await self._settled(process)
        return max(process.cpu - before - idle * (loop.time() - began), 0.0)

    async def _apply(self, name: str, user: str, namespace: str = "", *, mark: bool = False) -> str:
        namespace = namespace or _namespace(name)
        path = path_of(GROUP, VERSION, "exportrequests", namespace=namespace)
        body = request(name, on_quota_exceeded="Queue", ttl_seconds=LIFETIME_SECONDS)
        body["spec"]["requester"] = {"username": user}
        if mark:
            body["metadata"]["labels"] = {MARK: "yes"}
        await made(self._pipeline, path, body)
        return f"{path}/{name}"


async def _each(items: Iterable[A], work: Callable[[A], Awaitable[Any]]) -> None:
    """A few at a time; again where the API server, which has much to do, gave no answer."""
    gate = asyncio.Semaphore(CLIENTS)

    async def one(item: A) -> None:
        async with gate:
            await insist(lambda: work(item))

    async with asyncio.TaskGroup() as group:
        for item in items:
            group.create_task(one(item))


def unmade(document: Document) -> dict[str, Any]:
    """The document as it was before the API server had it."""
    made = {key: document["metadata"][key] for key in ("name", "labels", "annotations") if key in document["metadata"]}
    spec = json.loads(json.dumps(document["spec"]))
    spec.pop("selector", None)  # of a Job: the API server makes it, and labels of its pods with it
    for metadata in (made, (spec.get("template") or {}).get("metadata") or {}):
        labels = metadata.get("labels") or {}
        for key in [key for key in labels if key.endswith(("controller-uid", "job-name"))]:
            del labels[key]
    return {"metadata": made, "spec": spec}
