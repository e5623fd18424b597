"""Two operators, and what may befall the one that leads: the end is the same, and nothing is done twice.

One control plane, one story, several things to be seen in it. Each operator has a proxy before the API server, and a
token of its own, by which the audit log tells who has written what.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from export_operator.adapters.informer import Informer
from export_operator.adapters.kube import path_of
from export_operator.domain import lease, times
from export_operator.domain.lease import Lease
from export_operator.domain.model import EPOCH
from tests.load import judging, scenario
from tests.load.operators import Operator
from tests.load.plane import Plane, plane
from tests.load.scenario import Scenario, Stage
from tests.platform.names import NAMESPACE
from tests.services.apiproxy import ApiProxy, Break, Call, Delay, Fault, Loss, Refusal, api_proxy

from .connections import running, until

pytestmark = pytest.mark.integration

WAVE = 6
"""Users who apply when something befalls the leader; each has a request too many."""
STORY = Scenario(
    name="failover",
    title="the leader dies in each way",
    users=4 * WAVE,
    each=3,
    limit=2,
    slots=4,
    run_seconds=0.5,
    operators=2,
    backlog=False,
)
SECONDS = 90.0
"""A bound on any change of leaders: a Lease lasts 15 s, and the machine may be busy."""
BAD_WEATHER = 0.2
"""The share of calls that something befalls."""


@dataclass
class Death:
    """What befell a leader. `after` is when the other led, `exit_code` how the old one ended."""

    victim: str
    after: datetime
    exit_code: int
    holders: list[str]
    """Of the Lease meanwhile, "" for nobody; without the part of the name that tells processes of one pod apart."""
    seconds: float
    """From what befell it until the other led."""


@dataclass
class Told:
    """All that is to be seen."""

    seen: scenario.Seen = field(default_factory=scenario.Seen)
    deaths: dict[str, Death] = field(default_factory=dict)
    befallen: Counter[str] = field(default_factory=Counter)
    restarts: int = 0
    """Of operators that ended without having been asked to."""
    over: datetime = EPOCH
    """When all had befallen them: what ends them after that makes one of them lead last."""
    writes: list[tuple[str, datetime, str]] = field(default_factory=list)
    """By whom, when, and to what: those that took effect."""


class Story:
    """The course of events. `holders` are all that the Lease ever had."""

    def __init__(self, told: Told, proxies: list[ApiProxy]) -> None:
        self._told = told
        self._proxies = proxies
        self._holders: list[str] = []
        self._submitted = 0
        self._victim: Operator | None = None

    async def __call__(self, stage: Stage) -> None:
        leases = path_of("coordination.k8s.io", "v1", "leases", namespace=NAMESPACE)
        informer = Informer(stage.kube, leases, lease.parse_lease, self._note)
        async with running(informer.run(), self._start_again(stage)):
            await self._bad_weather(stage)
            await self._befall(stage, "SIGTERM")
            await self._befall(stage, "frozen")
            await self._befall(stage, "cut off")
            self._told.over = datetime.now(UTC)

    async def _start_again(self, stage: Stage) -> None:
        """As the kubelet does with a container that has ended."""
        while True:
            for operator in stage.operators:
                if not operator.running and operator is not self._victim:
                    print(operator.problem())
                    self._told.restarts += 1
                    operator.launch()
            await asyncio.sleep(0.5)

    def _note(self, _: Lease | None, after: Lease | None) -> None:
        holder = "" if after is None else after.holder.partition("_")[0]
        if self._holders[-1:] != [holder]:
            self._holders.append(holder)

    async def _wave(self, stage: Stage) -> None:
        await stage.submit(self._submitted, self._submitted + WAVE)
        self._submitted += WAVE

    async def _bad_weather(self, stage: Stage) -> None:
        seed = random.randrange(2**32)
        print(f"seed of the weather: {seed}")
        weather = Weather(random.Random(seed))
        for proxy in self._proxies:
            proxy.fault = weather
            proxy.sever()
        await self._wave(stage)
        await stage.settled(self._submitted)
        for proxy in self._proxies:
            proxy.fault = lambda _: None
            self._told.befallen.update(proxy.befallen)

    async def _befall(self, stage: Stage, what: str) -> None:
        leader = self._victim = await self._leader(stage)
        proxy = self._proxies[stage.operators.index(leader)]
        known = len(self._holders)
        await self._wave(stage)
        began = asyncio.get_running_loop().time()
        if what == "SIGTERM":
            leader.send(signal.SIGTERM)
        elif what == "frozen":
            leader.send(signal.SIGSTOP)
        else:
            proxy.stall()
        await until(lambda: self._holders[-1] not in ("", leader.name), "another leader", SECONDS)
        seconds = asyncio.get_running_loop().time() - began
        after = datetime.now(UTC)
        await stage.settled(self._submitted)  # all of the other's doing
        if what == "frozen":
            leader.send(signal.SIGCONT)
        elif what == "cut off":
            proxy.resume()
        await until(lambda: not leader.running, "its end", SECONDS)
        self._told.deaths[what] = Death(leader.name, after, leader.exit_code, self._holders[known:], seconds)
        leader.launch()
        await until(leader.ready, "a new standby", SECONDS)
        self._victim = None

    async def _leader(self, stage: Stage) -> Operator:
        """The one that leads, by the Lease."""
        await until(lambda: self._holders[-1:] not in ([], [""]), "a leader", SECONDS)
        return next(each for each in stage.operators if each.name == self._holders[-1])


class Weather:
    """Befalls calls at random, with what has befallen the fewest; only with what an API server says of such a call."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._befallen: Counter[Fault] = Counter()

    def __call__(self, call: Call) -> Fault | None:
        if self._chance.random() > BAD_WEATHER or "coordination.k8s.io" in call.path:
            return None
        if call.watch:
            return Break(self._chance.uniform(0.1, 1.0), expired=self._chance.random() < 0.3)
        faults: list[Fault] = [Refusal(401), Refusal(403), Refusal(429), Refusal(500), Refusal(504), Delay(0.3)]
        faults += [Loss(done=False), Loss(done=True)]
        if call.method in {"PUT", "PATCH"}:
            faults.append(Refusal(409))
        fewest = min(self._befallen[each] for each in faults)
        fault = self._chance.choice([each for each in faults if self._befallen[each] == fewest])
        self._befallen[fault] += 1
        return fault


