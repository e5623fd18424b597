"""Notifications across receivers that are away or refuse, and operators that die: nothing is lost, and what is known to
be delivered is not repeated."""

from __future__ import annotations

import asyncio
import base64
import gzip
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, cast

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from export_operator.adapters import kept
from export_operator.adapters.kube import ApiError
from export_operator.adapters.notify import DeliveryError
from export_operator.adapters.outbox import KEY, NAME, OutboxStore
from export_operator.domain import times
from export_operator.domain.actions import Emit
from export_operator.domain.channels import Channel
from export_operator.domain.model import ANNOTATION_RESEND, Job, Key, Request
from export_operator.domain.notifications import Notification
from export_operator.domain.outbox import GIVE_UP, MAX_BOX, Outbox, Tally
from export_operator.lanes import MAX_REFUSALS
from export_operator.notifications import GONE, Notifications, Pace
from export_operator.store import Store

from .builders import NOW, spec
from .configmaps import ConfigMaps
from .hand import Hand, Killed, Trouble, finish, unreachable

pytestmark = pytest.mark.unit

Document = dict[str, Any]
BOUND = 20.0  # seconds, for what takes milliseconds
JUMPS = (0, 1, 60, 590, 610, 7200)
"""Seconds: below and beyond what is known of the past one by one."""
WELL = (True, "no channel is in trouble")
NAMES = ("one", "two", "three")
PACE = Pace(save=0.001, sweep=0.005, pauses=(0.001,), refused=0.0)


@dataclass
class Cluster:
    """What outlives every process, receivers among it."""

    now: datetime = NOW
    version: int = 100
    requests: dict[Key, Document] = field(default_factory=dict)
    policies: dict[str, Document] = field(default_factory=dict)
    jobs: list[Job] = field(default_factory=list)
    kept: Document | None = None
    secrets: set[str] = field(default_factory=lambda: {"ops", "chat"})
    events: list[tuple[str, str]] = field(default_factory=list)
    delivered: list[tuple[str, str]] = field(default_factory=list)
    tried: Counter[str] = field(default_factory=Counter)
    trouble: dict[str, DeliveryError] = field(default_factory=dict)
    """Of receivers, by the name of the channel or the id of a notification."""
    hangs: set[str] = field(default_factory=set)

    def next(self) -> str:
        self.version += 1
        return str(self.version)

    def policy(self, *channels: str, annotations: Mapping[str, str] | None = None, **section: Any) -> None:
        made = [{"name": name, "type": "Webhook", "secretRef": {"name": name}} for name in channels]
        metadata = {"name": "p", "uid": "p", "resourceVersion": self.next(), "annotations": dict(annotations or {})}
        self.policies["p"] = {
            "metadata": metadata,
            "spec": {"notifications": {"channels": made, **section}},
        }

    def ends(self, name: str, *notify: str, phase: str = "Succeeded", completed: datetime | None = None) -> None:
        status = {
            "phase": phase,
            "reason": "Delivered",
            "run": f"run-{name}",
            "runID": "",
            "completionTime": times.render(completed or self.now),
        }
        self.requests[Key("team-a", name)] = {
            "metadata": {
                "namespace": "team-a",
                "name": name,
                "uid": f"uid-{name}",
                "resourceVersion": self.next(),
                "creationTimestamp": times.render(NOW),
            },
            "spec": spec(notify=list(notify)),
            "status": status,
        }

    async def send(self, channel: Channel, secret: Mapping[str, bytes], found: Notification) -> None:
        assert secret == {"url": b"x"}
        self.tried[channel.name] += 1
        if channel.name in self.hangs:
            await asyncio.Event().wait()
        await asyncio.sleep(0)
        for name in (channel.name, found.id):
            if name in self.trouble:
                raise self.trouble[name]
        self.delivered.append((channel.name, found.id))

    @property
    def waiting(self) -> set[tuple[str, str]]:
        boxes = self.outbox.boxes
        return {(key.removeprefix("p/"), identity) for key, box in boxes.items() for identity in box.waiting}

    @property
    def outbox(self) -> Outbox:
        return (
            Outbox()
            if self.kept is None
            else Outbox.parse(gzip.decompress(base64.b64decode(self.kept["binaryData"][KEY])).decode())
        )


