"""Schedules across crashes, failovers and caches that lag: each time is made once or counted as missed, never both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import takewhile
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from export_operator.adapters.kube import ApiError
from export_operator.adapters.metrics import Metrics
from export_operator.domain import identity, times
from export_operator.domain.actions import Emit
from export_operator.domain.cron import read_schedule
from export_operator.domain.identity import Enforcement, Finding, Subject
from export_operator.domain.model import Key, Request, parse_request
from export_operator.domain.schedule import LABEL_SCHEDULE
from export_operator.history import NoHistory, Recorder
from export_operator.schedules import KIND, Schedules
from export_operator.store import Store

from .builders import ENFORCED
from .hand import Call, Hand, Killed, Trouble, finish, unreachable
from .recording import Notebook

pytestmark = pytest.mark.unit

KEY = Key("team-a", "often")
BEGIN = datetime(2026, 3, 28, 23, 58, 30, tzinfo=UTC)  # the night in which clocks go forward in Berlin
ATTESTED = replace(ENFORCED, good=BEGIN + timedelta(seconds=10))
SPEC: Mapping[str, Any] = {
    "schedule": "*/10 * * * *",
    "timeZone": "Europe/Berlin",
    "template": {"spec": {"source": {"name": "app-db", "dataset": "users"}}},
    "requester": {"username": "alice"},
    "submittedBy": {"username": "alice", "groups": ["analysts"]},
}


@dataclass
class World:
    """What an API server keeps of one schedule and its requests, and what ran."""

    now: datetime = BEGIN
    schedule: dict[str, Any] = field(default_factory=dict)
    requests: dict[Key, dict[str, Any]] = field(default_factory=dict)
    births: Counter[str] = field(default_factory=Counter)
    runs: Counter[str] = field(default_factory=Counter)
    allowed: set[str] = field(default_factory=lambda: {"create"})
    reviews: list[dict[str, Any]] = field(default_factory=list)
    refusal: ApiError | None = None
    events: list[str] = field(default_factory=list)
    identity: Enforcement = ATTESTED
    version: int = 100

    def next(self) -> str:
        self.version += 1
        return str(self.version)

    def apply(self, **changes: Any) -> None:
        """Create the schedule, or change its spec."""
        known = self.schedule
        metadata = {
            "namespace": KEY.namespace,
            "name": KEY.name,
            "uid": known["metadata"]["uid"] if known else f"uid-{self.next()}",
            "generation": known["metadata"]["generation"] + 1 if known else 1,
            "resourceVersion": self.next(),
            "creationTimestamp": known["metadata"]["creationTimestamp"] if known else times.render(self.now),
            "managedFields": [{"manager": "kubectl", "time": times.render(self.now)}],
        }
        spec = {**(known["spec"] if known else SPEC), **changes}
        self.schedule = {
            "kind": "ScheduledExport",
            "metadata": metadata,
            "spec": spec,
            "status": known.get("status") or {},
        }

    def run(self, name: str) -> None:
        """The request is admitted, runs and ends."""
        key = Key(KEY.namespace, name)
        document = self.requests[key]
        self.runs[name] += 1
        status = {
            "phase": "Succeeded",
            "runID": "",
            "completionTime": times.render(self.now),
            "conditions": [{"type": "Complete", "status": "True"}],
        }
        metadata = document["metadata"] | {"resourceVersion": self.next()}
        self.requests[key] = {**document, "metadata": metadata, "status": status}

    @property
    def status(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.schedule["status"]
        return found


class Process:
    """An operator with caches of its own, which `look` brings up to date."""

    def __init__(self, world: World, hand: Hand | None = None, history: Recorder | None = None) -> None:
        self._world = world
        self._hand = hand or Hand()
        self._store = Store(lambda _: None)
        self._schedules = Schedules(
            store=self._store,
            cluster=cast("Any", self),
            ledger=cast("Any", self),
            history=history or NoHistory(),
            identity=lambda: world.identity,
            clock=lambda: world.now,
            metrics=Metrics(),
        )
        self.look()
        self._schedules.look_again()

    def look(self) -> None:
        """All watches have delivered everything."""
        if self._world.schedule:
            self._store.put_beside(KIND, self._world.schedule)
        for key in set(self._store.requests) - set(self._world.requests):
            self._store.drop_request(key)
        for document in self._world.requests.values():
            self._store.put_request(document)

    def turn(self) -> float | None:
        """One look at the schedule, with the caches as they are."""
        return finish(self._schedules.reconcile(KEY))

    def settle(self) -> None:
        """Look until it sleeps, as the work queue would."""
        for _ in range(50):
            self.look()
            pause: float | None = 1.0
            with suppress(ApiError):
                pause = self.turn()
                if pause is None or pause > 0:
                    return
        raise AssertionError("it does not come to rest")

    # The cluster that it acts on.

    async def find(self, path: str) -> dict[str, Any] | None:
        async with self._hand.call(unreachable):
            assert path.endswith(f"/namespaces/{KEY.namespace}/scheduledexports/{KEY.name}")
            return self._world.schedule or None

    async def request(self, key: Key) -> dict[str, Any] | None:
        async with self._hand.call(unreachable):
            return self._world.requests.get(key)

    async def make_request(self, manifest: Mapping[str, Any], *, trial: bool) -> dict[str, Any]:
        async with self._hand.call(unreachable):
            name = manifest["metadata"]["name"]
            key = Key(KEY.namespace, name)
            if self._world.refusal is not None:
                raise self._world.refusal
            if key in self._world.requests or trial:
                return self._world.requests.get(key) or dict(manifest)
            metadata = {
                **manifest["metadata"],
                "uid": f"uid-{self._world.next()}",
                "resourceVersion": self._world.next(),
                "generation": 1,
                "creationTimestamp": times.render(self._world.now),
            }
            self._world.births[name] += 1
            self._world.requests[key] = {**manifest, "metadata": metadata, "status": {"observedGeneration": -1}}
            return self._world.requests[key]

    async def cancel_request(self, request: Request) -> None:
        async with self._hand.call(unreachable):
            document = self._world.requests[request.key]
            metadata = document["metadata"] | {"resourceVersion": self._world.next()}
            self._world.requests[request.key] = {
                **document,
                "metadata": metadata,
                "spec": document["spec"] | {"cancel": True},
            }

    async def delete_request(self, request: Request) -> None:
        async with self._hand.call(unreachable):
            found = self._world.requests.get(request.key)
            if found is not None and found["metadata"]["resourceVersion"] == request.resource_version:
                del self._world.requests[request.key]

    async def write_status(self, path: str, document: Mapping[str, Any], status: Mapping[str, Any]) -> dict[str, Any]:
        async with self._hand.call(unreachable):
            assert path.endswith(f"/scheduledexports/{KEY.name}")
            present = self._world.schedule
            if present["metadata"]["resourceVersion"] != document["metadata"]["resourceVersion"]:
                raise ApiError(409, "Conflict", path)
            handled = [times.parse(each.get("lastHandledTime")) or BEGIN for each in (present["status"], status)]
            assert handled[0] <= handled[1], "what was handled is handled"
            metadata = present["metadata"] | {"resourceVersion": self._world.next()}
            self._world.schedule = {**present, "metadata": metadata, "status": dict(status)}
            return self._world.schedule

    async def tell(self, document: Mapping[str, Any], event: Emit, now: datetime) -> None:
        """Events inform: an error while one is written is logged by the adapter and goes no further."""
        async with self._hand.call(unreachable, quiet=True):
            assert (document["kind"], now) == ("ScheduledExport", self._world.now)
            self._world.events.append(event.reason)

    async def allows(self, review: Mapping[str, Any]) -> bool:
        async with self._hand.call(unreachable):
            self._world.reviews.append(dict(review))
            return review["spec"]["resourceAttributes"]["verb"] in self._world.allowed

    async def granted(self, username: str, groups: set[str], requester: str, namespace: str) -> set[str]:
        verbs = (identity.ACT_AS, identity.BY_WILDCARD)
        reviews = {verb: identity.review(verb, username, groups, requester, namespace) for verb in verbs}
        return {verb for verb, review in reviews.items() if await self.allows(review)}

    def has_run(self, subject: Subject, request: Key) -> bool:
        assert subject == Subject("User", "alice")
        return self._world.runs[request.name] > 0


def applied(**changes: Any) -> World:
    world = World()
    world.apply(**changes)
    return world


def past(world: World) -> list[datetime]:
    """The times of the schedule that have been, late or not."""
    cron = read_schedule(world.schedule["spec"]["schedule"], world.schedule["spec"]["timeZone"])
    return list(takewhile(lambda time: time <= world.now, cron.after(BEGIN)))


def name(time: datetime) -> str:
    return f"often-{time:%y%m%d%H%M}"


def wait(world: World, minutes: float) -> None:
    world.now += timedelta(minutes=minutes)


# Making requests.


def test_each_time_makes_one_request() -> None:
    world = applied(concurrencyPolicy="Allow")
    operator = Process(world)
    for _ in range(60):
        operator.settle()
        wait(world, 3)
    operator.settle()
    assert world.births == Counter(map(name, past(world)))
    assert len(past(world)) == 18
    assert "missedSchedules" not in world.status


def test_a_request_costs_its_schedule_six_calls_and_a_look_none() -> None:
    """The schedule is read, its maker asked for, the request made, told and written down; then its end is."""
    world, hand = applied(), Hand()
    operator = Process(world, hand)
    operator.settle()
    wait(world, 5)
    before = hand.calls
    operator.settle()
    assert hand.calls - before == 5
    world.run(max(world.requests).name)
    for _ in range(3):
        operator.settle()
    assert hand.calls - before == 6


def test_its_requests_are_found_by_label() -> None:
    world = applied()
    operator = Process(world)
    wait(world, 5)
    operator.settle()
    (document,) = world.requests.values()
    assert document["metadata"]["labels"] == {LABEL_SCHEDULE: "often"}


def test_what_its_requests_do_stands_in_its_status() -> None:
    world = applied()
    operator = Process(world)
    wait(world, 5)
    operator.settle()
    (first,) = [each.name for each in world.requests]
    assert [each["name"] for each in world.status["active"]] == [first]
    wait(world, 1)
    world.run(first)
    operator.settle()
    assert (world.status["active"], world.status["lastSuccessfulTime"]) == ([], times.render(world.now))


def test_a_schedule_that_is_gone_is_forgotten() -> None:
    world = applied()
    operator = Process(world)
    operator.settle()
    operator._store.drop_beside(KIND, KEY)
    assert operator.turn() is None


def test_a_name_that_somebody_else_has_taken_is_told_and_not_touched() -> None:
    world = applied()
    operator = Process(world)
    wait(world, 5)
    (time,) = past(world)
    taken = {
        "metadata": {"namespace": KEY.namespace, "name": name(time), "uid": "u", "resourceVersion": "1"},
        "spec": {},
    }
    world.requests[Key(KEY.namespace, name(time))] = taken
    operator.settle()
    assert world.status["reason"] == "NameTaken"
    assert world.requests == {Key(KEY.namespace, name(time)): taken}


@pytest.mark.parametrize("status", [400, 403, 404, 422])
def test_what_the_api_server_refuses_is_told_in_its_words(status: int) -> None:
    world = applied()
    world.refusal = ApiError(status, "Forbidden", "exceeded quota: requests")
    Process(world).settle()
    assert world.status["reason"] == "RequestRefused"
    assert world.status["message"].endswith(": exceeded quota: requests")
    world.refusal = None
    Process(world).settle()
    assert world.status["reason"] == "Waiting"


def test_an_api_server_in_trouble_is_nobodys_fault_and_is_asked_again() -> None:
    world = applied()
    world.refusal = ApiError(503, "ServiceUnavailable", "etcd")
    with pytest.raises(ApiError):
        Process(world).turn()
    assert world.status == {}


def test_a_schedule_that_somebody_has_deleted_makes_nothing_more_whatever_keeps_it() -> None:
    world = applied()
    operator, lagging = Process(world), Process(world)
    operator.settle()
    lagging.look()
    marks = {"deletionTimestamp": times.render(world.now), "resourceVersion": world.next()}
    world.schedule = {**world.schedule, "metadata": world.schedule["metadata"] | marks}
    wait(world, 5)
    operator.settle()
    assert (lagging.turn(), lagging.turn(), world.births) == (0.0, None, Counter())


EDITS: Mapping[str, tuple[Mapping[str, Any], int]] = {
    "schedule": ({"schedule": "5-59/10 * * * *"}, 5),
    "time zone": ({"timeZone": "Asia/Kathmandu"}, 5),
    "both": ({"schedule": "3-59/10 * * * *", "timeZone": "UTC"}, 3),
}
"""What somebody writes, and at which minute it is time next."""


@dataclass
class Meddling(Hand):
    """Somebody edits the schedule just before a call of the operator's."""

    edit: Callable[[], None] = lambda: None
    before: int | None = None

    def call(self, failure: Callable[[], Exception], *, quiet: bool = False) -> Call:
        if self.calls == self.before:
            self.before = None
            self.edit()
        return super().call(failure, quiet=quiet)


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_while_a_request_is_due_makes_nothing_twice_and_misses_nothing_that_it_asks_for(edit: str) -> None:
    changes, minute = EDITS[edit]
    found = []
    for call in range(6):
        world = applied(concurrencyPolicy="Allow")
        hand = Meddling(edit=partial(world.apply, **changes))
        operator = Process(world, hand)
        operator.settle()
        wait(world, 2)  # one is due
        hand.before = hand.calls + call
        operator.settle()
        if hand.before is not None:
            world.apply(**changes)
        for _ in range(3):
            operator.settle()
            wait(world, 3)
        operator.settle()
        found.append((world.births, "missedSchedules" in world.status, world.status["effective"]))
    due, following = "often-2603290000", f"often-26032900{minute:02}"
    effective = {name: {**SPEC, **changes}[name] for name in ("schedule", "timeZone")}
    # Read anew just before it is made: an edit that comes later comes after it.
    assert found == [(Counter({due: int(call > 0), following: 1}) + Counter(), False, effective) for call in range(6)]


