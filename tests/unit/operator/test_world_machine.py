"""Anything in any order: people, pods, time, deaths, stale caches and a second operator that was never told to stop."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from export_operator.domain.breaker import DESTINATION, SOURCE
from export_operator.domain.model import TERMINAL_PHASES, Key, Named, going
from export_operator.domain.pages import State
from export_operator.domain.policy import Defaults
from export_operator.domain.quota import LAUNCHES, used
from export_operator.domain.status import ended_as

from .builders import SETTINGS
from .hand import Hand, Killed, Trouble
from .test_crash_safety import TRACKED
from .world import MAX_STATUS, Operator, World, settle

pytestmark = pytest.mark.unit

LIMITS = {
    "User": {"requests": 3, "rows": 250},
    "Namespace": {"requests": 5, "rows": 400},
    "Policy": {"requests": 6, "rows": 500},
    "Cluster": {"requests": 7, "rows": 600},
}
"""Of each window's subject, by its kind; a run delivers a hundred rows, or as many as it may."""
SCARCE = replace(SETTINGS, defaults=Defaults(3, cluster=LIMITS["Cluster"]), max_concurrent_runs=2)
KEYS = [Key("team-a", f"r{number}") for number in range(4)]
QUEUED = KEYS[3]
"""A request whose policy gives its runs to Kueue."""
HELD = {"user": LIMITS["User"], "namespace": LIMITS["Namespace"], "all": LIMITS["Policy"]}
POLICIES = (
    Named("everyone", {"limits": HELD}),
    Named("queued", {"selector": {"users": ["bob"]}, "limits": HELD, "kueue": {"queueName": "exports"}}),
)
BOB: dict[str, Any] = {"requester": {"username": "bob"}, "submittedBy": {"username": "bob"}}
keys = st.sampled_from(KEYS)
troubles: st.SearchStrategy[Trouble] = st.sampled_from(["killed", "refused", "lost", "late"])
WINDOW = timedelta(days=1)


