"""What another release of the operator has left behind: it is read as far as it is understood, and never miscounted."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from export_operator.domain.identity import Subject
from export_operator.domain.model import Pod
from export_operator.domain.pages import State
from export_operator.domain.usage import parse_usage, usage_name

from .builders import KEY, RUN, failure
from .hand import Hand
from .world import Operator, World, settle

pytestmark = pytest.mark.unit

ALICE = Subject("User", "alice")


def write_as_a_newer_release(world: World, phase: str) -> None:
    document = world.requests[KEY]
    condition = {"type": "Hibernating", "status": "True", "reason": "Cold", "message": "", "observedGeneration": 1}
    status = document["status"]
    world.requests[KEY] = {
        "metadata": document["metadata"] | {"resourceVersion": str(world.next())},
        "spec": document["spec"] | {"hibernate": {"after": "an hour"}},
        "status": status | {"phase": phase, "dreams": [], "conditions": [*status["conditions"], condition]},
    }


@pytest.mark.parametrize("begun", [False, True], ids=["before its pod runs", "while its pod runs"])
def test_a_phase_a_field_and_a_condition_that_nobody_knows_here_change_nothing_in_the_end(begun: bool) -> None:
    world, hand = World(), Hand()
    world.apply(KEY)
    operator = settle(world, Operator(world, hand), hand)
    (name,) = world.jobs
    if begun:
        world.start(name)
        operator = settle(world, operator, hand)
    write_as_a_newer_release(world, "Hibernating")
    operator = settle(world, operator, hand)
    world.start(name)
    world.deliver(name)
    settle(world, operator, hand)
    status = world.status(KEY)
    assert (status["phase"], len(world.created), world.slots) == ("Succeeded", 1, ())
    assert "Hibernating" in {condition["type"] for condition in status["conditions"]}


@pytest.mark.parametrize("end", ["delivered", "failed"])
def test_what_a_pod_of_a_newer_release_tells_is_understood_without_what_is_new_in_it(end: str) -> None:
    told = []
    for newer in (False, True):
        world, hand = World(), Hand()
        world.apply(KEY)
        operator = settle(world, Operator(world, hand), hand)
        (name,) = world.jobs
        world.start(name)
        if end == "delivered":
            world.deliver(name)
        else:
            world.end(name, 67, failure().replace(RUN, world.jobs[name].run))
        if newer:
            world.pods = {run: tuple(map(speak_newly, pods)) for run, pods in world.pods.items()}
            world.manifests.clear()  # what the pod has said is enough
        settle(world, operator, hand)
        told.append(world.status(KEY))
    assert told[0] == told[1]
    assert told[0]["phase"] == {"delivered": "Succeeded", "failed": "Failed"}[end]


def speak_newly(pod: Pod) -> Pod:
    told = json.loads(pod.exit_message)
    part = "delivered" if "delivered" in told else "failure"
    return replace(pod, exit_message=json.dumps({**told, part: told[part] | {"dreams": []}, "dreams": 1}))


def usage(**spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": usage_name(ALICE), "resourceVersion": "7"},
        "spec": {"subject": {"kind": "User", "name": "alice"}, **spec},
    }


OLD_ENTRY = {"run": "r1", "namespace": "team-a", "name": "users", "uid": "u1", "time": "2026-01-15T12:00:00Z"}


def test_a_ledger_of_before_versions_states_and_amounts_is_read_and_counts_in_full() -> None:
    found = parse_usage(usage(entries=[OLD_ENTRY]))
    (entry,) = found.page.entries
    assert (found.fault, entry.run, entry.state, entry.rows, entry.bytes) == ("", "r1", State.RESERVED, 0, 0)


def test_a_field_that_a_newer_release_has_added_to_an_entry_is_no_damage() -> None:
    plain, added = (
        parse_usage(usage(version=1, entries=[each])) for each in (OLD_ENTRY, {**OLD_ENTRY, "lane": "slow"})
    )
    assert plain == added


def test_a_ledger_of_a_newer_form_admits_nobody_and_is_not_taken_for_empty() -> None:
    found = parse_usage(usage(version=2, entries=[OLD_ENTRY]))
    assert found.fault == "its version 2 is newer than this operator"


def test_a_state_that_nobody_knows_here_admits_nobody() -> None:
    assert parse_usage(usage(version=1, entries=[{**OLD_ENTRY, "state": "Borrowed"}])).fault