class Process:
    """One operator that leads, and what it asks of the API server."""

    run_namespace = "runs"
    task: asyncio.Task[None]

    def __init__(self, cluster: Cluster, hand: Hand | None = None, pace: Pace = PACE) -> None:
        self.cluster = cluster
        self.hand = hand or Hand()
        self.dead = False
        self.sweeps = 0
        self.store = Store(lambda _: None, lambda _, after: self.notifications.recorded(after))
        self.shown: Mapping[str, Tally] = {}
        self.notifications = Notifications(
            kept=OutboxStore(cast("Any", ConfigMaps(cluster, self.hand, NAME)), "runs"),
            store=self.store,
            cluster=cast("Any", self),
            jobs=self._jobs,
            senders={"Webhook": self._send},
            fence=self._fence,
            clock=lambda: cluster.now,
            show=self._shown,
            pace=pace,
        )

    def look(self) -> None:
        for document in self.cluster.policies.values():
            self.store.put_named("exportpolicies", document)
        for name in set(self.store.documents["exportpolicies"]) - set(self.cluster.policies):
            self.store.drop_named("exportpolicies", name)
        for document in self.cluster.requests.values():
            self.store.put_request(document)
        for key in set(self.store.requests) - set(self.cluster.requests):
            self.store.drop_request(key)

    def _jobs(self) -> list[Job]:
        self.sweeps += 1
        return self.cluster.jobs

    async def swept(self) -> None:
        """Everything was looked at once more, unless the process is gone."""
        seen = self.sweeps
        await until(lambda: self.sweeps > seen or self.task.done())

    def _shown(self, tallies: Mapping[str, Tally]) -> None:
        self.shown = tallies

    def _fence(self, _: float) -> None:
        if self.dead:
            raise ApiError(0, "NotLeading", "it is dead")

    async def _send(self, channel: Channel, secret: Mapping[str, bytes], found: Notification) -> None:
        await self.cluster.send(channel, secret, found)

    async def secret_object(self, name: str) -> Document | None:
        return {"data": {"url": "eA=="}} if name in self.cluster.secrets else None

    async def emit(self, request: Request, event: Emit, _: datetime) -> None:
        self.cluster.events.append((request.key.name, event.reason))


@asynccontextmanager
async def leading(cluster: Cluster, hand: Hand | None = None, pace: Pace = PACE) -> AsyncIterator[Process]:
    """An operator that knows what there is, until it is told to stop or is killed."""
    process = Process(cluster, hand, pace)
    process.look()
    process.task = asyncio.create_task(process.notifications.run())
    try:
        yield process
    finally:
        process.task.cancel()
        with suppress(asyncio.CancelledError, BaseExceptionGroup, Killed):
            await process.task


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(BOUND):
        while not condition():  # noqa: ASYNC110  # what is waited for says nothing of itself
            await asyncio.sleep(0.001)


async def at_rest(process: Process) -> None:
    """Nothing waits any more, and that is kept."""

    await until(lambda: process.cluster.kept is not None and not process.cluster.waiting)


@pytest.fixture
def cluster() -> Cluster:
    made = Cluster()
    made.policy("ops", "chat")
    return made


async def test_an_end_is_delivered_by_each_channel_that_was_asked_for(cluster: Cluster) -> None:
    async with leading(cluster) as process:
        cluster.ends("one", "ops", "chat")
        cluster.ends("two", "ops")
        cluster.ends("three")
        process.look()
        await until(lambda: len(cluster.delivered) == 3)
        await at_rest(process)
    expected = [("chat", "run-one-succeeded"), ("ops", "run-one-succeeded"), ("ops", "run-two-succeeded")]
    assert sorted(cluster.delivered) == expected


async def test_what_an_operator_has_delivered_the_next_one_does_not_repeat(cluster: Cluster) -> None:
    async with leading(cluster) as process:
        cluster.ends("one", "ops")
        process.look()
        await until(lambda: len(cluster.delivered) == 1)
    async with leading(cluster) as process:
        cluster.ends("two", "ops")
        process.look()
        await until(lambda: len(cluster.delivered) == 2)
    assert cluster.delivered == [("ops", "run-one-succeeded"), ("ops", "run-two-succeeded")]


