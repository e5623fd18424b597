"""What a policy allows, what becomes of its change, and what its status tells."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.e2e import guides
from tests.e2e.conftest import MakeTeam, World
from tests.e2e.furniture import DESTINATION, FEW, SOURCE
from tests.e2e.team import Team
from tests.platform import catalogue
from tests.platform.api import Api, Json
from tests.platform.waiting import until

pytestmark = pytest.mark.e2e

MakePolicy = Callable[..., str]


@pytest.fixture
def policy(world: World) -> Iterator[MakePolicy]:
    """Makes a policy for a team's user, or changes it; it goes with the test."""
    made: set[str] = set()

    def apply(team: Team, **spec: Any) -> str:
        name = f"e2e-{team.user}"
        made.add(name)
        given = {"selector": {"users": [team.user]}, "defaults": {"destination": DESTINATION}, **spec}
        world.platform.api.apply(catalogue.named("ExportPolicy", name, given))
        return name

    yield apply
    for name in made:
        world.platform.api.delete("ExportPolicy", name)


def accepted(api: Api, name: str) -> Json | None:
    """The condition of the policy as it is now, once the operator has looked at it."""
    found = api.get("ExportPolicy", name)
    status = found.get("status") or {}
    if status.get("observedGeneration") != found["metadata"]["generation"]:
        return None
    condition: Json = status["conditions"][0]
    return condition


def test_a_policy_opens_some_columns_of_one_dataset_and_nothing_else(teams: MakeTeam, policy: MakePolicy) -> None:
    team = teams()
    datasets = [{"source": SOURCE, "dataset": "few", "columns": ["email", "id", "no_such_column"]}]
    name = policy(team, allowed={"datasets": datasets})

    team.ask("open", source={"name": SOURCE})
    assert team.succeeded("open")["rows"] == FEW
    effective = team.status("open")["effective"]
    chosen = {"policy": name, "policySelectedBy": {"kind": "User", "name": team.user}}
    resolved = {"dataset": "few", "columns": ["id", "email"], "destination": DESTINATION, "priority": "Normal"}
    assert {key: effective[key] for key in (*chosen, *resolved)} == chosen | resolved

    team.ask("column", source={"name": SOURCE, "dataset": "few", "columns": ["id", "country"]})
    team.ask("dataset", dataset="users")
    team.ask("priority", priority="High")
    refused = {name: team.until(name, "Rejected") for name in ("column", "dataset", "priority")}
    assert {name: (status["reason"], status["message"]) for name, status in refused.items()} == {
        "column": (
            "ColumnNotAllowed",
            f"spec.source.columns[1]: policy '{name}' does not allow 'country' of dataset 'few'. Allowed: id, email.",
        ),
        "dataset": (
            "DatasetNotAllowed",
            f"spec.source.dataset: policy '{name}' does not allow 'users' of source '{SOURCE}'. Allowed: few.",
        ),
        "priority": ("LimitExceeded", f"spec.priority: High is more than policy '{name}' allows (Normal)."),
    }

    found = until("the policy was looked at", lambda: accepted(team.admin, name), 30)
    assert (found["status"], found["reason"], found["message"]) == (
        "True",
        "NamesUnknown",
        f"in force, but it names what is not there: column {SOURCE}/few/no_such_column",
    )


def test_a_raised_limit_lets_in_who_waits_and_what_is_used_is_shown(
    teams: MakeTeam, policy: MakePolicy, world: World
) -> None:
    team = teams()
    name = policy(team, limits={"user": {"requests": 1}})
    team.ask("first")
    team.succeeded("first")
    for late in ("second", "third"):
        team.ask(late)
        assert team.until(late, "Queued")["reason"] == "QuotaExceeded"
    used = until("one run and two that wait are shown", lambda: usage(team, name, requests=1, queued=2), 60)
    assert (used["users"][0]["name"], used["namespaces"][0]["name"]) == (team.user, team.namespace)

    policy(team, limits={"user": {"requests": 2}})
    ended = until("one of both has run", lambda: [each for each in ("second", "third") if ran(team, each)], 60)
    assert len(ended) == 1
    until("two runs and one that waits are shown", lambda: usage(team, name, requests=2, running=0, queued=1), 60)

    header, line = world.platform.kubectl.output("get", "exportpolicy", name).splitlines()
    columns = ["NAME", "ACCEPTED", "LIMIT", "USED", "RUNNING", "QUEUED", "AGE"]
    assert (header.split(), line.split()[:-1]) == (columns, [name, "True", "2", "2", "0", "1"])


def test_a_policy_that_goes_leaves_those_who_wait_to_the_next_one(
    teams: MakeTeam, policy: MakePolicy, world: World
) -> None:
    team = teams()
    name = policy(team, limits={"user": {"requests": 1}})
    team.ask("first")
    team.succeeded("first")
    team.ask("second")
    team.until("second", "Queued")
    world.platform.api.delete("ExportPolicy", name)
    team.succeeded("second")
    assert team.status("second")["effective"]["policySelectedBy"] == {"kind": "BuiltIn"}


POLICIES = [
    pytest.param(example, id=name)
    for name, example in guides.examples(guides.GUIDES / "quota.md")
    if example["kind"] == "ExportPolicy"
]
assert POLICIES, "the guide has no policies any more"


@pytest.mark.parametrize("example", POLICIES)
def test_a_policy_of_the_guide_comes_into_force(world: World, example: Json) -> None:
    """With the names of the source and the destination that are here."""
    api, name = world.platform.api, f"0-e2e-{example['metadata']['name']}"  # it sorts first: none for everyone hides it
    spec = json.dumps(example["spec"]).replace('"exports"', f'"{DESTINATION}"').replace('"app-db"', f'"{SOURCE}"')
    try:
        api.apply(catalogue.named("ExportPolicy", name, json.loads(spec)))
        found = until(f"policy {name} was looked at", lambda: accepted(api, name), 30)
    finally:
        api.delete("ExportPolicy", name)
    assert (found["type"], found["status"]) == ("Accepted", "True"), found["message"]


def usage(team: Team, name: str, **counted: int) -> Json | None:
    """`status.usage` as soon as it has these numbers."""
    found: Json = (team.admin.get("ExportPolicy", name).get("status") or {}).get("usage") or {}
    return found if all(found.get(key) == number for key, number in counted.items()) else None


def ran(team: Team, name: str) -> bool:
    return team.status(name).get("phase") == "Succeeded"