@pytest.fixture(scope="module")
def told() -> Iterator[Told]:
    with plane() as fresh, ExitStack() as stack:
        fresh.install()
        authority = fresh.settings.directory / "pki" / "ca.crt"
        proxies = [stack.enter_context(api_proxy(fresh.settings.api_url, authority)) for _ in range(STORY.operators)]
        told = Told()
        ways = [proxy.url for proxy in proxies]
        told.seen = asyncio.run(scenario.play(STORY, fresh, course=Story(told, proxies), ways=ways))
        told.writes = writes(fresh)
        yield told


def writes(fresh: Plane) -> list[tuple[str, datetime, str]]:
    names = {credential(fresh.kubeconfig.with_name(f"operator-{number}")): f"operator-{number}" for number in range(2)}
    found = []
    for line in fresh.audit.read_text().splitlines():
        event = json.loads(line)
        written = event["verb"] in {"create", "update", "patch", "delete"} and "dryRun" not in event["requestURI"]
        if written and int((event.get("responseStatus") or {}).get("code") or 0) < 300:
            identity = event["user"]["extra"]["authentication.kubernetes.io/credential-id"][0]
            moment = times.parse(event["requestReceivedTimestamp"])
            assert moment is not None
            found.append((names[identity], moment, f"{event['verb']} {event['requestURI']}"))
    return found


def credential(kubeconfig: Path) -> str:
    """As the audit log calls the token in it."""
    token = json.loads(kubeconfig.read_text())["users"][0]["user"]["token"]
    body = token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return f"JTI={claims['jti']}"


def test_whatever_befalls_the_leader_everybody_gets_exactly_what_is_allowed_and_nothing_runs_twice(told: Told) -> None:
    assert judging.faults(STORY, told.seen) == []


def test_refusals_lost_answers_and_broken_watches_of_every_kind_have_befallen_the_operators(told: Told) -> None:
    assert told.restarts == 0  # and ended none of them
    expected = {"401", "403", "409", "429", "500", "504", "delay", "answer lost", "call lost", "watch broken"}
    assert expected <= set(told.befallen)


def test_a_leader_that_is_asked_to_end_hands_the_lease_over_before_it_ends(told: Told) -> None:
    death = told.deaths["SIGTERM"]
    print(f"the other led {death.seconds:.2f} s after SIGTERM")
    assert death.exit_code == 0
    assert death.holders == ["", other(death)]


@pytest.mark.parametrize("what", ["frozen", "cut off"])
def test_a_leader_that_is_not_heard_of_loses_the_lease_and_ends(told: Told, what: str) -> None:
    death = told.deaths[what]
    print(f"the other led {death.seconds:.2f} s after it was {what}")
    assert death.exit_code == 1
    assert death.holders == [other(death)]


@pytest.mark.parametrize("what", ["SIGTERM", "frozen", "cut off"])
def test_nothing_that_an_old_leader_sends_takes_effect(told: Told, what: str) -> None:
    death = told.deaths[what]
    until_next = [each.after for each in told.deaths.values() if each.after > death.after]
    end = min(until_next, default=told.over)
    late = [write for write in told.writes if write[0] == death.victim and death.after < write[1] < end]
    # It may win the Lease again, as anybody may; its renewals of before are refused.
    assert [write for write in late if "/leases" not in write[2]] == []


def other(death: Death) -> str:
    return {"operator-0": "operator-1", "operator-1": "operator-0"}[death.victim]