async def test_what_ended_while_nobody_led_is_told_afterwards(cluster: Cluster) -> None:
    async with leading(cluster) as process:
        cluster.ends("one", "ops")
        process.look()
        await at_rest(process)
    cluster.now += timedelta(hours=5)
    cluster.ends("two", "ops", completed=NOW + timedelta(hours=1))
    async with leading(cluster):
        await until(lambda: len(cluster.delivered) == 2)
    assert cluster.delivered[1] == ("ops", "run-two-succeeded")


async def test_what_waits_is_delivered_though_its_request_is_deleted(cluster: Cluster) -> None:
    cluster.trouble["ops"] = DeliveryError("HTTP 503")
    async with leading(cluster) as process:
        cluster.ends("one", "ops")
        process.look()
        await until(lambda: cluster.waiting == {("ops", "run-one-succeeded")})
    cluster.requests.clear()
    cluster.trouble.clear()
    async with leading(cluster):
        await until(lambda: cluster.delivered == [("ops", "run-one-succeeded")])


async def test_a_receiver_that_is_away_or_hangs_holds_up_no_other_and_loses_nothing(cluster: Cluster) -> None:
    cluster.hangs.add("ops")
    async with leading(cluster) as process:
        for number in range(5):
            cluster.ends(f"r{number}", "ops", "chat")
        process.look()
        await until(lambda: len(cluster.delivered) == 5)
        assert {channel for channel, _ in cluster.delivered} == {"chat"}
        assert process.notifications.standing("p") == WELL
    cluster.hangs.clear()
    cluster.trouble["ops"] = DeliveryError("HTTP 503")
    async with leading(cluster) as process:
        await until(lambda: process.notifications.standing("p") == (False, "notifications wait: ops: HTTP 503"))
        cluster.trouble.clear()
        cluster.now += timedelta(minutes=10)
        await until(lambda: len(cluster.delivered) == 10)
        await until(lambda: process.notifications.standing("p") == WELL)
    assert Counter(cluster.delivered) == Counter(
        {(channel, f"run-r{number}-succeeded"): 1 for channel in ("ops", "chat") for number in range(5)}
    )


async def test_a_secret_that_is_not_there_is_waited_for(cluster: Cluster) -> None:
    cluster.secrets.clear()
    async with leading(cluster) as process:
        cluster.ends("one", "ops")
        process.look()
        problem = "notifications wait: ops: Secret 'ops' does not exist in namespace 'runs'; create it there"
        await until(lambda: process.notifications.standing("p") == (False, problem))
        cluster.secrets.add("ops")
        await until(lambda: len(cluster.delivered) == 1)


async def test_what_a_receiver_refuses_steps_aside_is_given_up_and_shown(cluster: Cluster) -> None:
    cluster.trouble["run-bad-succeeded"] = DeliveryError("HTTP 400", refused=True)
    async with leading(cluster) as process:
        cluster.ends("bad", "ops")
        cluster.ends("good", "ops")
        process.look()
        await until(lambda: cluster.events == [("bad", "NotificationNotDelivered")])
        await until(lambda: cluster.delivered == [("ops", "run-good-succeeded")])
        await at_rest(process)
        await until(lambda: process.shown["p/ops"] == Tally({"delivered": 1, "failed": 3, "dead": 1}, 0, None))
        why = f"refused {MAX_REFUSALS} times: HTTP 400"
        told = f"no channel is in trouble; given up: 1, the last at {times.render(NOW)} (ops: {why})"
        assert process.notifications.standing("p") == (True, told)
    (dead,) = cluster.outbox.dead
    assert (dead.id, dead.channel, dead.request) == ("run-bad-succeeded", "p/ops", "team-a/bad")
    assert dead.why == why


async def test_what_was_given_up_is_sent_again_once_when_its_policy_asks_for_it_whoever_leads(cluster: Cluster) -> None:
    cluster.trouble["ops"] = cluster.trouble["chat"] = DeliveryError("HTTP 400", refused=True)
    async with leading(cluster) as process:
        cluster.ends("one", "ops", "chat")
        process.look()
        await until(lambda: {dead.channel for dead in cluster.outbox.dead} == {"p/ops", "p/chat"})
    cluster.requests.clear()
    cluster.trouble.clear()
    cluster.now += timedelta(days=3)
    async with leading(cluster) as process:
        cluster.policy("ops", "chat", annotations={ANNOTATION_RESEND: f"{times.render(NOW)} ops"})
        process.look()
        await until(lambda: cluster.delivered == [("ops", "run-one-succeeded")])
        await until(lambda: [dead.channel for dead in cluster.outbox.dead] == ["p/chat"])
        cluster.trouble["ops"] = DeliveryError("HTTP 400", refused=True)
        cluster.ends("two", "ops")
        process.look()
        await until(lambda: len(cluster.outbox.dead) == 2)
        await process.swept()
        await process.swept()
    assert cluster.delivered == [("ops", "run-one-succeeded")]
    assert [dead.id for dead in cluster.outbox.dead] == ["run-one-succeeded", "run-two-succeeded"]


