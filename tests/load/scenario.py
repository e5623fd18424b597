"""What is put on the operator, and what is seen of it."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from export_operator.adapters.informer import Informer
from export_operator.adapters.kube import Kube, path_of
from export_operator.adapters.ledger import FLUSH_SECONDS
from export_operator.domain.model import GROUP, TERMINAL_PHASES, VERSION
from export_operator.domain.pages import State
from export_operator.domain.quota import used
from export_operator.domain.usage import SLOTS, parse_usage
from tests.cluster import say
from tests.cluster.problem import Problem
from tests.integration.operator.connections import running
from tests.load import audit
from tests.load.furnishing import NAMESPACES, PATIENCE_SECONDS, furnish, insist, made, namespaces, request
from tests.load.nodes import simulated
from tests.load.operators import Operator
from tests.load.plane import Plane
from tests.load.standin import Jobs, StandIn, Truth, answering
from tests.platform.names import RUN_NAMESPACE

LAST_WORDS = 50
"""Pages of the ledger that an operator writes in the second that it has when it is told to end."""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """`limit` is of requests a user and day; `slots` of runs at once. With `backlog` everything is there before the
    operator starts, so all of it contends at one moment; else people apply while it runs. `kills` are SIGKILLs, spread
    over the admissions, each followed by a new start. With `usurp` every operator believes that it leads. On `nodes`
    that are simulated Kubernetes' own controllers run the Jobs; without any, a stand-in does. `submitters` people apply
    at the same moment."""

    name: str
    title: str
    users: int = 300
    each: int = 10
    limit: int = 10
    slots: int = 100
    run_seconds: float = 1.0
    operators: int = 1
    kills: int = 0
    usurp: bool = False
    nodes: int = 0
    submitters: int = 24
    backlog: bool = True
    on_quota_exceeded: str = "Reject"
    ttl_seconds: int = 1

    @property
    def requests(self) -> int:
        return self.users * self.each

    @property
    def admitted(self) -> int:
        """How many may run."""
        return self.users * min(self.each, self.limit)


@dataclass
class Seen:
    """What became of it. Times are seconds since the beginning: the operator's start where there is a backlog, the
    first apply where there is none."""

    phases: Counter[str] = field(default_factory=Counter)
    truth: Truth = field(default_factory=Truth)
    reserved: Counter[str] = field(default_factory=Counter)
    slots_held: int = 0
    unsettled: int = 0
    calls: audit.Calls = field(default_factory=audit.Calls)
    decided_seconds: float = 0.0
    settled_seconds: float = 0.0
    admitted_seconds: float = 0.0
    operator_cpu: float = 0.0
    operator_memory: int = 0


@dataclass
class Stage:
    """A scenario under way."""

    scenario: Scenario
    plane: Plane
    kube: Kube
    operators: list[Operator]
    jobs: Jobs
    watch: Watch
    step: say.Step

    async def submit(self, first: int, last: int) -> None:
        """The users of these numbers apply, all of what is theirs one after the other; many users do so at once."""
        users = [f"user-{number:03}" for number in range(first, last)]
        random.Random(1).shuffle(users)
        gate = asyncio.Semaphore(self.scenario.submitters)

        async def submit(number: int, user: str) -> None:
            path = path_of(GROUP, VERSION, "exportrequests", namespace=namespaces()[number % NAMESPACES])
            async with gate, self.plane.connected(user) as kube:
                for index in range(self.scenario.each):
                    body = self._request(f"{user}-{index}")
                    await insist(partial(made, kube, path, body))

        async with asyncio.TaskGroup() as group:
            for number, user in enumerate(users):
                group.create_task(submit(number, user))

    def _request(self, name: str) -> dict[str, Any]:
        scenario = self.scenario
        return request(name, on_quota_exceeded=scenario.on_quota_exceeded, ttl_seconds=scenario.ttl_seconds)

    async def until(self, true: Callable[[], bool]) -> None:
        """Raises `Problem` when it does not come to be."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not true():
                    self.step.progress(self._phases())
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise Problem(f"not settled after {PATIENCE_SECONDS:.0f} s: {self._phases()}") from None

    def _phases(self) -> str:
        return ", ".join(f"{count} {phase or 'new'}" for phase, count in sorted(self.watch.phases().items()))

    async def settled(self, users: int) -> None:
        """So many users have got all of theirs, and nothing is left to do."""
        requests = users * self.scenario.each
        await self.until(lambda: self.watch.ended() == requests and not self.jobs.informer.items)


Course = Callable[[Stage], Awaitable[None]]
"""What happens once the operators serve. All users have applied at its end."""


async def killing(stage: Stage) -> None:
    """Everybody applies, unless they have; operators are killed in turn, and start again."""
    scenario = stage.scenario
    if not scenario.backlog:
        await stage.submit(0, scenario.users)
    for number in range(scenario.kills):
        after = scenario.admitted * (number + 1) // (scenario.kills + 1)
        await stage.until(lambda after=after: stage.jobs.truth.created.total() >= after)  # type: ignore[misc]
        victim = stage.operators[number % len(stage.operators)]
        victim.kill()
        victim.launch()


