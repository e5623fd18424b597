"""Runs that end are counted once each, whatever is killed, refused, listed again or read twice meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, cast

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from export_contract import names
from export_contract.report import Redelivered
from export_operator.adapters.kube import ApiError
from export_operator.adapters.metrics import TotalsCollector
from export_operator.adapters.metrics.totals import COUNTERS, HISTOGRAMS
from export_operator.adapters.totals import KEY, NAME, TotalsStore
from export_operator.counting import REMEMBERED, Counting
from export_operator.domain import times
from export_operator.domain.model import Job, Key, Pod
from export_operator.domain.totals import Totals
from export_operator.store import Store

from .builders import NOW, ended_pod, spec
from .configmaps import ConfigMaps
from .hand import Hand, Killed, finish

pytestmark = pytest.mark.unit

Document = dict[str, Any]


@dataclass
class Cluster:
    """What outlives every process: requests, Jobs and the ConfigMap, with resourceVersions that are compared."""

    now: datetime = NOW
    version: int = 100
    requests: dict[Key, Document] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    downloads: dict[str, Document] = field(default_factory=dict)
    pods: dict[str, Pod] = field(default_factory=dict)
    """Those that redeliver."""
    kept: Document | None = None

    def next(self) -> str:
        self.version += 1
        return str(self.version)

    def run(self, name: str, phase: str = "Running", completed: datetime | None = None, **status: Any) -> Key:
        """The request is there, and its run is in that phase."""
        key = Key("team-a", name)
        uid = f"uid-{name}"
        if completed is not None:
            status["completionTime"] = times.render(completed)
        self.requests[key] = {
            "metadata": {
                "namespace": key.namespace,
                "name": name,
                "uid": uid,
                "resourceVersion": self.next(),
                "creationTimestamp": times.render(NOW),
            },
            "spec": spec(),
            "status": {"phase": phase, "run": names.run_id(uid, ""), "runID": "", **status},
        }
        return key

    def end(self, name: str, phase: str = "Succeeded", completed: datetime | None = None, **status: Any) -> Key:
        return self.run(name, phase, completed or self.now, reason="Delivered", **status)

    def touch(self, name: str) -> None:
        """Somebody annotates it, or the operator writes something that ends nothing."""
        found = self.requests[Key("team-a", name)]
        metadata = found["metadata"] | {"resourceVersion": self.next(), "annotations": {"seen": self.next()}}
        self.requests[Key("team-a", name)] = found | {"metadata": metadata}

    def finish_job(self, name: str) -> None:
        """The run's Job is over, and nobody has said so in the request."""
        key = Key("team-a", name)
        run = names.run_id(f"uid-{name}", "")
        self.jobs[run] = Job(
            name=names.job_name(run),
            uid=run,
            run=run,
            request_uid=f"uid-{name}",
            request=key,
            created=self.now,
            suspended=False,
            deleting=False,
            complete=True,
            finished=self.now,
        )


