"""No event costs more because many requests are there: counted in steps of the interpreter, which no machine's mood
changes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from types import FrameType, SimpleNamespace
from typing import Any, cast

import pytest

from export_contract import names
from export_operator.adapters.metrics import Metrics, ResourceCollector
from export_operator.adapters.runs import Runs
from export_operator.domain import model
from export_operator.domain.identity import Subject
from export_operator.domain.model import Key
from export_operator.domain.pages import Entry
from export_operator.domain.queue import FairQueue, Waiting
from export_operator.domain.slots import CLUSTER, Level, Occupancy
from export_operator.store import Store

from .builders import NOW

pytestmark = pytest.mark.unit

FEW, MANY = 100, 5_000
PEOPLE = 50
SLACK = 1.2
"""For what grows with the logarithm, as a search in what is sorted does."""


def steps(work: Callable[[], object]) -> int:
    """How many instructions the interpreter takes for it."""
    count = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        frame.f_trace_opcodes = True
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def document(number: int, version: int = 1) -> dict[str, Any]:
    return {
        "metadata": {
            "namespace": "team-a",
            "name": f"r-{number}",
            "uid": f"uid-{number}",
            "resourceVersion": str(version),
            "creationTimestamp": "2026-11-24T12:00:00Z",
        },
        "spec": {},
        "status": {"phase": "Queued", "reason": "ClusterConcurrency", "queuedTime": "2026-11-24T12:00:00Z"},
    }


def waiting(number: int) -> Waiting:
    who = f"user-{number % PEOPLE}"
    entry = Entry(run=f"run-{number}", request=Key("team-a", f"r-{number}"), uid=f"uid-{number}", time=NOW, user=who)
    levels = (Level(Subject("User", who), 2), Level(CLUSTER, 10))
    return Waiting(entry, levels, Subject("User", who), NOW + timedelta(seconds=number))


def job(number: int, version: int = 1) -> dict[str, Any]:
    run = f"run-{number}"
    return {
        "metadata": {
            "name": names.job_name(run),
            "uid": f"job-{number}",
            "resourceVersion": str(version),
            "creationTimestamp": "2026-11-24T12:00:00Z",
            "labels": {model.LABEL_RUN: run},
            "annotations": {model.ANNOTATION_NAMESPACE: "team-a", model.ANNOTATION_NAME: f"r-{number}"},
        },
        "spec": {"suspend": version > 1},
    }


@dataclass
class Crowd:
    """So many requests wait, ten slots are taken, and each request has a Job: more than will ever be at once."""

    size: int

    def __post_init__(self) -> None:
        self.woken: list[Key] = []
        self.store = Store(self.woken.append)
        self.queue, self.occupancy = FairQueue(), Occupancy()
        self.metrics = Metrics()
        self.metrics.register(ResourceCollector(self.store, lambda: 10, 10, lambda: NOW))
        cluster = SimpleNamespace(jobs_path="", pods_path="")
        self.runs = Runs(cast("Any", None), cast("Any", cluster), self.woken.append)
        for number in range(self.size):
            self.store.put_request(document(number))
            self.queue.put(waiting(number))
            self.runs.put_job(job(number))
        while self.queue.take(self.occupancy):
            pass

    def slot_freed(self) -> None:
        freed = self.occupancy.remove(self.occupancy.entries[0].run)
        self.queue.free(freed)
        assert self.queue.take(self.occupancy) is not None


LAST = FEW - 1  # in both crowds, and waiting
EVENTS: dict[str, Callable[[Crowd], object]] = {
    "a request is new": lambda crowd: crowd.store.put_request(document(MANY)),
    "a request changes": lambda crowd: crowd.store.put_request(document(LAST, 2)),
    "a request is listed again": lambda crowd: crowd.store.put_request(document(LAST)),
    "a request is deleted": lambda crowd: crowd.store.drop_request(Key("team-a", f"r-{LAST}")),
    "a request begins to wait": lambda crowd: crowd.queue.put(waiting(MANY)),
    "a request changes while it waits": lambda crowd: crowd.queue.put(replace(waiting(LAST), weight=2)),
    "a request waits no longer": lambda crowd: crowd.queue.remove(Key("team-a", f"r-{LAST}")),
    "a slot is free and goes to the next": Crowd.slot_freed,
    "the metrics are scraped": lambda crowd: crowd.metrics.render(""),
    "a Job changes": lambda crowd: crowd.runs.put_job(job(LAST, 2)),
}


def costs(event: Callable[[Crowd], object]) -> tuple[int, int]:
    """Steps among few and among many."""
    few, many = Crowd(FEW), Crowd(MANY)
    return steps(lambda: event(few)), steps(lambda: event(many))


@pytest.mark.parametrize("name", EVENTS)
def test_an_event_takes_as_many_steps_among_many_as_among_few(name: str) -> None:
    few, many = costs(EVENTS[name])
    assert 0 < many <= few * SLACK


def test_a_scan_would_be_seen() -> None:
    few, many = costs(lambda crowd: [key for key in crowd.store.requests if key.name])
    assert many > few * 10