# Who asks.


def test_who_made_it_is_asked_for_at_each_request_with_the_groups_that_were_attested() -> None:
    world = applied(concurrencyPolicy="Allow")
    operator = Process(world)
    operator.settle()
    world.reviews.clear()
    wait(world, 5)
    operator.settle()
    assert world.reviews == [identity.review_asking("alice", ["analysts"], "team-a")]
    world.allowed.clear()
    wait(world, 10)
    operator.settle()
    assert (world.status["reason"], len(world.requests)) == ("RequesterNotAllowed", 1)
    world.allowed.add("create")
    wait(world, 1)
    operator.settle()
    assert (world.status["reason"], len(world.requests)) == ("Waiting", 2)


@pytest.mark.parametrize(
    ("allowed", "reason"),
    [
        ({"create", "act-as"}, "Waiting"),
        ({"create"}, "RequesterNotAllowed"),
        ({"create", "act-as", "by-wildcard"}, "RequesterNotAllowed"),
        ({"act-as"}, "RequesterNotAllowed"),
    ],
)
def test_who_made_it_for_another_must_still_be_allowed_to_speak_for_that_one(allowed: set[str], reason: str) -> None:
    world = applied(submittedBy={"username": "bob", "groups": []})
    world.allowed = allowed
    operator = Process(world)
    wait(world, 5)
    operator.settle()
    assert (world.status["reason"], len(world.requests)) == (reason, int(reason == "Waiting"))