class Process:
    """One operator. `look` is what its watches and lists bring, `save` what it does every few seconds as the leader."""

    def __init__(self, cluster: Cluster, hand: Hand | None = None, *, leading: bool = True) -> None:
        self._cluster = cluster
        self.shown: list[Mapping[str, float]] = []
        self.store = Store(lambda _: None, self._recorded)
        self.counting = Counting(
            TotalsStore(cast("Any", ConfigMaps(cluster, hand or Hand(), NAME)), "runs"),
            self.store,
            lambda: list(cluster.jobs.values()),
            self._show,
            lambda: cluster.now,
        )
        self.collector = TotalsCollector(self.store)
        self.store.listen("exportdownloads", self.counting.answered)
        if leading:
            self.lead()
        self.look()

    def lead(self) -> None:
        """It wins the Lease: `run` begins, as far as its first pause."""
        self.counting._leading, self.counting._kept = True, None

    def _recorded(self, before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> None:
        self.counting.recorded(before, after)

    def _show(self, totals: Totals) -> None:
        self.shown.append(phases(totals))
        self.collector.show(totals)

    def look(self) -> None:
        for key in set(self.store.requests) - set(self._cluster.requests):
            self.store.drop_request(key)
        for document in self._cluster.requests.values():
            self.store.put_request(document)
        for document in self._cluster.downloads.values():
            self.store.put_beside("exportdownloads", document)
        for pod in self._cluster.pods.values():
            self.counting.pod_changed(None, pod)

    def save(self) -> None:
        finish(self.counting.save())

    def follow(self) -> None:
        finish(self.counting.load())

    @property
    def told(self) -> Mapping[str, float]:
        """Runs by phase, as metrics tell them."""
        return self.shown[-1] if self.shown else {}


def phases(totals: Totals) -> Mapping[str, float]:
    return {phase: numbers["runs"] for (phase,), numbers in totals.sums(("phase",)).items()}


@pytest.fixture
def cluster() -> Cluster:
    """In which an operator has been at work before."""
    cluster = Cluster()
    Process(cluster).save()
    return cluster


def test_what_ends_is_told_when_it_is_kept(cluster: Cluster) -> None:
    process = Process(cluster)
    process.save()
    cluster.run("a")
    cluster.run("b")
    process.look()
    cluster.end("a")
    cluster.end("b", "Failed")
    process.look()
    assert process.told == {}
    process.save()
    assert process.told == {"Succeeded": 1, "Failed": 1}


@pytest.mark.parametrize("trouble", ["killed", "refused", "lost"])
@pytest.mark.parametrize("when", range(8))
def test_each_end_counts_once_whichever_call_fails(cluster: Cluster, trouble: Any, when: int) -> None:
    hand = Hand(trouble, when)
    process = Process(cluster, hand)
    for name in ("a", "b", "c", "d"):
        cluster.run(name)
        process.look()
        cluster.end(name)
        process.look()
        cluster.now += timedelta(minutes=1)
        for _ in range(3):
            try:
                process.save()
                break
            except Killed:
                process = Process(cluster, hand)
            except ApiError:
                pass
    assert process.told == {"Succeeded": 4}


def test_a_list_of_everything_changes_no_number(cluster: Cluster) -> None:
    process = Process(cluster)
    cluster.end("a")
    for _ in range(3):
        process.look()
        process.save()
    assert process.shown == [{}, {"Succeeded": 1}]


def test_what_changes_after_its_end_is_not_counted_again_by_the_next_operator_either(cluster: Cluster) -> None:
    first = Process(cluster)
    cluster.end("a")
    first.look()
    first.save()
    cluster.touch("a")
    second = Process(cluster)
    cluster.touch("a")
    second.look()
    second.save()
    assert second.told == {"Succeeded": 1}


def test_a_request_that_is_deleted_at_once_is_counted(cluster: Cluster) -> None:
    process = Process(cluster)
    key = cluster.end("a")
    process.look()
    del cluster.requests[key]
    process.look()
    process.save()
    assert process.told == {"Succeeded": 1}


def test_an_end_that_an_operator_wrote_and_could_not_count_is_counted_by_the_next(cluster: Cluster) -> None:
    first = Process(cluster)
    cluster.end("a")
    first.look()
    first.save()
    cluster.end("b")
    second = Process(cluster)
    second.save()
    assert second.told == {"Succeeded": 2}


def download(cluster: Cluster, uid: str = "d", phase: str = "Ready") -> Document:
    told = {"type": {"Ready": "Ready", "Failed": "Stalled"}[phase], "lastTransitionTime": times.render(cluster.now)}
    return {
        "metadata": {"namespace": "team-a", "name": uid, "uid": uid, "resourceVersion": cluster.next()},
        "status": {"phase": phase, "reason": "LinksMade", "conditions": [told]},
    }


def facts(cluster: Cluster) -> Mapping[tuple[str, ...], float]:
    """As they are kept."""
    assert cluster.kept is not None
    return Totals.parse(cluster.kept["data"][KEY]).facts


def test_a_download_and_what_was_redelivered_count_once_whoever_is_killed_meanwhile(cluster: Cluster) -> None:
    cluster.pods["p"] = ended_pod(0, Redelivered(moved={"bucket": 2}).to_json(), finished=cluster.now)
    cluster.downloads["d"] = download(cluster)
    for _ in range(3):  # each an operator that is killed after it has kept them
        process = Process(cluster)
        for _ in range(2):
            process.look()
            process.save()
        cluster.now += timedelta(hours=1)
    assert facts(cluster) == {("downloads", "Ready", "LinksMade"): 1, ("redeliveries", "bucket"): 2}


def test_a_job_that_was_over_hours_before_anybody_noticed_is_counted_once(cluster: Cluster) -> None:
    """Its end is written with the time at which the Job ended, by an operator that dies before it counts it."""
    first = Process(cluster)
    cluster.run("late")
    cluster.end("a")
    first.look()
    first.save()
    cluster.finish_job("late")
    ended = cluster.now
    cluster.now += timedelta(hours=5)
    second = Process(cluster)
    cluster.end("b")
    second.look()
    second.save()
    cluster.end("late", completed=ended)
    third = Process(cluster)
    third.save()
    assert third.told == {"Succeeded": 3}


def test_an_end_that_the_leader_sees_come_counts_however_long_ago_it_was(cluster: Cluster) -> None:
    process = Process(cluster)
    process.save()
    cluster.run("late")
    process.look()
    cluster.end("late", completed=NOW - timedelta(days=1))
    for _ in range(2):
        process.look()
        process.save()
    assert process.told == {"Succeeded": 1}


def test_what_expires_or_is_adopted_later_adds_nothing_to_what_was_delivered(cluster: Cluster) -> None:
    process = Process(cluster)
    cluster.end("a", result={"rows": 100, "bytes": 10})
    process.look()
    process.save()
    cluster.run("a", "Expired", NOW)
    cluster.run("again", "Succeeded", NOW, reason="Adopted", result={"rows": 100, "bytes": 10})
    process.look()
    process.save()
    assert kept(cluster).sums(()) == {(): {"runs": 2, "rows": 100, "bytes": 10}}


def test_a_standby_tells_what_the_leader_has_kept_and_goes_on_from_there(cluster: Cluster) -> None:
    leader, standby = Process(cluster), Process(cluster, leading=False)
    for name in ("a", "b"):
        cluster.end(name)
        leader.look()
        standby.look()
        leader.save()
        standby.follow()
        assert standby.told == leader.told
    cluster.end("c")
    standby.look()  # the leader dies before it counts it
    standby.lead()
    standby.save()
    assert standby.told == {"Succeeded": 3}


RAN: Mapping[str, Any] = {
    "queuedTime": times.render(NOW - timedelta(seconds=90)),
    "startTime": times.render(NOW - timedelta(seconds=40)),
    "jobRef": {"name": "job"},
    "attempts": 2,
    "retries": {"UploadPart/DestinationUnavailable": 3},
    "effective": {
        "policy": "p",
        "source": "app-db",
        "destination": "bucket",
        "format": "CSV",
        "runDeadlineSeconds": 60,
    },
}
RESULT = {"rows": 5000, "bytes": 70_000, "usedFallback": True, "timings": {"total": 50.0}}
ENDS: list[tuple[str, Mapping[str, Any]]] = [
    ("Succeeded", {**RAN, "result": RESULT}),
    ("Failed", {**RAN, "failure": {"class": "Source"}}),
    ("Rejected", {}),
]


def counters(process: Process) -> Mapping[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample of every counter and histogram that is read off the totals, as /metrics has it."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in process.collector.collect()
        for sample in family.samples
    }


def test_the_same_history_read_through_two_operators_gives_the_same_numbers(cluster: Cluster) -> None:
    """Of every counter, at each moment at which both have read what is kept, so over any stretch of time; through
    failovers, of which every other one is a leader that dies before it counts what it has seen."""
    leader, standby = Process(cluster), Process(cluster, leading=False)
    before: Mapping[Any, float] = {}
    for number in range(30):
        phase, status = ENDS[number % len(ENDS)]
        cluster.end(f"run-{number}", phase, **status)
        cluster.now += timedelta(minutes=1)
        cluster.downloads[f"d{number}"] = download(cluster, f"d{number}", "Failed" if number % 4 == 0 else "Ready")
        moved = Redelivered(moved={"bucket": 2}).to_json()
        cluster.pods[f"p{number}"] = replace(ended_pod(0, moved, finished=cluster.now), uid=f"p{number}")
        for process in (leader, standby):
            process.look()
        if number % 10 == 9:
            leader, standby = standby, Process(cluster, leading=False)
            leader.lead()
        leader.save()
        standby.follow()
        if number % 10 == 4:
            leader, standby = standby, Process(cluster, leading=False)
            leader.lead()
            leader.save()
            standby.follow()
        now = counters(leader)
        assert now == counters(standby)
        assert [name for name, value in before.items() if now.get(name, 0) < value] == []
        before = now
    assert {name for (name, _), value in before.items() if value} == {
        f"{family.full_name}{suffix}"
        for family in (*COUNTERS, *HISTOGRAMS)
        for suffix in (("_total",) if family in COUNTERS else ("_bucket", "_count", "_sum"))
    }
    whole = Cluster()
    once = Process(whole)
    once.save()
    whole.requests, whole.downloads, whole.pods = cluster.requests, cluster.downloads, cluster.pods
    once.look()
    once.save()
    assert before == counters(once)


def test_a_leader_that_wakes_up_late_takes_nothing_away(cluster: Cluster) -> None:
    old = Process(cluster)
    cluster.end("a")
    old.look()
    old.save()
    new = Process(cluster)
    cluster.end("b")
    for process in (old, new):
        process.look()
    new.save()
    with pytest.raises(ApiError, match="Conflict"):
        old.save()
    old.save()
    assert phases(kept(cluster)) == {"Succeeded": 2}


def test_totals_that_somebody_takes_away_are_written_anew_by_the_leader(cluster: Cluster) -> None:
    process = Process(cluster)
    cluster.end("a")
    process.look()
    process.save()
    cluster.kept = None
    cluster.end("b")
    process.look()
    with pytest.raises(ApiError, match="NotFound"):
        process.save()
    process.save()
    assert phases(kept(cluster)) == {"Succeeded": 2}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 2}', '{"version": 1, "horizon": 1, "counted": 3}'])
