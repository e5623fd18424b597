"""Suspended runs free their place and go on where they were, or anew, and say which; cancelled ones leave nothing."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.checkpoints import RESUMABLE, checkpoint, until_parts
from tests.e2e.conftest import World
from tests.e2e.furniture import BUCKET, PLENTY, paced
from tests.e2e.team import Team, one_object
from tests.platform import catalogue
from tests.platform.api import Json
from tests.platform.names import RUN_NAMESPACE
from tests.platform.waiting import until
from tests.services import data

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

SECONDS = 120.0


@pytest.fixture(scope="module")
def team(world: World) -> Iterator[Team]:
    made = world.team(PLENTY, label="suspend")
    yield made
    world.leave(made)


def said(team: Team, name: str) -> str:
    """The message of its condition Suspended."""
    conditions = team.status(name).get("conditions") or []
    return next((str(each["message"]) for each in conditions if each["type"] == "Suspended"), "")


def foreseen(team: Team, name: str) -> str:
    """When it may be done; empty while nobody knows."""
    progress = team.status(name).get("progress") or {}
    return str(progress.get("estimatedCompletionTime") or "")


def at_rest(world: World, team: Team, name: str) -> None:
    """Nothing of a suspended run is left but its Job: no pod, no place."""
    until("its pods to go", lambda: not team.pods(name), 60)
    run = team.status(name)["run"]

    def free() -> bool:
        usage = world.platform.api.get("ExportUsage", "slots", RUN_NAMESPACE)
        return run not in [entry["run"] for entry in usage["spec"].get("entries") or []]

    until("its place to be free", free, 30)


def test_a_run_that_keeps_a_checkpoint_goes_on_where_it_was(world: World, team: Team) -> None:
    # For half a minute: progress is read every ten seconds.
    team.ask("kept", source=paced(milliseconds=300), **RESUMABLE)
    until_parts(world, team, "kept", 1, SECONDS)
    until("it to say when it may be done", lambda: foreseen(team, "kept"), 30)
    team.patch("kept", suspend=True)
    at_rest(world, team, "kept")
    until("it to say where it stands", lambda: "to let it go on behind that row" in said(team, "kept"), 30)
    status = team.status("kept")
    assert foreseen(team, "kept") == ""
    rows = checkpoint(world, team, "kept")["mark"]["rows"]
    assert (status["phase"], status["reason"], status["progress"]["checkpointRows"]) == ("Queued", "Suspended", rows)
    assert said(team, "kept").startswith(f"suspended at row {rows};")
    assert len(world.storage.uploads(BUCKET, f"tests/{team.namespace}/kept/")) == 1

    team.patch("kept", suspend=False)
    result = team.succeeded("kept", SECONDS)
    assert said(team, "kept") in {f"it goes on behind row {rows}", f"it went on behind row {rows}"}
    assert (result["rows"], result["resumed"], result["segments"]) == (data.ROWS, 1, 2)
    assert world.database.compare_csv(world.storage.read(result["uri"]), "users", data.COLUMNS).none
    assert len(team.jobs("kept")) == 1
    one_object(world.storage, result)
    reasons = [event["reason"] for event in team.events("kept")]
    assert {"Suspended", "Resumed"} <= set(reasons)


def test_one_of_a_single_snapshot_begins_anew_and_says_so(world: World, team: Team) -> None:
    slow: Json = {"source": {"name": "e2e-db", "dataset": "slow", "parameters": {"rows": "200"}}}
    team.ask("anew", consistency="Snapshot", **slow)
    team.until("anew", "Running")
    team.patch("anew", suspend=True)
    at_rest(world, team, "anew")
    until(
        "it to say what will be", lambda: "begin anew, from the first row: with consistency" in said(team, "anew"), 30
    )
    team.patch("anew", suspend=False)
    result = team.succeeded("anew", SECONDS)
    assert (result["rows"], result["resumed"], result["segments"]) == (200, 0, 1)
    assert said(team, "anew").startswith(("it began anew, from the first row", "it begins anew, from the first row"))


def test_a_cancelled_run_with_a_checkpoint_leaves_nothing_and_comes_back_only_by_a_new_run(
    world: World, team: Team
) -> None:
    team.ask("stop", "paced", **RESUMABLE)
    until_parts(world, team, "stop", 1, SECONDS)
    team.patch("stop", cancel=True)
    status = team.until("stop", "Cancelled", seconds=45)
    folder = f"tests/{team.namespace}/stop/"

    def clean() -> bool:
        return not (world.storage.uploads(BUCKET, folder) or checkpoint(world, team, "stop"))

    until("its upload to be aborted", clean, 60)
    assert world.storage.keys(BUCKET, folder) == []
    team.patch("stop", cancel=False)
    until("it to be seen", lambda: observed(team, "stop"), 30)
    assert without_generation(team.status("stop")) == without_generation(status)
    team.patch("stop", runID="second")
    result = team.succeeded("stop", SECONDS, run_id="second")
    assert (result["rows"], result["resumed"]) == (data.ROWS, 0)
    one_object(world.storage, result)


def observed(team: Team, name: str) -> bool:
    found = team.get(name)
    return bool(found["status"]["observedGeneration"] == found["metadata"]["generation"])


def without_generation(status: Json) -> dict[str, Any]:
    return {name: value for name, value in status.items() if name != "observedGeneration"}


def test_one_that_is_no_longer_allowed_when_it_is_let_go_on_fails_without_a_pod(world: World, team: Team) -> None:
    api, name = world.platform.api, f"e2e-changing-{team.namespace}"
    spec: Json = {"selector": {"users": [team.user]}, "limits": {"windowSeconds": 86_400, "user": {"requests": 10}}}
    api.apply(catalogue.named("ExportPolicy", name, spec))
    try:
        slow: Json = {"source": {"name": "e2e-db", "dataset": "slow", "parameters": {"rows": "400"}}}
        team.ask("barred", **slow)
        team.running_pod("barred")
        team.patch("barred", suspend=True)
        at_rest(world, team, "barred")
        api.apply(catalogue.named("ExportPolicy", name, {**spec, "allowed": {"formats": ["Parquet"]}}))
        until("the policy to be in force", lambda: refused(team), 30)
        team.patch("barred", suspend=False)
        failure = team.until("barred", "Failed")["failure"]
        assert (failure["reason"], failure["class"], failure["retryable"]) == (
            "NoLongerAllowed",
            "Infrastructure",
            False,
        )
        assert team.pods("barred") == []
    finally:
        api.delete("ExportPolicy", name)


def refused(team: Team) -> bool:
    """Whether the operator has seen that CSV is not allowed."""
    name = f"probe-{len(team.asked)}"
    team.ask(name)
    phase = team.ended(name)["phase"]
    return bool(phase == "Rejected")
