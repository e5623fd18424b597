"""A flood of requests on an API server with few places: how long others wait for it meanwhile, who hold a Lease,
control the cluster, or just live in it. API Priority and Fairness decides, by the flow schemas that the operator's
installation and Kubernetes itself bring."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from export_operator.adapters.kube import ApiError, Kube, path_of
from export_operator.domain import lease
from tests.bench.spread import percentile
from tests.cluster import say
from tests.integration.operator.connections import running
from tests.load import audit
from tests.load.furnishing import furnish
from tests.load.operators import Operator
from tests.load.plane import Plane
from tests.load.scenario import Scenario, Stage, Watch, start
from tests.load.standin import StandIn, answering
from tests.platform.names import NAMESPACE

READS, WRITES = 40, 20
"""Places of the API server: a tenth of what it has unless told otherwise."""
OPTIONS = ("--max-requests-inflight", str(READS), "--max-mutating-requests-inflight", str(WRITES))
SUBMITTERS = 100
QUIET_SECONDS = 15.0
EVERY_SECONDS = 0.2
MANAGER = "system:kube-controller-manager"
NEIGHBOUR = "system:serviceaccount:default:neighbour"
LEASES = "coordination.k8s.io"
FLOWS = ("apiserver_flowcontrol_dispatched_requests_total", "apiserver_flowcontrol_rejected_requests_total")


@dataclass(frozen=True, slots=True)
class Waits:
    """Of one who asks five times a second: seconds for an answer, and how often there was none but a refusal."""

    asked: int
    median: float
    worst_percent: float
    longest: float
    refused: int


@dataclass(slots=True)
class Fairness:
    """Who waited how long, while nothing else happened and in the flood. `renewals` are the operator's of its Lease, by
    the API server's word; `flows` what the API server says of each flow schema: dispatched and rejected."""

    requests: int
    people: int
    reads: int
    writes: int
    flood_seconds: float
    quiet: dict[str, Waits]
    flood: dict[str, Waits]
    renewals: Waits
    leaders: int
    flows: dict[str, list[int]] = field(default_factory=dict)


@dataclass
class _Prober:
    """Asks as somebody, again and again, by a connection that is nobody else's."""

    ask: Callable[[], Coroutine[Any, Any, object]]
    seconds: list[float] = field(default_factory=list)
    refused: int = 0

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            try:
                await self.ask()
            except ApiError as error:
                if error.status not in {0, 429} and error.status < 500:
                    raise
                self.refused += 1
            self.seconds.append(loop.time() - began)
            await asyncio.sleep(EVERY_SECONDS)

    def told(self) -> Waits:
        """Of what was asked since the last time."""
        found = waits_of(self.seconds, self.refused)
        self.seconds, self.refused = [], 0
        return found


def waits_of(seconds: list[float], refused: int) -> Waits:
    """Of so many calls, each of so many seconds."""
    if not seconds:
        return Waits(0, 0.0, 0.0, 0.0, refused)
    median, worst = (round(percentile(seconds, percent), 4) for percent in (50, 99))
    return Waits(len(seconds), median, worst, round(max(seconds), 4), refused)


