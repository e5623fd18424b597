"""Which policy applies, and which windows follow from it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from export_operator.domain.identity import Subject, attested, subject_of
from export_operator.domain.model import Key, Named, Request
from export_operator.domain.policy import BUILT_IN, Defaults, Policy, select, window_limits
from export_operator.domain.quota import WindowLimit

from .builders import limited, request

pytestmark = pytest.mark.unit

DAY = timedelta(days=1)
ROBOT = "system:serviceaccount:ci:exporter"
EVERYONE = Named("everyone", {})
OF_ALICE = Named("of-alice", {"selector": {"users": ["alice"]}})
OF_ANALYSTS = Named("of-analysts", {"selector": {"groups": ["analysts"]}})
OF_TEAM = Named("of-team", {"selector": {"namespaces": ["team-a"]}})


def chosen(*policies: Named, given: Request | None = None) -> str:
    return select({policy.name: policy for policy in policies}, given or request()).name


def by_robot(**changes: Any) -> Request:
    return request(requester={"username": ROBOT}, submittedBy={"username": ROBOT}, **changes)


def test_without_any_policy_the_built_in_one_applies() -> None:
    assert select({}, request()) == Policy(BUILT_IN, {})


@pytest.mark.parametrize(
    ("policies", "expected"),
    [
        ((EVERYONE, OF_TEAM, OF_ANALYSTS, OF_ALICE), "of-alice"),
        ((EVERYONE, OF_TEAM, OF_ANALYSTS), "of-analysts"),
        ((EVERYONE, OF_TEAM), "of-team"),
        ((EVERYONE,), "everyone"),
        ((Named("b", {}), Named("a", {})), "a"),
    ],
)
def test_the_most_specific_policy_applies_and_among_equals_the_first_by_name(
    policies: tuple[Named, ...], expected: str
) -> None:
    assert chosen(*policies) == expected


@pytest.mark.parametrize(
    "selector",
    [
        {"users": ["bob"]},
        {"groups": ["admins"]},
        {"namespaces": ["team-b"]},
        {"users": ["alice"], "namespaces": ["team-b"]},
        {"users": ["bob"], "namespaces": ["team-a"]},
        {"groups": ["analysts"], "users": ["bob"]},
    ],
)
def test_a_policy_applies_only_when_each_of_its_lists_matches(selector: dict[str, Any]) -> None:
    assert chosen(Named("picky", {"selector": selector})) == BUILT_IN


def test_a_policy_whose_lists_all_match_applies() -> None:
    assert chosen(Named("both", {"selector": {"users": ["alice"], "namespaces": ["team-a"]}})) == "both"


def test_groups_of_a_submitter_are_not_those_of_another_requester() -> None:
    delegated = request(submittedBy={"username": ROBOT, "groups": ["analysts"]})
    assert chosen(OF_ANALYSTS, given=delegated) == BUILT_IN


def test_a_person_has_a_window_of_its_own() -> None:
    assert window_limits(limited(), request(), Defaults()) == (
        WindowLimit(Subject("User", "alice"), "User", 5, DAY, BUILT_IN),
    )


def test_a_namespace_limit_is_asked_after_the_users() -> None:
    rules = limited({"limits": {"windowSeconds": 3600, "user": {"requests": 2}, "namespace": {"requests": 9}}})
    hour = timedelta(hours=1)
    assert window_limits(rules, request(), Defaults()) == (
        WindowLimit(Subject("User", "alice"), "User", 2, hour, BUILT_IN),
        WindowLimit(Subject("Namespace", "team-a"), "Namespace", 9, hour, BUILT_IN),
    )


def test_a_user_limit_of_nought_is_a_limit() -> None:
    rules = limited({"limits": {"user": {"requests": 0}}})
    assert [limit.limit for limit in window_limits(rules, request(), Defaults())] == [0]


@pytest.mark.parametrize(
    ("limits", "tightest"),
    [
        ({}, 5),
        ({"namespace": {"requests": 3}}, 3),
        ({"namespace": {"requests": 30}}, 5),
        ({"user": {"requests": 7}, "namespace": {"requests": 30}}, 7),
    ],
)
def test_a_service_account_has_one_window_with_the_tighter_limit(limits: dict[str, Any], tightest: int) -> None:
    assert window_limits(limited({"limits": limits}), by_robot(), Defaults()) == (
        WindowLimit(Subject("Namespace", "team-a"), "Namespace", tightest, DAY, BUILT_IN),
    )


def test_a_service_account_counts_as_the_namespace_of_the_request() -> None:
    assert subject_of(by_robot(key=Key("team-b", "x"))) == Subject("Namespace", "team-b")


def test_a_person_named_by_a_service_account_counts_as_a_person() -> None:
    assert subject_of(request(submittedBy={"username": ROBOT})) == Subject("User", "alice")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"requester": None}, False),
        ({"submittedBy": None}, False),
        ({"requester": {"username": ""}}, False),
    ],
)
def test_a_request_is_attested_when_both_names_are_stamped(changes: dict[str, Any], expected: bool) -> None:
    assert attested(request(**changes)) is expected


@pytest.mark.parametrize(
    ("allowed", "expected"),
    [({}, True), ({"formats": []}, True), ({"formats": ["CSV"]}, True), ({"formats": ["JSON"]}, False)],
)
def test_an_empty_list_allows_all(allowed: dict[str, Any], expected: bool) -> None:
    assert limited({"allowed": allowed}).allows("formats", "CSV") is expected


def test_a_default_of_the_policy_goes_before_the_products() -> None:
    rules = limited({"defaults": {"format": "Parquet"}})
    assert (rules.default("format"), rules.default("compression")) == ("Parquet", "None")