def test_totals_that_cannot_be_read_begin_anew_from_zero(cluster: Cluster, text: str) -> None:
    cluster.end("before", completed=NOW - timedelta(hours=1))
    cluster.kept = {"metadata": {"name": NAME, "resourceVersion": "7"}, "data": {KEY: text}}
    process = Process(cluster)
    process.save()
    cluster.end("after")
    process.look()
    process.save()
    assert process.told == {"Succeeded": 1}


def test_the_first_operator_of_a_cluster_begins_at_zero() -> None:
    cluster = Cluster()
    cluster.end("of an older release", completed=NOW - timedelta(hours=1))
    process = Process(cluster)
    process.save()
    assert (process.told, kept(cluster).rows) == ({}, {})


def test_what_is_kept_stays_small_however_many_runs_end(cluster: Cluster) -> None:
    process = Process(cluster)
    for number in range(300):
        cluster.end(f"run-{number}")
        process.look()
        process.save()
        cluster.now += timedelta(minutes=1)
    remembered = sum(map(len, kept(cluster).counted.values()))
    assert remembered <= REMEMBERED / timedelta(minutes=1) + 1
    assert process.told == {"Succeeded": 300}


def kept(cluster: Cluster) -> Totals:
    assert cluster.kept is not None
    return Totals.parse(cluster.kept["data"][KEY])


