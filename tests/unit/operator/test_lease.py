"""Who may take the Lease, and when: whatever is lost, late or frozen, nobody believes to lead while another does."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from export_operator.domain import lease
from export_operator.domain.lease import DURATION_SECONDS, Lease, Sight

from .builders import NOW

pytestmark = pytest.mark.unit

ME, OTHER = lease.holder_name("pod-a", "uid-a", "1"), lease.holder_name("pod-b", "uid-b", "1")
SINCE = 100.0


def sight(holder: str, seconds: float = 15.0) -> Sight:
    return Sight(Lease("7", holder, seconds, 3), SINCE)


@pytest.mark.parametrize(
    ("seen", "seconds"),
    [
        (Sight(None, SINCE), 0.0),
        (sight(""), 0.0),
        (sight(ME), 0.0),
        (sight(OTHER), 12.0),
        (sight(OTHER, 60.0), 57.0),
        (sight(lease.holder_name("pod-a", "uid-a", "0")), 0.0),
        (sight(lease.holder_name("pod-a", "uid-z", "0")), 12.0),
        (sight("pod-a"), 12.0),
        (sight("somebody_else"), 12.0),
    ],
    ids=[
        "there is none",
        "it was given back",
        "it is ours, and the answer was lost",
        "another holds it",
        "for as long as its holder said",
        "an earlier process of this pod",
        "a pod of the same name that is another",
        "a holder of no form that we know",
        "another of no form that we know",
    ],
)
def test_the_lease_is_free_when_its_holder_has_given_it_back_or_has_not_renewed_it_before_our_eyes(
    seen: Sight, seconds: float
) -> None:
    assert lease.free_in(seen, ME, SINCE + 3.0) == seconds


def test_outside_of_a_pod_nobody_is_taken_for_an_earlier_process_of_ours() -> None:
    first, second = (lease.holder_name("laptop", "", process) for process in ("1", "2"))
    assert lease.free_in(sight(first), second, SINCE) == DURATION_SECONDS


def test_a_claim_names_the_lease_as_it_was_seen_and_counts_the_change_of_hands() -> None:
    spec = {
        "holderIdentity": ME,
        "leaseDurationSeconds": 15,
        "acquireTime": "2026-11-24T12:00:00.000000Z",
        "renewTime": "2026-11-24T12:00:00.000000Z",
    }
    assert lease.claim(None, ME, NOW) == {
        "metadata": {"name": "export-operator"},
        "spec": {**spec, "leaseTransitions": 0},
    }
    assert lease.claim(Lease("7", OTHER, 15.0, 3), ME, NOW) == {
        "metadata": {"name": "export-operator", "resourceVersion": "7"},
        "spec": {**spec, "leaseTransitions": 4},
    }


def test_a_lease_of_another_program_is_read_as_far_as_it_says_something() -> None:
    assert lease.parse_lease({"metadata": {"resourceVersion": "9"}}) == Lease("9", "", DURATION_SECONDS, 0)


@dataclass
class Server:
    """One Lease, as the API server keeps it."""

    document: dict[str, Any] | None = None
    version: int = 0

    def create(self, body: Mapping[str, Any]) -> bool:
        return self.document is None and self._keep(body)

    def merge(self, body: Mapping[str, Any]) -> bool:
        known = self.document
        return (
            known is not None
            and known["metadata"]["resourceVersion"] == body["metadata"]["resourceVersion"]
            and self._keep({**known, "spec": known["spec"] | body["spec"]})
        )

    def amend(self, operations: list[dict[str, Any]]) -> bool:
        if self.document is None:
            return False
        changed = copy.deepcopy(self.document)
        for each in operations:
            name = each["path"].removeprefix("/spec/")
            if each["op"] == "test" and changed["spec"].get(name) != each["value"]:
                return False
            if each["op"] == "add":
                changed["spec"][name] = each["value"]
        return self._keep(changed)

    def _keep(self, body: Mapping[str, Any]) -> bool:
        self.version += 1
        self.document = {**body, "metadata": {**body["metadata"], "resourceVersion": str(self.version)}}
        return True


@dataclass
class Candidate:
    """What a process knows. Its clock began whenever it began."""

    holder: str
    clock: float
    seen: Sight | None = None
    until: float = -1.0


@dataclass
class Message:
    """A call on its way. `sent` is by the sender's clock."""

    sender: Candidate
    sent: float
    perform: Callable[[], bool]
    holds: bool = True
    done: bool | None = field(default=None)