async def measure(plane: Plane, users: int) -> Fairness:
    """Ten requests a user, all at once. Raises `Problem`, `TimeoutError` when they do not come to their end."""
    scenario = Scenario(name="flood", title="", users=users, backlog=False, submitters=SUBMITTERS)
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        kube = await stack.enter_async_context(plane.connected())
        await furnish(plane, kube, await stack.enter_async_context(answering()))
        watch, jobs = Watch(kube), StandIn(kube, 1.0)
        await stack.enter_async_context(running(watch.informer.run()))
        await watch.informer.synced.wait()
        await stack.enter_async_context(jobs.working())
        probers = await stack.enter_async_context(_probing(plane, kube))
        settings = {"REQUESTS_PER_USER": "1000", "MAX_CONCURRENT_RUNS": "100", "LOG_LEVEL": "WARNING"}
        operator = Operator(plane.settings.directory, 0, await plane.operator_kubeconfig(kube), settings)
        stack.callback(operator.stop)
        with say.step(f"fairness: {scenario.requests:,} requests at once, others beside them") as step:
            await start([operator])
            await asyncio.sleep(QUIET_SECONDS)
            quiet = {name: prober.told() for name, prober in probers.items()}
            since, began = audit.size(plane.audit), loop.time()
            stage = Stage(scenario, plane, kube, [operator], jobs, watch, step)
            await stage.submit(0, users)
            await stage.settled(users)
            flood_seconds = loop.time() - began
            flood = {name: prober.told() for name, prober in probers.items()}
        leases = path_of(LEASES, "v1", "leases", lease.NAME, namespace=NAMESPACE)
        held = lease.parse_lease(await kube.get(leases))
        flows = flows_of(await kube.text("/metrics"))
    return Fairness(
        requests=scenario.requests,
        people=users,
        reads=READS,
        writes=WRITES,
        flood_seconds=round(flood_seconds, 1),
        quiet=quiet,
        flood=flood,
        renewals=renewals_of(plane.audit, since),
        leaders=held.transitions + 1,
        flows=flows,
    )


@asynccontextmanager
async def _probing(plane: Plane, admin: Kube) -> AsyncIterator[dict[str, _Prober]]:
    """Those who want something of the API server besides."""
    leases = path_of(LEASES, "v1", "leases", namespace="kube-system")
    name = f"{leases}/probe"
    body = {"metadata": {"name": "probe"}, "spec": {"holderIdentity": "probe", "leaseDurationSeconds": 15}}
    await admin.create(leases, body)
    await admin.create(
        path_of("rbac.authorization.k8s.io", "v1", "clusterrolebindings"),
        {
            "metadata": {"name": "neighbours"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [
                {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user} for user in (MANAGER, NEIGHBOUR)
            ],
        },
    )
    config = path_of("", "v1", "configmaps", "probe", namespace="default")
    await admin.create(config.rpartition("/")[0], {"metadata": {"name": "probe"}})
    async with AsyncExitStack() as stack:

        async def prober(user: str, path: str, change: Callable[[int], dict[str, Any]]) -> _Prober:
            kube = await stack.enter_async_context(plane.connected(user))
            count = 0

            async def ask() -> object:
                nonlocal count
                count += 1
                return await kube.patch(path, change(count))

            return _Prober(ask)

        def renewal(number: int) -> dict[str, Any]:
            return {"spec": {"leaseTransitions": number}}

        def data(number: int) -> dict[str, Any]:
            return {"data": {"number": str(number)}}

        found = {
            "a controller's Lease (leader-election)": await prober(MANAGER, name, renewal),
            "the controllers' own writes (workload-high)": await prober(MANAGER, config, data),
            "another workload's writes (workload-low)": await prober(NEIGHBOUR, config, data),
        }
        async with running(*(each.run() for each in found.values())):
            yield found


def renewals_of(log: Path, since: int = 0) -> Waits:
    """Those of the operator's Lease, from the audit log."""
    seconds, refused = [], 0
    for event in audit.events(log, since):
        reference = event.get("objectRef") or {}
        if reference.get("resource") == "leases" and event["verb"] == "patch":
            began, ended = (
                datetime.fromisoformat(event[key]) for key in ("requestReceivedTimestamp", "stageTimestamp")
            )
            seconds.append((ended - began).total_seconds())
            refused += int((event.get("responseStatus") or {}).get("code") or 0) >= 400
    return waits_of(seconds, refused)


def flows_of(metrics: str) -> dict[str, list[int]]:
    """Calls dispatched and rejected, by flow schema and priority level."""
    found: dict[str, list[int]] = {}
    for line in metrics.splitlines():
        metric, _, rest = line.partition("{")
        if metric in FLOWS:
            labels, _, value = rest.partition("} ")
            named = dict(each.split("=", 1) for each in labels.replace('"', "").split(",") if "=" in each)
            counts = found.setdefault(f"{named['flow_schema']} → {named['priority_level']}", [0, 0])
            counts[FLOWS.index(metric)] += int(float(value))
    return dict(sorted(found.items()))
