"""People apply at a steady rate for a long time: does latency or memory grow? Requests, Jobs and objects of the ledger
come and go, so that as many exist at the end as after a few minutes."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

from export_operator.adapters.informer import Informer
from export_operator.adapters.kube import path_of
from export_operator.domain.model import GROUP, TERMINAL_PHASES, VERSION, Key, parse_job
from tests.bench.spread import percentile
from tests.cluster import say
from tests.integration.operator.connections import running, until
from tests.load import audit
from tests.load.furnishing import furnish, insist, made, namespaces, request
from tests.load.nodes import simulated
from tests.load.operators import Operator
from tests.load.plane import Plane
from tests.load.scenario import start
from tests.load.standin import answering
from tests.platform.names import RUN_NAMESPACE

RUN_SECONDS = 20.0
JOB_SECONDS = 60
"""For which a Job stays after its end."""
REQUEST_SECONDS = 120
SAMPLE_SECONDS = 60.0
END_SECONDS = 300.0
"""A bound for those who came last."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A minute. Latencies are from sending the apply to hearing of the Job, in seconds; memory is resident, in bytes;
    CPU in seconds."""

    minute: int
    applied: int
    median: float
    worst_percent: float
    """The 99th percentile."""
    memory: int
    cpu: float
    present: int
    """Requests that exist."""


@dataclass(slots=True)
class Flow:
    """The whole of it. `running_seconds` are those of all pods together, by which the reads of progress are judged."""

    per_minute: float
    people: int
    samples: list[Sample]
    median: float
    worst_percent: float
    peak_memory: int
    applied: int
    started: int
    ended: dict[str, int]
    running_seconds: float
    calls: dict[str, int]
    refused: dict[str, int]


async def measure(plane: Plane, per_minute: float, minutes: float, people: int, nodes: int) -> Flow:
    """Raises `Problem` when the operator ends."""
    loop = asyncio.get_running_loop()
    applied: dict[Key, float] = {}
    latencies: list[float] = []
    fresh: list[float] = []
    ended: dict[str, str] = {}
    samples: list[Sample] = []

    def job_changed(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> None:
        if before is None and after is not None:
            # Our own apply may not have been answered yet: the watch is on another connection.
            seconds = loop.time() - applied[parse_job(after).request]
            latencies.append(seconds)
            fresh.append(seconds)

    def request_changed(_: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> None:
        phase = str(((after or {}).get("status") or {}).get("phase") or "")
        if after is not None and phase in TERMINAL_PHASES:
            ended[after["metadata"]["name"]] = phase

    async with AsyncExitStack() as stack:
        kube = await stack.enter_async_context(plane.connected())
        port = await stack.enter_async_context(answering())
        await furnish(plane, kube, port, kept_seconds=REQUEST_SECONDS)
        requests: Informer[Mapping[str, Any]] = Informer(
            kube, path_of(GROUP, VERSION, "exportrequests"), dict, request_changed
        )
        jobs: Informer[Mapping[str, Any]] = Informer(
            kube, path_of("batch", "v1", "jobs", namespace=RUN_NAMESPACE), dict, job_changed
        )
        await stack.enter_async_context(running(requests.run(), jobs.run()))
        await asyncio.gather(requests.synced.wait(), jobs.synced.wait())
        await stack.enter_async_context(simulated(plane, kube, nodes, RUN_SECONDS))
        askers = [await stack.enter_async_context(plane.connected(f"user-{number:03}")) for number in range(people)]
        settings = {"REQUESTS_PER_USER": "1000000", "MAX_CONCURRENT_RUNS": "200", "LOG_LEVEL": "WARNING"}
        operator = Operator(plane.settings.directory, 0, await plane.operator_kubeconfig(kube), settings)
        stack.callback(operator.stop)
        await start([operator])

        async def apply(number: int) -> None:
            name, namespace = f"export-{number:06}", namespaces()[number % len(namespaces())]
            path = path_of(GROUP, VERSION, "exportrequests", namespace=namespace)
            applied[Key(namespace, name)] = loop.time()
            await insist(partial(made, askers[number % people], path, request(name, ttl_seconds=JOB_SECONDS)))

        async def sample() -> None:
            before, count = operator.cpu, 0
            while True:
                await asyncio.sleep(SAMPLE_SECONDS)
                cpu = operator.cpu
                told = fresh[:] or [0.0]
                fresh.clear()
                samples.append(
                    Sample(
                        len(samples) + 1,
                        len(applied) - count,
                        round(percentile(told, 50), 4),
                        round(percentile(told, 99), 4),
                        operator.memory,
                        round(cpu - before, 2),
                        len(requests.items),
                    )
                )
                before, count = cpu, len(applied)

        began, chance = loop.time(), random.Random(3)
        with say.step(f"stream: {per_minute:g} requests a minute for {minutes:g} minutes") as step:
            async with running(sample()), asyncio.TaskGroup() as group:
                at = began
                for number in itertools.count():
                    at += chance.expovariate(per_minute / 60)
                    if at > began + minutes * 60:
                        break
                    await asyncio.sleep(max(at - loop.time(), 0))
                    group.create_task(apply(number))
                    step.progress(f"{len(applied)} applied, {len(latencies)} started, {len(ended)} ended")
                    if not operator.running:
                        raise operator.problem()
                await until(lambda: len(ended) == len(applied), "all have ended", END_SECONDS)
        operator.stop()
    calls = audit.read(plane.audit)
    return Flow(
        per_minute=per_minute,
        people=people,
        samples=samples,
        median=round(percentile(latencies, 50), 4),
        worst_percent=round(percentile(latencies, 99), 4),
        peak_memory=operator.peak_memory,
        applied=len(applied),
        started=len(latencies),
        ended=dict(Counter(ended.values())),
        running_seconds=len(latencies) * RUN_SECONDS,
        calls=dict(calls.made),
        refused=dict(calls.refused),
    )