async def test_one_that_a_receiver_chokes_on_holds_up_the_others_for_a_while_only(cluster: Cluster) -> None:
    cluster.trouble["run-bad-succeeded"] = DeliveryError("HTTP 500")
    async with leading(cluster) as process:
        cluster.ends("bad", "ops")
        cluster.ends("good", "ops")
        process.look()
        await until(lambda: cluster.delivered == [("ops", "run-good-succeeded")])
        cluster.trouble.clear()
        cluster.now += timedelta(minutes=10)
        await until(lambda: cluster.delivered[1:] == [("ops", "run-bad-succeeded")])


async def test_what_nobody_takes_for_days_is_given_up(cluster: Cluster) -> None:
    cluster.trouble["ops"] = DeliveryError("HTTP 503")
    async with leading(cluster) as process:
        cluster.ends("one", "ops")
        process.look()
        await until(lambda: cluster.tried["ops"] > 1)
        cluster.now += GIVE_UP
        await until(lambda: [dead.why for dead in cluster.outbox.dead] == ["HTTP 503"])
    assert cluster.events == [("one", "NotificationNotDelivered")]


async def test_what_there_is_no_room_for_is_found_again_when_there_is(cluster: Cluster) -> None:
    cluster.trouble["ops"] = DeliveryError("HTTP 503")
    async with leading(cluster) as process:
        for number in range(MAX_BOX + 50):
            cluster.ends(f"r{number:04}", "ops")
        process.look()
        await until(lambda: len(cluster.waiting) == MAX_BOX)
    cluster.now += timedelta(hours=1)
    async with leading(cluster):
        await until(lambda: cluster.tried["ops"] > 5)
        cluster.now += timedelta(hours=1)
        cluster.trouble.clear()
        await until(lambda: len(cluster.delivered) == MAX_BOX + 50)
    assert len(set(cluster.delivered)) == MAX_BOX + 50


async def test_time_alone_makes_a_request_wait_for_long(cluster: Cluster) -> None:
    cluster.policy("ops", queuedLongSeconds=60)
    cluster.policies["p"]["spec"]["notifications"]["channels"][0]["events"] = ["QueuedLong"]
    async with leading(cluster) as process:
        cluster.ends("one", "ops")
        waiting = cluster.requests[Key("team-a", "one")]
        waiting["status"] = {"phase": "Queued", "run": "run-one", "queuedTime": times.render(NOW)}
        process.look()
        cluster.now += timedelta(seconds=60)
        await until(lambda: cluster.delivered == [("ops", "run-one-queuedlong")])


async def test_what_a_policy_that_comes_or_changes_adds_is_told_from_that_moment_on(cluster: Cluster) -> None:
    """However long it takes until anything else is told."""
    cluster.policies.clear()
    async with leading(cluster) as process:
        await process.swept()
        cluster.policy("ops")
        process.look()
        cluster.ends("one", "ops")
        cluster.now += timedelta(hours=1)
        process.look()
        await until(lambda: cluster.delivered == [("ops", "run-one-succeeded")])
        cluster.policy("ops", "chat")
        cluster.ends("two", "chat")
        process.look()
        await until(lambda: cluster.delivered[1:] == [("chat", "run-two-succeeded")])


async def test_what_ends_while_its_policy_is_being_replaced_is_told(cluster: Cluster) -> None:
    policies = dict(cluster.policies)
    async with leading(cluster) as process:
        await until(lambda: cluster.kept is not None)
        cluster.policies.clear()
        process.look()
        cluster.ends("one", "ops")
        process.look()
        cluster.now += GONE / 2
        await process.swept()
        await process.swept()
        cluster.policies.update(policies)
        process.look()
        await until(lambda: cluster.delivered == [("ops", "run-one-succeeded")])