def test_where_clients_declare_who_asks_admission_alone_has_checked_it() -> None:
    world = applied(submittedBy={})
    world.identity = replace(ENFORCED, mode="Declared")
    operator = Process(world)
    wait(world, 5)
    operator.settle()
    assert (len(world.requests), world.reviews) == (1, [])


def test_a_schedule_that_was_changed_while_nobody_looked_makes_nothing_more() -> None:
    world = applied()
    operator = Process(world)
    operator.settle()
    wait(world, 0.5)
    world.identity = world.identity.after(Finding(world.now, False, "missing"))
    world.apply(template={"spec": {"source": {"name": "salaries"}}})
    operator.settle()
    assert world.status["reason"] == "IdentityNotEnforced"
    world.identity = world.identity.after(Finding(world.now, True))
    for _ in range(2):
        wait(world, 30)
        operator.settle()
        assert (world.status["reason"], world.requests) == ("IdentityNotAttested", {})
        operator = Process(world)


def test_a_schedule_that_nobody_touched_goes_on_after_a_gap() -> None:
    world = applied()
    operator = Process(world)
    operator.settle()
    wait(world, 0.5)
    world.identity = world.identity.after(Finding(world.now, False, "missing"))
    operator.settle()
    wait(world, 5)
    world.identity = world.identity.after(Finding(world.now, True))
    operator.settle()
    assert (world.status["reason"], len(world.requests)) == ("Waiting", 1)


