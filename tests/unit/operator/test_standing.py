"""What the operator says of a policy itself."""

from __future__ import annotations

from typing import Any

import pytest

from export_operator.domain.model import Catalogue, Named
from export_operator.domain.standing import Standing, judge

from .builders import catalogue

pytestmark = pytest.mark.unit

VALID = Standing(True, "Valid", "in force")


def named(name: str = "mine", **spec: Any) -> Named:
    return Named(name, spec)


def judged(policy: Named, *others: Named, known: Catalogue | None = None) -> Standing:
    found = known or catalogue()
    policies = {item.name: item for item in (policy, *others)}
    return judge(policy, Catalogue(found.sources, found.destinations, policies))


def dataset(name: str, *columns: str, source: str = "app-db") -> dict[str, Any]:
    return {"source": source, "dataset": name} | ({"columns": list(columns)} if columns else {})


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"selector": {"groups": ["nobody"]}, "limits": {"calendar": {"timeZone": "Europe/Berlin"}}},
        {
            "allowed": {
                "sources": ["app-db"],
                "datasets": [dataset("users", "id"), dataset("signups")],
                "destinations": ["bucket"],
            },
            "defaults": {"destination": "bucket"},
        },
    ],
)
def test_a_policy_whose_names_are_all_there_is_in_force(spec: dict[str, Any]) -> None:
    assert judged(named(**spec)) == VALID


@pytest.mark.parametrize(
    ("spec", "unknown"),
    [
        ({"allowed": {"sources": ["app-db", "dwh"]}}, "source dwh"),
        ({"allowed": {"datasets": [dataset("users"), dataset("x", source="dwh")]}}, "source dwh"),
        ({"allowed": {"datasets": [dataset("users"), dataset("orders")]}}, "dataset app-db/orders"),
        ({"allowed": {"datasets": [dataset("users", "id", "phone")]}}, "column app-db/users/phone"),
        ({"allowed": {"destinations": ["bucket", "vault"]}}, "destination vault"),
        ({"defaults": {"destination": "vault"}}, "destination vault"),
        (
            {
                "allowed": {"sources": ["app-db", "dwh"], "destinations": ["vault"]},
                "defaults": {"destination": "vault"},
            },
            "source dwh, destination vault",
        ),
    ],
)
def test_what_a_policy_names_and_is_not_there_is_told(spec: dict[str, Any], unknown: str) -> None:
    text = f"in force, but it names what is not there: {unknown}"
    assert judged(named(**spec)) == Standing(True, "NamesUnknown", text)


@pytest.mark.parametrize(
    ("allowed", "unknown"),
    [
        ({"sources": ["dwh", "lake"]}, "source dwh, source lake"),
        ({"datasets": [dataset("orders")]}, "dataset app-db/orders"),
        ({"datasets": [dataset("users", "phone")]}, "column app-db/users/phone"),
        ({"datasets": [dataset("users", source="dwh")]}, "source dwh"),
    ],
)
def test_a_policy_under_which_nobody_can_export_is_not_accepted(allowed: dict[str, Any], unknown: str) -> None:
    text = f"nobody can export under it: nothing that it allows is there. Unknown: {unknown}"
    assert judged(named(allowed=allowed)) == Standing(False, "NothingAllowed", text)


def test_a_time_zone_that_the_operator_does_not_know_is_told() -> None:
    text = "spec.limits.calendar.timeZone: 'Moon/Tranquility' is not known here; days are counted in UTC"
    policy = named(limits={"calendar": {"timeZone": "Moon/Tranquility"}})
    assert judged(policy) == Standing(True, "TimeZoneUnknown", text)


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        ({}, {}),
        ({"selector": {"users": ["alice"]}}, {"selector": {"users": ["bob", "alice"]}}),
        (
            {"selector": {"groups": ["a"], "namespaces": ["x"]}},
            {"selector": {"namespaces": ["x", "y"], "groups": ["a"]}},
        ),
    ],
)
def test_a_policy_that_another_hides_is_not_accepted(mine: dict[str, Any], theirs: dict[str, Any]) -> None:
    text = "it never applies: whom it selects, policy 'first' selects too, and comes first by name"
    assert judged(named(**mine), named("first", **theirs)) == Standing(False, "Shadowed", text)


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        ({"selector": {"users": ["alice"]}}, {}),
        ({}, {"selector": {"users": ["alice"]}}),
        ({"selector": {"users": ["alice", "bob"]}}, {"selector": {"users": ["alice"]}}),
        ({"selector": {"users": ["alice"], "namespaces": ["x"]}}, {"selector": {"users": ["alice"]}}),
    ],
)
def test_a_policy_that_applies_to_somebody_still_is_accepted(mine: dict[str, Any], theirs: dict[str, Any]) -> None:
    assert judged(named(**mine), named("first", **theirs)) == VALID


def test_a_policy_hides_none_that_comes_before_it_by_name() -> None:
    assert judged(named("first"), named("second")) == VALID


def test_a_template_that_names_what_no_event_has_is_told() -> None:
    template = {"title": "${name} is ${state}", "body": "costs $ 5"}
    channel = {"name": "chat", "type": "Apprise", "secretRef": {"name": "chat"}, "template": template}
    text = "in force, but template.title of channel 'chat' names what no event has: state"
    assert judged(named(notifications={"channels": [channel]})) == Standing(True, "TemplateInvalid", text)
    sound = channel | {"template": {"title": "${name}: ${event}"}}
    assert judged(named(notifications={"channels": [sound]})) == VALID