async def test_what_waits_for_a_channel_that_is_gone_is_given_up_in_an_hour(cluster: Cluster) -> None:
    cluster.trouble["ops"] = DeliveryError("HTTP 503")
    async with leading(cluster) as process:
        cluster.ends("one", "ops")
        process.look()
        await until(lambda: cluster.tried["ops"] > 0)
        cluster.policy("chat")
        process.look()
        await process.swept()
        cluster.now += GONE
        await until(lambda: set(cluster.outbox.boxes) == {"p/chat"})
    assert [(dead.id, dead.why) for dead in cluster.outbox.dead] == [
        ("run-one-succeeded", "the policy has no such channel any more")
    ]


async def test_a_channel_that_is_mended_is_tried_at_once(cluster: Cluster) -> None:
    cluster.trouble["ops"] = DeliveryError("HTTP 503")
    async with leading(cluster, pace=replace(PACE, pauses=(3600.0,))) as process:
        cluster.ends("one", "ops")
        process.look()
        await until(lambda: cluster.tried["ops"] == 1)
        cluster.trouble.clear()
        cluster.policy("chat", "ops")
        cluster.policies["p"]["spec"]["notifications"]["channels"][1]["allowPlainHTTP"] = True
        process.look()
        await until(lambda: cluster.delivered == [("ops", "run-one-succeeded")])