# Crashes.


def story(world: World, hand: Hand) -> World:
    """Two requests, one replaced, one run, one pruned; whoever is killed is followed by another."""

    def settle(operator: Process) -> Process:
        for _ in range(5):
            try:
                operator.settle()
            except Killed:
                operator = Process(world, hand)
            else:
                return operator
        raise AssertionError("killed more than once")

    operator = settle(Process(world, hand))
    for _ in range(3):
        wait(world, 8.5)
        operator = settle(operator)
        wait(world, 1.5)  # after a crash what is late waits for its moment
        operator = settle(operator)
        for key, document in list(world.requests.items()):
            if document["spec"].get("cancel") and not document["status"].get("phase"):
                world.run(key.name)
        operator = settle(operator)
    return world


def ended(world: World) -> tuple[Any, ...]:
    """What a person sees at the end, without UIDs and versions."""
    status = {key: value for key, value in world.status.items() if key not in {"active", "conditions"}}
    specs = {key.name: document["spec"] for key, document in world.requests.items()}
    return status, specs, world.births, world.runs


REPLACING: Mapping[str, Any] = {"concurrencyPolicy": "Replace", "successfulHistoryLimit": 1}


def calls() -> int:
    hand = Hand()
    story(applied(**REPLACING), hand)
    return hand.calls