class Election(RuleBasedStateMachine):
    """Four processes, two of them of one pod, one after the other. Calls arrive whenever they like, or never; so do
    answers. A process that no rule chooses is one that stands still."""

    server: Server
    candidates: list[Candidate]

    @initialize(clocks=st.lists(st.floats(0, 1e6), min_size=3, max_size=3))
    def begin(self, clocks: list[float]) -> None:
        self.server, self.now, self.messages = Server(), 0.0, list[Message]()
        names = [("pod-a", "uid-a"), ("pod-b", "uid-b"), ("laptop", "")]
        self.candidates = [
            Candidate(lease.holder_name(pod, uid, "1"), clock) for (pod, uid), clock in zip(names, clocks, strict=True)
        ]
        self.restarts = 1

    def moment(self, candidate: Candidate) -> float:
        return candidate.clock + self.now

    @rule(seconds=st.sampled_from([0.5, 2.0, 5.0, 14.0, 15.0, 16.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(number=st.integers(0, 2))
    def look(self, number: int) -> None:
        who, document = self.candidates[number], self.server.document
        found = None if document is None else lease.parse_lease(document)
        if who.seen is None or who.seen.lease != found:
            who.seen = Sight(found, self.moment(who))

    @rule(number=st.integers(0, 2))
    def claim(self, number: int) -> None:
        who = self.candidates[number]
        now = self.moment(who)
        if who.seen is None or lease.free_in(who.seen, who.holder, now) > 0 or now < who.until:
            return
        body = lease.claim(who.seen.lease, who.holder, NOW + timedelta(seconds=self.now))
        call = self.server.create if who.seen.lease is None else self.server.merge
        self.messages.append(Message(who, now, lambda: call(body)))

    @rule(number=st.integers(0, 2))
    def renew(self, number: int) -> None:
        who = self.candidates[number]
        if self.moment(who) < who.until:
            change = lease.renewal(who.holder, NOW + timedelta(seconds=self.now))
            self.messages.append(Message(who, self.moment(who), lambda: self.server.amend(change)))

    @rule(number=st.integers(0, 2))
    def give_back(self, number: int) -> None:
        """It ends with that."""
        who = self.candidates[number]
        if self.moment(who) < who.until:
            who.until = -1.0
            change = lease.return_(who.holder, NOW + timedelta(seconds=self.now))
            self.messages.append(Message(who, self.moment(who), lambda: self.server.amend(change), holds=False))
            self.candidates[number] = self.successor(who)

    @rule(number=st.integers(0, 2))
    def die(self, number: int) -> None:
        """And come again, in the same pod."""
        self.candidates[number] = self.successor(self.candidates[number])

    def successor(self, who: Candidate) -> Candidate:
        self.restarts += 1
        pod, uid, _ = who.holder.split("_")
        return Candidate(lease.holder_name(pod, uid, str(self.restarts)), who.clock)

    @rule(data=st.data())
    def arrive(self, data: st.DataObject) -> None:
        waiting = [message for message in self.messages if message.done is None]
        if waiting:
            message = data.draw(st.sampled_from(waiting))
            message.done = message.perform()

    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        """In time or not: a process that has given up does not believe it any more, which can only make it careful."""
        answered = [message for message in self.messages if message.done is not None]
        if answered:
            message = data.draw(st.sampled_from(answered))
            self.messages.remove(message)
            if message.done and message.holds:
                message.sender.until = max(message.sender.until, message.sent + DURATION_SECONDS)

    @invariant()
    def one_leads_at_most(self) -> None:
        leading = [who.holder for who in self.candidates if self.moment(who) < who.until]
        assert len(leading) <= 1, leading


TestElection = pytest.mark.unit(Election.TestCase)
TestElection.settings = settings(max_examples=200, stateful_step_count=60)
