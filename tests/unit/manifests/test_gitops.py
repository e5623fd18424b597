"""What Argo CD, Flux and kstatus make of statuses that the operator's own decisions wrote."""

from collections.abc import Mapping
from typing import Any

import pytest

from export_operator.domain.model import API_VERSION, TERMINAL_PHASES, Key
from tests.platform.verdicts import GITOPS, argo, flux, kstatus
from tests.unit.operator.builders import KEY
from tests.unit.operator.hand import Hand
from tests.unit.operator.test_crash_safety import (
    ONE_AT_ONCE,
    OTHER,
    RAN,
    Story,
    applied,
    fail,
    play,
    start,
    waited,
)
from tests.unit.operator.test_schedules import Process
from tests.unit.operator.test_schedules import World as ScheduleWorld
from tests.unit.operator.world import World

pytestmark = pytest.mark.unit


def request(phase: str, **status: Any) -> dict[str, Any]:
    """An object of a phase that no story comes to."""
    found = {"observedGeneration": 1, "phase": phase, "message": "why", **status}
    return {"metadata": {"generation": 1}, "spec": {}, "status": found}


def of(world: World, key: Key = KEY) -> dict[str, Any]:
    return world.requests[key]


def told(*steps: Any, **changes: Any) -> dict[str, Any]:
    """The request as a story leaves it."""
    return of(play(Story(steps, {}, 0, 0, **changes), Hand()))


OBJECTS: Mapping[str, dict[str, Any]] = {
    "not seen yet": {"metadata": {"generation": 1}, "spec": {}, "status": {"observedGeneration": -1}},
    "about to start": told(applied()),
    "waiting for its turn": told(applied(OTHER), applied(), settings=ONE_AT_ONCE),
    "suspended by its owner": told(applied(suspend=True)),
    "suspended while it ran": told(applied(), start, applied(suspend=True), World.obey),
    "running": told(applied(), start),
    "delivered": told(applied(), *RAN),
    "delivered in part": request("PartiallySucceeded"),
    "failed": told(applied(), start, fail),
    "rejected": told(applied(source={"name": "nobody", "dataset": "nothing"}), waited(11)),
    "cancelled": told(applied(cancel=True)),
    "expired after a delivery": request("Expired", result={"uri": "s3://b/k"}),
    "expired after a failure": request("Expired", failure={"reason": "SourceUnavailable"}),
    "of a later release": request("SomethingNew"),
    "changed since it failed": {**told(applied(), start, fail), "metadata": {"generation": 9}},
}
VERDICTS = {
    "not seen yet": ("Progressing", "InProgress", "InProgress"),
    "about to start": ("Progressing", "InProgress", "Current"),
    "waiting for its turn": ("Suspended", "InProgress", "Current"),
    "suspended by its owner": ("Suspended", "InProgress", "Current"),
    "suspended while it ran": ("Suspended", "InProgress", "Current"),
    "running": ("Progressing", "InProgress", "Current"),
    "delivered": ("Healthy", "Current", "Current"),
    "delivered in part": ("Healthy", "Current", "Current"),
    "failed": ("Degraded", "Failed", "Current"),
    "rejected": ("Degraded", "Failed", "Failed"),
    "cancelled": ("Healthy", "Failed", "Current"),
    "expired after a delivery": ("Healthy", "Current", "Current"),
    "expired after a failure": ("Healthy", "Failed", "Current"),
    "of a later release": ("Unknown", "InProgress", "Current"),
    "changed since it failed": ("Progressing", "InProgress", "InProgress"),
}
"""Of Argo CD by health.lua, of Flux by healthCheckExprs, and of kstatus, which Helm and Flux go by without those."""


@pytest.mark.parametrize("name", OBJECTS)
def test_a_request_is_seen(name: str) -> None:
    document = OBJECTS[name] | {"apiVersion": API_VERSION, "kind": "ExportRequest"}
    assert (argo(document)[0], flux(document), kstatus(document)) == VERDICTS[name]


def test_argo_cd_shows_the_sentence_of_status() -> None:
    failed = OBJECTS["failed"]
    assert argo(failed)[1] == failed["status"]["message"]
    assert argo(OBJECTS["not seen yet"])[1] == "Waiting for the operator"


def test_a_suspended_request_that_has_not_been_decided_on_holds_no_sync() -> None:
    assert argo(request("Pending") | {"spec": {"suspend": True}}) == ("Suspended", "why")


def test_every_phase_is_among_them() -> None:
    phases = {document["status"].get("phase") for document in OBJECTS.values()}
    assert phases >= TERMINAL_PHASES | {"Pending", "Queued", "Running"}


# Schedules.

SCHEDULE_HEALTH = GITOPS / "schedule-health.lua"


def looked_at(**spec: Any) -> dict[str, Any]:
    """A schedule as the operator leaves it after its first look."""
    world = ScheduleWorld()
    world.apply(**spec)
    Process(world).settle()
    return world.schedule


@pytest.mark.parametrize(
    ("spec", "verdicts"),
    [
        ({}, ("Healthy", "Current")),
        ({"suspend": True}, ("Suspended", "Current")),
        ({"timeZone": "Mars/Olympus"}, ("Degraded", "Failed")),
    ],
    ids=["waits", "suspended", "cannot be read"],
)
def test_a_schedule_is_seen(spec: dict[str, Any], verdicts: tuple[str, str]) -> None:
    document = looked_at(**spec)
    assert (argo(document, SCHEDULE_HEALTH)[0], kstatus(document)) == verdicts
    assert argo(document, SCHEDULE_HEALTH)[1] == document["status"]["message"]


def test_a_schedule_that_was_changed_is_waited_for() -> None:
    document = looked_at()
    changed = {**document, "metadata": document["metadata"] | {"generation": 9}}
    assert (argo(changed, SCHEDULE_HEALTH)[0], kstatus(changed)) == ("Progressing", "InProgress")