@pytest.mark.parametrize("delay", [0, 2, 5])
def test_the_last_call_of_a_dead_operator_arrives_late_and_changes_nothing(delay: int) -> None:
    """Another has taken over meanwhile, and makes the same requests."""
    undisturbed = ended(story(applied(**REPLACING), Hand()))
    for when in range(calls()):
        assert ended(story(applied(**REPLACING), Hand("late", when, delay=delay))) == undisturbed, f"call {when}"


@pytest.mark.parametrize("trouble", ["killed", "refused", "lost"])
def test_whatever_call_is_cut_off_the_end_is_the_undisturbed_one(trouble: Trouble) -> None:
    undisturbed = ended(story(applied(**REPLACING), Hand()))
    assert undisturbed[2] == Counter(f"often-2603290{minute:03}" for minute in (0, 10, 20))
    total = calls()
    assert total > 20
    for when in range(total):
        assert ended(story(applied(**REPLACING), Hand(trouble, when))) == undisturbed, f"{trouble} at call {when}"


def test_a_request_that_ran_and_was_deleted_before_anybody_wrote_it_down_is_not_made_again() -> None:
    world = applied()
    hand = Hand()
    operator = Process(world, hand)
    operator.settle()
    wait(world, 5)
    (time,) = past(world)
    hand.when = hand.calls + 3  # the schedule is read, its maker asked for, the request made
    with pytest.raises(Killed):
        operator.settle()
    assert (world.births, world.status.get("lastScheduleTime")) == ({name(time): 1}, None)
    world.run(name(time))
    world.requests.clear()
    operator = Process(world)
    wait(world, 1)
    operator.settle()
    assert (world.births, world.status["lastScheduleTime"]) == ({name(time): 1}, times.render(time))


def test_a_request_that_is_kept_no_longer_goes_when_the_history_has_its_run_or_a_note_of_it() -> None:
    world = applied(concurrencyPolicy="Allow", successfulHistoryLimit=0)
    notebook = Notebook(refuses="secure")
    operator = Process(world, history=notebook)
    wait(world, 5)
    operator.settle()
    (time,) = past(world)
    run = parse_request(world.requests[Key(KEY.namespace, name(time))]).run
    world.run(name(time))
    operator.look()
    for _ in range(2):
        with pytest.raises(ApiError):
            operator.turn()
    assert Key(KEY.namespace, name(time)) in world.requests
    assert {*notebook.asked} == {("secure", run)}
    notebook.refuses = ""
    operator.settle()
    assert Key(KEY.namespace, name(time)) not in world.requests