async def play(
    scenario: Scenario,
    plane: Plane,
    profile: Path | None = None,
    *,
    course: Course = killing,
    ways: Sequence[str] = ("",),
) -> Seen:
    """Put the scenario on a fresh control plane; `ways` are URLs that lead the operators to it, if not straight. Raises
    `Problem` when it does not settle."""
    loop = asyncio.get_running_loop()
    seen = Seen()
    async with AsyncExitStack() as stack:
        kube = await stack.enter_async_context(plane.connected())
        port = await stack.enter_async_context(answering())
        await furnish(plane, kube, port)
        watch = Watch(kube)
        await stack.enter_async_context(running(watch.informer.run()))
        await watch.informer.synced.wait()
        jobs = Jobs(kube) if scenario.nodes else StandIn(kube, scenario.run_seconds)
        await stack.enter_async_context(jobs.working())
        if scenario.nodes:
            await stack.enter_async_context(simulated(plane, kube, scenario.nodes, scenario.run_seconds))
        settings = {
            "REQUESTS_PER_USER": str(scenario.limit),
            "MAX_CONCURRENT_RUNS": str(scenario.slots),
        }
        operators = [
            Operator(
                plane.settings.directory,
                number,
                await plane.operator_kubeconfig(kube, number, ways[number % len(ways)]),
                settings,
                profile=profile if number == 0 else None,
                usurps=scenario.usurp,
            )
            for number in range(scenario.operators)
        ]
        for operator in operators:
            stack.callback(operator.stop)
        with say.step(f"{scenario.name}: {scenario.title}") as step:
            stage = Stage(scenario, plane, kube, operators, jobs, watch, step)
            if scenario.backlog:
                await stage.submit(0, scenario.users)
                began = loop.time()
                await start(operators)
            else:
                await start(operators)
                began = loop.time()
            await course(stage)
            await stage.settled(scenario.users)
            await _settle(kube, seen, step)
        # Its last words to the ledger, and what it has cost.
        for operator in operators:
            operator.stop()
        seen.decided_seconds = watch.last_decided - began
        seen.settled_seconds = watch.last_settled - began
        seen.admitted_seconds = jobs.truth.last - jobs.truth.first
        seen.phases = watch.phases()
        seen.truth = jobs.truth
        seen.operator_cpu = sum(each.cpu for each in operators)
        seen.operator_memory = max(each.peak_memory for each in operators)
        await _read_ledger(kube, seen)
    seen.calls = audit.read(plane.audit)
    audit.told_apart(seen.calls, watch.told_anew)
    return seen


class Watch:
    """Follows every request by the API server's own events."""

    def __init__(self, kube: Kube) -> None:
        self._path = path_of(GROUP, VERSION, "exportrequests")
        self.informer: Informer[tuple[str, str]] = Informer(kube, self._path, _phase_and_version, self._changed)
        self._counts: Counter[str] = Counter()
        self.last_decided = 0.0
        self.last_settled = 0.0
        self.told_anew = 0
        """Changes of requests that waited before and wait still. Nobody but the operator changes a request here."""

    def phases(self) -> Counter[str]:
        return +self._counts

    def ended(self) -> int:
        """How many requests have."""
        return sum(self._counts[phase] for phase in TERMINAL_PHASES)

    def _changed(self, earlier: tuple[str, str] | None, later: tuple[str, str] | None) -> None:
        now = asyncio.get_running_loop().time()
        before, after = earlier and earlier[0], later and later[0]
        self.told_anew += before == after == "Queued"
        if before is not None:
            self._counts[before] -= 1
        if after is not None:
            self._counts[after] += 1
            if not before and after:
                self.last_decided = now
            if after in TERMINAL_PHASES and after != before:
                self.last_settled = now


def _phase_and_version(document: Mapping[str, Any]) -> tuple[str, str]:
    return str((document.get("status") or {}).get("phase") or ""), document["metadata"]["resourceVersion"]


async def start(operators: Sequence[Operator]) -> None:
    """Have them serve. Raises `Problem` when one ends."""
    for operator in operators:
        operator.launch()
    while not all(operator.ready() for operator in operators):
        for operator in operators:
            if not operator.running:
                raise operator.problem()
        await asyncio.sleep(0.1)


async def _settle(kube: Kube, seen: Seen, step: say.Step) -> None:
    """What runs have used is written some time after their ends: wait for that, in vain if it never is."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + 2 * FLUSH_SECONDS
    while loop.time() < deadline:
        if await _read_ledger(kube, seen) <= LAST_WORDS:
            return
        step.progress(f"{seen.unsettled} places are to be settled")
        await asyncio.sleep(2)


async def _read_ledger(kube: Kube, seen: Seen) -> int:
    """The answer is how many pages hold a place that is not settled."""
    seen.unsettled = pages = 0
    documents, _ = await kube.list(path_of(GROUP, VERSION, "exportusages", namespace=RUN_NAMESPACE))
    for usage in map(parse_usage, documents):
        assert not usage.fault, usage.fault
        if usage.subject == SLOTS:
            seen.slots_held = len(usage.page.entries)
        elif usage.subject.kind == "User":
            seen.reserved[usage.subject.name] = used(usage.page.entries, "requests")
            unsettled = sum(entry.state is State.RESERVED for entry in usage.page.entries)
            seen.unsettled += unsettled
            pages += unsettled > 0
    return pages