class Operators(RuleBasedStateMachine):
    """Two operators, of which at most one leads and either dies at any moment."""

    def __init__(self) -> None:
        super().__init__()
        self.cluster = Cluster()
        self.leader = Process(self.cluster)
        self.leader.save()
        self.standby = Process(self.cluster, leading=False)
        self.ended: set[str] = set()
        self.names = 0
        self.highest: float = 0

    @rule()
    def begins(self) -> None:
        self.names += 1
        self.cluster.run(f"run-{self.names}")

    @rule(number=st.integers(0, 30))
    def ends(self, number: int) -> None:
        name = f"run-{number}"
        if Key("team-a", name) in self.cluster.requests and name not in self.ended:
            self.cluster.end(name)
            self.ended.add(name)

    @rule(number=st.integers(0, 30))
    def is_touched(self, number: int) -> None:
        if Key("team-a", f"run-{number}") in self.cluster.requests:
            self.cluster.touch(f"run-{number}")

    @rule(seconds=st.integers(0, 900))
    def time_passes(self, seconds: int) -> None:
        self.look()
        self.save()
        self.cluster.now += timedelta(seconds=seconds)

    @rule()
    def look(self) -> None:
        self.leader.look()
        self.standby.look()

    @rule(follows=st.booleans())
    def save(self, follows: bool = True) -> None:
        try:
            self.leader.save()
        except ApiError:
            self.leader.save()
        if follows:
            self.standby.follow()

    @rule()
    def dies(self) -> None:
        self.leader = Process(self.cluster)

    @rule()
    def fails_over(self) -> None:
        self.leader, self.standby = self.standby, Process(self.cluster, leading=False)
        self.leader.lead()

    @invariant()
    def nothing_is_counted_twice_and_nothing_is_taken_back(self) -> None:
        told = sum(phases(kept(self.cluster)).values())
        assert self.highest <= told <= len(self.ended)
        self.highest = told

    def teardown(self) -> None:
        self.look()
        self.save()
        assert sum(phases(kept(self.cluster)).values()) == len(self.ended)


TestOperators = Operators.TestCase
TestOperators.settings = hypothesis_settings(max_examples=40, stateful_step_count=30, deadline=None)