def test_an_operator_whose_caches_lag_makes_nothing_that_another_has_made() -> None:
    world = applied(concurrencyPolicy="Allow", successfulHistoryLimit=0)
    lagging, other = Process(world), Process(world)
    other.settle()
    lagging.look()
    wait(world, 5)
    other.settle()
    (time,) = past(world)
    world.run(name(time))
    other.settle()
    assert world.requests == {}
    world.runs.clear()  # not even the ledger knows
    assert lagging.turn() == 0.0
    assert lagging.turn() != 0.0
    assert world.births == {name(time): 1}


def test_forbid_sees_a_request_that_its_cache_has_not_seen() -> None:
    world = applied()
    operator = Process(world)
    wait(world, 5)
    operator.settle()
    blind = Process(world)
    (made,) = world.requests
    blind._store.drop_request(made)
    blind._store._gone.clear()
    wait(world, 10)
    blind.turn()
    assert (world.status["reason"], world.births.total()) == ("EarlierNotEnded", 1)


STEP = st.one_of(
    st.tuples(st.just("wait"), st.floats(0.1, 45)),
    st.tuples(st.just("takeover"), st.just(0.0)),
    st.tuples(st.just("kill"), st.integers(0, 8).map(float)),
    st.tuples(st.just("refuse"), st.integers(0, 8).map(float)),
    st.tuples(st.just("lose"), st.integers(0, 8).map(float)),
    st.tuples(st.just("run"), st.just(0.0)),
    st.tuples(st.just("delete"), st.just(0.0)),
    st.tuples(st.just("lag"), st.floats(0.1, 45)),
)


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(
    policy=st.sampled_from(["Allow", "Forbid", "Replace"]),
    deadline=st.none() | st.integers(10, 1200),
    jitter=st.integers(0, 600),
    schedule=st.sampled_from(["*/10 * * * *", "7,31 * * * *", "*/20 2,3 * * *", "30 2 * * *"]),
    steps=st.lists(STEP, max_size=25),
)
def test_no_time_is_made_twice_and_none_is_lost(
    policy: str, deadline: int | None, jitter: int, schedule: str, steps: list[tuple[str, float]]
) -> None:
    spec = {"concurrencyPolicy": policy, "jitterSeconds": jitter, "schedule": schedule}
    world = applied(**spec, **({} if deadline is None else {"startingDeadlineSeconds": deadline}))
    hand = Hand()
    operator = Process(world, hand)
    for step, amount in steps:
        hand.when = None
        match step:
            case "wait":
                wait(world, amount)
            case "takeover":
                operator = Process(world, hand)
            case "kill" | "refuse" | "lose":
                hand.trouble = cast("Trouble", {"kill": "killed", "refuse": "refused", "lose": "lost"}[step])
                hand.when = hand.calls + int(amount)
            case "run" if world.requests:
                world.run(max(world.requests).name)
            case "delete" if world.requests:
                # A request that has run; one that has not may be made again, and then runs once.
                key = max(world.requests)
                if world.runs[key.name]:
                    del world.requests[key]
            case "lag":
                wait(world, amount)
                with suppress(ApiError, Killed):
                    operator.turn()  # with the caches of before
                continue
        try:
            operator.settle()
        except Killed:
            operator = Process(world, hand)
            operator.settle()
    hand.when = None
    for _ in range(3):
        operator.settle()
        wait(world, 2)
    for key in list(world.requests):
        world.run(key.name)
    operator.settle()
    assert set(world.births.values()) <= {1}
    status = world.status
    handled = times.parse(status["lastHandledTime"])
    assert handled is not None
    considered = [time for time in past(world) if time <= handled]
    assert len(world.births) + int(status.get("missedSchedules") or 0) == len(considered)
    assert set(world.births) <= set(map(name, considered))