class Life(RuleBasedStateMachine):
    """`World.write_status` itself fails when a run that has ended is said to have ended otherwise."""

    @initialize()
    def begin(self) -> None:
        self.world = World(policies=POLICIES)
        self.hand = Hand()
        self.operator = Operator(self.world, self.hand, SCARCE)
        self.operator.record()  # what ends from here on is counted
        self.counted = 0.0
        self.other = Operator(self.world, self.hand, SCARCE)
        self.new_runs = 0
        self.late: Counter[str] = Counter()

    # People.

    @rule(key=keys, reject=st.booleans(), managed=st.booleans(), takes_along=st.booleans(), kept=st.booleans())
    def a_request_is_applied(self, key: Key, reject: bool, managed: bool, takes_along: bool, kept: bool) -> None:
        """By a person, or by a tool that leaves its mark, perhaps with a finalizer of somebody's; perhaps once more,
        after whatever became of it."""
        if key not in self.world.requests:
            changes = BOB if key == QUEUED else {}
            changes = changes | ({"deletionPolicy": "Delete"} if takes_along else {})
            changes |= {"onQuotaExceeded": "Reject" if reject else "Queue", "ttlSecondsAfterFinished": 600}
            finalizers = ("example.org/audit",) if kept else ()
            self.world.apply(key, TRACKED if managed else None, finalizers, **changes)

    @rule(key=keys)
    def a_request_is_deleted(self, key: Key) -> None:
        self.world.delete(key)

    @rule(key=keys)
    def a_finalizer_is_taken_away(self, key: Key) -> None:
        self.world.let_go(key)

    @rule(key=keys)
    def a_request_is_cancelled(self, key: Key) -> None:
        if key in self.world.requests:
            self.world.apply(key, cancel=True)

    @rule(key=keys, suspend=st.booleans())
    def a_request_is_suspended_or_let_go_on(self, key: Key, suspend: bool) -> None:
        if key in self.world.requests:
            self.world.apply(key, suspend=suspend)

    @rule(key=keys)
    def a_request_is_to_run_again(self, key: Key) -> None:
        if key in self.world.requests:
            self.new_runs += 1
            self.world.apply(key, runID=f"again-{self.new_runs}", cancel=False)

    @rule(key=keys)
    def a_request_asks_for_the_run_that_it_began_with(self, key: Key) -> None:
        if key in self.world.requests:
            self.world.apply(key, runID=None)

    @rule(seconds=st.sampled_from([0, 900]))
    def the_policies_keep_objects_for_so_long(self, seconds: int) -> None:
        kept = {"retention": {"objectTTLSeconds": seconds}} if seconds else {}
        self.world.change_policies(*(replace(each, spec={**each.spec, **kept}) for each in POLICIES))

    @rule(seconds=st.sampled_from([1, 301, 700, 90_000]))
    def time_passes(self, seconds: int) -> None:
        self.world.wait(seconds)

    # Kubernetes.

    def _some_job(self, data: st.DataObject, action: Callable[[str], None]) -> None:
        live = sorted(name for name, job in self.world.jobs.items() if not job.terminal)
        if live:
            action(data.draw(st.sampled_from(live)))

    @rule(data=st.data())
    def a_pod_starts(self, data: st.DataObject) -> None:
        self._some_job(data, self.world.start)

    @rule(data=st.data())
    def a_pod_delivers(self, data: st.DataObject) -> None:
        self._some_job(data, self.world.deliver)

    @rule(data=st.data(), last=st.booleans(), reason=st.sampled_from(["Error", "OOMKilled"]))
    def a_pod_fails(self, data: st.DataObject, last: bool, reason: str) -> None:
        self._some_job(data, lambda name: self.world.end(name, 137, reason=reason, last=last))

    @rule()
    def the_job_controller_obeys(self) -> None:
        self.world.obey()

    @rule()
    def kueue_looks(self) -> None:
        self.world.queue()

    @rule()
    def kueue_admits(self) -> None:
        self.world.admit()

    @rule()
    def kueue_evicts(self) -> None:
        self.world.evict()

    # What is exported from and to.

    @rule(subject=st.sampled_from([(SOURCE, "app-db"), (DESTINATION, "bucket")]), down=st.booleans())
    def a_server_goes_down_or_comes_back(self, subject: tuple[str, str], down: bool) -> None:
        if down:
            self.world.fall(*subject)
        else:
            self.world.rise(*subject)

    # Operators.

    @rule(key=keys, trouble=troubles, when=st.none() | st.integers(0, 8))
    def the_operator_looks_at_a_request(self, key: Key, trouble: Trouble, when: int | None) -> None:
        self.operator.look()
        self._turn(key, trouble, when)

    @rule(key=keys, trouble=troubles, when=st.none() | st.integers(0, 8))
    def the_operator_looks_with_old_caches(self, key: Key, trouble: Trouble, when: int | None) -> None:
        self._turn(key, trouble, when)

    @rule(key=keys)
    def a_second_operator_looks_with_caches_as_old_as_they_are(self, key: Key) -> None:
        self.other.reconcile(key)

    @rule()
    def the_second_operators_watches_deliver(self) -> None:
        self.other.look()

    @rule()
    def the_second_operators_watches_of_jobs_lag_behind(self) -> None:
        self.other.look_at_requests()

    @rule(trouble=troubles, when=st.none() | st.integers(0, 3))
    def the_operator_settles_what_is_over(self, trouble: Trouble, when: int | None) -> None:
        self._do(self.operator.flush, trouble, when)

    @rule(trouble=troubles, when=st.none() | st.integers(0, 6))
    def the_operator_writes_history_and_totals(self, trouble: Trouble, when: int | None) -> None:
        self._do(self.operator.record, trouble, when)

    @rule()
    def the_last_call_of_a_dead_operator_arrives(self) -> None:
        before = len(self.world.created)
        self.hand.land()
        self.late.update(self.world.created[before:])

    @rule(trouble=troubles, when=st.none() | st.integers(0, 3))
    def the_operator_cleans_up(self, trouble: Trouble, when: int | None) -> None:
        self._do(self.operator.clean, trouble, when)

    @rule()
    def the_second_operator_settles_what_is_over(self) -> None:
        self.other.flush()

    def _turn(self, key: Key, trouble: Trouble, when: int | None) -> None:
        self._do(lambda: self.operator.reconcile(key), trouble, when)

    def _do(self, work: Callable[[], object], trouble: Trouble, when: int | None) -> None:
        self.hand.trouble = trouble
        self.hand.when = None if when is None else self.hand.calls + when
        try:
            work()
        except Killed:
            self.operator = Operator(self.world, self.hand, SCARCE)
        self.hand.when = None

    # What always holds.

    @invariant()
    def no_window_holds_more_than_its_limits(self) -> None:
        """Wherever it begins."""
        for subject, entries in self.world.windows.items():
            most = LIMITS[subject.kind]
            for first in entries:
                held = [entry for entry in entries if first.time <= entry.time < first.time + WINDOW]
                assert all(used(held, resource) <= most[resource] for resource in most), (subject, held)
                assert len(held) <= LAUNCHES * most["requests"]

    @invariant()
    def no_run_is_charged_twice(self) -> None:
        for entries in self.world.windows.values():
            assert len(entries) == len({entry.run for entry in entries})

    @invariant()
    def no_run_delivers_more_than_is_reserved_for_it(self) -> None:
        for entries in self.world.windows.values():
            for entry in entries:
                assert entry.state is State.REFUNDED or self.world.delivered.get(entry.run, 0) <= entry.rows

    @invariant()
    def every_live_job_is_charged(self) -> None:
        live = {job.run for job in self.world.jobs.values() if not job.terminal}
        for subject, entries in self.world.windows.items():
            if subject.kind == "Cluster":
                assert live <= {entry.run for entry in entries}

    @invariant()
    def no_run_is_begun_twice(self) -> None:
        """Unless by a call that was still on its way when its operator had died: by the Lease it would be too late."""
        assert max((Counter(self.world.created) - self.late).values(), default=0) <= 1

    @invariant()
    def no_more_slots_are_held_than_there_are(self) -> None:
        assert len(self.world.slots) <= SCARCE.max_concurrent_runs

    @invariant()
    def what_is_left_in_the_bucket_has_a_job_that_says_so(self) -> None:
        assert self.world.left <= {job.run for job in self.world.jobs.values()}

    @invariant()
    def each_end_is_counted_once_and_none_is_taken_back(self) -> None:
        kept = self.world.totals
        told = 0 if kept is None else sum(numbers["runs"] for numbers in kept.rows.values())
        assert self.counted <= told <= len(self.world.ends)
        self.counted = told

    @invariant()
    def every_status_is_small(self) -> None:
        sizes = [len(json.dumps(document["status"])) for document in self.world.requests.values()]
        assert max(sizes, default=0) <= MAX_STATUS

    def teardown(self) -> None:
        """Let everything go on without trouble: each request comes to an end or waits for a reason, and nothing is
        left over."""
        if not hasattr(self, "world"):
            return
        self.hand.land()
        self.world.down.clear()
        for key in self.world.requests:
            self.world.apply(key, suspend=False)
        for _ in range(2 * len(KEYS) + 2):
            self.operator = settle(self.world, self.operator, self.hand, SCARCE)
            self.world.obey()
            self.world.admit()
            for action in (self.world.start, self.world.deliver):
                for name, job in list(self.world.jobs.items()):
                    if not job.terminal:
                        action(name)
        self.operator = settle(self.world, self.operator, self.hand, SCARCE)
        present = {key: document for key, document in self.world.requests.items() if not going(document)}
        waiting = {
            key: document["status"]["reason"]
            for key, document in present.items()
            if document["status"]["phase"] not in TERMINAL_PHASES
        }
        assert set(waiting.values()) <= {"QuotaExceeded"}, waiting
        assert self.world.slots == ()
        ended = [document["status"] for document in present.values() if document["status"]["phase"] in TERMINAL_PHASES]
        rows = self.world.rows
        told = {status["run"]: ended_as(status) for status in ended if status["reason"] != "RunIDUsed"}
        assert {run: rows[run]["phase"] for run in told} == told
        assert {job.request for job in self.world.jobs.values()} <= set(present)


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=2 * settings().max_examples, stateful_step_count=40)