async def test_an_outbox_that_is_full_stops_nobody(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with leading(cluster) as process:
        await until(lambda: cluster.kept is not None)
        monkeypatch.setattr(kept, "MAX_BYTES", 100)
        cluster.ends("one", "ops")
        cluster.ends("two", "ops")
        process.look()
        await until(lambda: len(cluster.delivered) == 2)
        await process.swept()
        monkeypatch.undo()
        cluster.ends("three", "ops")
        process.look()
        await until(lambda: cluster.outbox.boxes["p/ops"].settled.keys() >= {f"run-{each}-succeeded" for each in NAMES})
    assert caplog.text.count("ConfigMap export-operator-notifications holds 100 bytes") == 1


async def test_an_end_that_is_noticed_late_is_told(cluster: Cluster) -> None:
    async with leading(cluster) as process:
        await until(lambda: cluster.kept is not None)
        cluster.ends("one", "ops")
        request = cluster.requests[Key("team-a", "one")]
        cluster.requests[Key("team-a", "one")] = {**request, "status": {"phase": "Running", "run": "run-one"}}
        cluster.jobs.append(
            Job(
                name="job",
                uid="job",
                run="run-one",
                request_uid="uid-one",
                request=Key("team-a", "one"),
                created=NOW,
                suspended=False,
                deleting=False,
                complete=True,
                finished=NOW,
            )
        )
        process.look()
        cluster.now += timedelta(hours=1)
        await process.swept()
        await process.swept()
        cluster.ends("one", "ops", completed=NOW)
        process.look()
        await until(lambda: cluster.delivered == [("ops", "run-one-succeeded")])


async def test_a_document_that_nobody_understands_breaks_nothing(cluster: Cluster) -> None:
    async with leading(cluster) as process:
        cluster.ends("odd", "ops")
        cluster.requests[Key("team-a", "odd")]["status"] |= {
            "quota": [{"scope": "User"}],
            "queuedTime": times.render(NOW),
        }
        cluster.ends("one", "ops")
        process.look()
        await until(lambda: cluster.delivered == [("ops", "run-one-succeeded")])


async def test_what_is_counted_outlives_the_operator_and_a_standby_tells_it_too(cluster: Cluster) -> None:
    cluster.trouble["chat"] = DeliveryError("HTTP 503")
    async with leading(cluster) as process:
        cluster.ends("one", "ops", "chat")
        process.look()
        await until(lambda: len(cluster.delivered) == 1 and cluster.tried["chat"] > 1)
        await until(lambda: cluster.outbox.boxes["p/ops"].counts["delivered"] == 1)
    kept_by_then = cluster.outbox.tallies()
    assert kept_by_then["p/ops"] == Tally({"delivered": 1, "failed": 0, "dead": 0}, 0, None)
    assert (kept_by_then["p/chat"].waiting, kept_by_then["p/chat"].oldest) == (1, NOW)
    standby = Process(cluster)
    task = asyncio.create_task(standby.notifications.follow())
    await until(lambda: standby.shown == kept_by_then)
    task.cancel()
    cluster.trouble.clear()
    async with leading(cluster) as process:
        await until(lambda: process.shown.get("p/chat", kept_by_then["p/chat"]).counts["delivered"] == 1)
        assert process.shown["p/ops"] == kept_by_then["p/ops"]
        assert process.shown["p/chat"].counts["failed"] >= kept_by_then["p/chat"].counts["failed"]


async def test_without_channels_nothing_is_kept(cluster: Cluster) -> None:
    cluster.policies.clear()
    async with leading(cluster) as process:
        cluster.ends("one", "ops")
        process.look()
        await process.swept()
    assert cluster.kept is None


@pytest.mark.parametrize("trouble", ["killed", "refused", "lost"])
@pytest.mark.parametrize("when", range(12))
async def test_whatever_befalls_its_calls_each_end_is_told_under_one_id(
    cluster: Cluster, trouble: Any, when: int
) -> None:
    """`when`: at which call for the object that is kept."""
    names = [f"r{number}" for number in range(4)]
    async with leading(cluster):  # the channels are known
        await until(lambda: cluster.kept is not None)
    hand = Hand(trouble, when)
    async with leading(cluster, hand) as process:
        for name in names:
            cluster.ends(name, "ops", "chat")
            process.look()
            cluster.now += timedelta(seconds=1)
            await process.swept()
        process.dead = trouble == "killed"
    async with leading(cluster) as process:
        await at_rest(process)
        expected = {(channel, f"run-{name}-succeeded") for channel in ("ops", "chat") for name in names}
        await until(lambda: set(cluster.delivered) == expected)
        await at_rest(process)
    settled = len(cluster.delivered)
    async with leading(cluster) as process:
        cluster.ends("last", "ops")
        process.look()
        await until(lambda: len(cluster.delivered) > settled)
    assert cluster.delivered[settled:] == [("ops", "run-last-succeeded")]
    if trouble != "killed":
        assert len(set(cluster.delivered)) == len(cluster.delivered)


class Step(Process):
    """An operator that does one thing after the other, as it is told: every call of it passes `hand`."""

    async def _send(self, channel: Channel, secret: Mapping[str, bytes], found: Notification) -> None:
        assert secret == {"url": b"x"}
        async with self.hand.call(lambda: DeliveryError("no answer")):
            self.cluster.delivered.append((channel.name, found.id))

    async def secret_object(self, name: str) -> Document | None:
        async with self.hand.call(unreachable):
            return await super().secret_object(name)

    def round(self) -> None:
        """Look, keep, deliver what waits, keep. What fails is for the next round."""
        told = self.notifications
        self.look()
        with suppress(ApiError):
            if told._outbox is None:
                kept = finish(told._place.load())
                told._version, told._outbox = kept.version, kept.value or Outbox()
                told._lanes.begin(told._outbox)
            finish(told._sweep())
            finish(told._save())
        if told._outbox is None:
            return
        for key, box in told._outbox.boxes.items():
            for waiting in list(box.waiting.values()):
                with suppress(DeliveryError):
                    finish(told._lanes._deliver(key, waiting.notification))
                    told._lanes._settle(key, waiting.notification)
        with suppress(ApiError):
            finish(told._save())


def played(hand: Hand) -> Cluster:
    """Two runs end, one after the other, and two rounds follow on each, by whoever lives."""
    cluster = Cluster()
    cluster.policy("ops", "chat")
    process = Step(cluster, hand)
    for name in ("", "one", "two"):
        if name:
            cluster.ends(name, "ops", "chat")
        for _ in range(3):
            cluster.now += timedelta(seconds=1)
            try:
                process.round()
            except Killed:
                process = Step(cluster, hand)
    return cluster


@pytest.mark.parametrize("trouble", ["killed", "refused", "lost", "late"])
def test_each_end_is_told_under_one_id_whatever_befalls_any_one_call_and_what_is_kept_is_not_repeated(
    trouble: Trouble,
) -> None:
    quiet = Hand()
    expected = Counter(played(quiet).delivered)
    assert expected == Counter((channel, f"run-{name}-succeeded") for channel in ("ops", "chat") for name in NAMES[:2])
    for when in range(quiet.calls):
        hand = Hand(trouble, when)
        cluster = played(hand)
        told = Counter(cluster.delivered)
        assert (set(told), max(told.values()) <= 2) == (set(expected), True), when
        assert trouble != "refused" or told == expected, when
        kept = cluster.outbox
        hand.land()
        Step(cluster).round()
        late = len(cluster.delivered) - told.total()
        assert (cluster.outbox, late <= (trouble == "late")) == (kept, True), when


class Histories(RuleBasedStateMachine):
    """Requests that end, operators that look, deliver, keep and die, in any order; a clock that jumps. What is deleted
    had been kept or delivered, for that much is promised."""

    def __init__(self) -> None:
        super().__init__()
        self.cluster = Cluster()
        self.cluster.policy("ops", "chat")
        self.number = 0
        self.unkept: set[tuple[str, str]] = set()
        """Delivered since what is kept was written."""
        self.repeatable: Counter[tuple[str, str]] = Counter()
        self.begin()
        self.keep()

    def begin(self) -> None:
        self.process = Process(self.cluster)
        self.process.look()
        finish(self.process.notifications._load())
        finish(self.process.notifications._sweep())

    @rule()
    def keep(self) -> None:
        self.process.notifications._dirty = True
        finish(self.process.notifications._save())
        self.unkept.clear()

    @rule(seen=st.booleans(), late=st.sampled_from(JUMPS))
    def end(self, seen: bool, late: int) -> None:
        """A run ends; who ends late was known to have a Job that had ended."""
        name, key = f"r{self.number}", Key("team-a", f"r{self.number}")
        self.number += 1
        self.cluster.ends(name, "ops", "chat")
        ended = self.cluster.requests[key]
        self.cluster.requests[key] = {**ended, "status": {"phase": "Running", "run": f"run-{name}"}}
        self.process.look()
        job = Job(
            name=name,
            uid=name,
            run=f"run-{name}",
            request_uid=f"uid-{name}",
            request=key,
            created=NOW,
            suspended=False,
            deleting=False,
            complete=True,
            finished=self.cluster.now,
        )
        self.cluster.jobs = [job]
        finish(self.process.notifications._sweep())
        self.cluster.now += timedelta(seconds=late)
        finish(self.process.notifications._sweep())
        version = {"resourceVersion": self.cluster.next()}
        self.cluster.requests[key] = {**ended, "metadata": ended["metadata"] | version}
        self.cluster.jobs = []
        if seen:
            self.process.look()
        else:
            self.die()

    @rule(seconds=st.sampled_from(JUMPS))
    def wait(self, seconds: int) -> None:
        self.cluster.now += timedelta(seconds=seconds)
        finish(self.process.notifications._sweep())

    @rule(most=st.integers(1, 5))
    def deliver(self, most: int) -> None:
        outbox = self.process.notifications._outbox
        assert outbox is not None
        for key, box in outbox.boxes.items():
            for waiting in list(box.waiting.values())[:most]:
                told = (key.removeprefix("p/"), waiting.notification.id)
                self.cluster.delivered.append(told)
                self.unkept.add(told)
                self.process.notifications._lanes._settle(key, waiting.notification)

    @rule()
    def die(self) -> None:
        self.repeatable.update(self.unkept)
        self.unkept.clear()
        self.begin()

    @rule()
    def hand_over(self) -> None:
        self.keep()
        self.begin()

    @rule(number=st.integers(0, 20))
    def delete(self, number: int) -> None:
        if number < self.number:
            self.keep()
            self.cluster.requests.pop(Key("team-a", f"r{number}"), None)
            self.process.look()

    @invariant()
    def nothing_that_is_known_to_be_delivered_is_repeated(self) -> None:
        for told, times_told in Counter(self.cluster.delivered).items():
            assert times_told <= 1 + self.repeatable[told]

    def teardown(self) -> None:
        """In the end everything has been told."""
        self.die()
        self.deliver(10**6)
        expected = {(channel, f"run-r{each}-succeeded") for channel in ("ops", "chat") for each in range(self.number)}
        assert set(self.cluster.delivered) == expected


Histories.TestCase.settings = hypothesis_settings(max_examples=150, stateful_step_count=30, deadline=None)
TestHistories = Histories.TestCase
