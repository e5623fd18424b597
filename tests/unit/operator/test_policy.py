"""Which policy applies, and which windows follow from it."""

from __future__ import annotations

from datetime import timedelta
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given as generated
from hypothesis import strategies as st

from export_operator.domain.identity import Subject, attested, subject_of
from export_operator.domain.model import Key, Named, Request
from export_operator.domain.policy import BUILT_IN, Defaults, Policy, SelectedBy, select, window_limits
from export_operator.domain.quota import WindowLimit
from export_operator.domain.windows import CalendarDay, Sliding

from .builders import limited, request

pytestmark = pytest.mark.unit

DAY = Sliding(timedelta(days=1))
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


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        (OF_ALICE, SelectedBy("User", "alice")),
        (Named("p", {"selector": {"groups": ["staff", "analysts"]}}), SelectedBy("Group", "analysts")),
        (OF_TEAM, SelectedBy("Namespace", "team-a")),
        (Named("p", {"selector": {"users": ["alice"], "namespaces": ["team-a"]}}), SelectedBy("User", "alice")),
        (Named("p", {"selector": {"groups": ["analysts"], "namespaces": ["team-a"]}}), SelectedBy("Group", "analysts")),
        (EVERYONE, SelectedBy("Everyone")),
        (Named("p", {"selector": {"users": []}}), SelectedBy("Everyone")),
    ],
)
def test_a_policy_tells_why_it_applies(policy: Named, reason: SelectedBy) -> None:
    assert select({policy.name: policy}, request()) == Policy(policy.name, policy.spec, reason)


def test_among_policies_that_name_the_user_the_one_that_says_more_applies() -> None:
    there = Named("z", {"selector": {"users": ["alice"], "namespaces": ["team-a"]}})
    in_group = Named("y", {"selector": {"users": ["alice"], "groups": ["analysts"]}})
    assert chosen(OF_ALICE, there) == "z"
    assert chosen(OF_ALICE, there, in_group) == "y"


USERS, GROUPS, NAMESPACES = ("alice", "bob", ROBOT), ("analysts", "staff"), ("team-a", "team-b")


def some(names: tuple[str, ...]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(names), unique=True, max_size=2)


def selector() -> st.SearchStrategy[dict[str, list[str]]]:
    return st.fixed_dictionaries({"users": some(USERS), "groups": some(GROUPS), "namespaces": some(NAMESPACES)})


def named_policies() -> st.SearchStrategy[list[Named]]:
    selectors = st.dictionaries(st.sampled_from("abcdefgh"), selector(), max_size=8)
    return selectors.map(lambda found: [Named(name, {"selector": given}) for name, given in found.items()])


@st.composite
def asked(draw: st.DrawFn) -> Request:
    requester = draw(st.sampled_from(USERS))
    submitter = draw(st.sampled_from((requester, ROBOT)))
    return request(
        key=Key(draw(st.sampled_from(NAMESPACES)), "x"),
        requester={"username": requester},
        submittedBy={"username": submitter, "groups": draw(some(GROUPS))},
    )


def matches(policy: Named, given: Request) -> bool:
    """The rule, told another way."""
    lists = policy.spec["selector"]
    own = given.spec["submittedBy"]["groups"] if given.requester == given.submitter else []
    return (
        (not lists["users"] or given.requester in lists["users"])
        and (not lists["groups"] or any(group in lists["groups"] for group in own))
        and (not lists["namespaces"] or given.key.namespace in lists["namespaces"])
    )


@generated(named_policies(), asked(), st.randoms(use_true_random=False))
def test_the_choice_is_the_first_of_one_total_order_in_whatever_order_policies_come(
    policies: list[Named], wanted: Request, random: Random
) -> None:
    ordered = sorted(
        (policy for policy in policies if matches(policy, wanted)),
        key=lambda policy: (
            [not policy.spec["selector"][kind] for kind in ("users", "groups", "namespaces")],
            policy.name,
        ),
    )
    random.shuffle(policies)
    assert chosen(*policies, given=wanted) == (ordered[0].name if ordered else BUILT_IN)


@generated(named_policies(), asked())
def test_a_policy_that_is_not_chosen_changes_nothing_by_leaving(policies: list[Named], wanted: Request) -> None:
    choice = chosen(*policies, given=wanted)
    for leaving in policies:
        if leaving.name != choice:
            assert chosen(*(policy for policy in policies if policy is not leaving), given=wanted) == choice


@generated(named_policies(), asked())
def test_no_policy_with_groups_is_chosen_for_what_somebody_else_submitted(
    policies: list[Named], wanted: Request
) -> None:
    choice = select({policy.name: policy for policy in policies}, wanted)
    if wanted.requester != wanted.submitter:
        assert not (choice.spec.get("selector") or {}).get("groups")


def test_groups_of_a_submitter_are_not_those_of_another_requester() -> None:
    delegated = request(submittedBy={"username": ROBOT, "groups": ["analysts"]})
    assert chosen(OF_ANALYSTS, given=delegated) == BUILT_IN


def test_a_person_has_a_window_of_its_own() -> None:
    assert window_limits(limited(), request(), Defaults()) == (
        WindowLimit(Subject("User", "alice"), "User", DAY, BUILT_IN, 5),
    )


def test_a_user_limit_of_nought_is_a_limit() -> None:
    rules = limited({"limits": {"user": {"requests": 0}}})
    assert [limit.requests for limit in window_limits(rules, request(), Defaults())] == [0]


def test_every_scope_has_its_window_in_the_order_of_user_namespace_policy_and_cluster() -> None:
    limits = {
        "windowSeconds": 3600,
        "user": {"requests": 1, "rows": 2, "bytes": 3, "maxConcurrent": 99},
        "namespace": {"rows": 5},
        "all": {"bytes": 6},
    }
    defaults = Defaults(cluster={"requests": 7, "bytes": 8})
    hour = Sliding(timedelta(hours=1))
    assert window_limits(Policy("mine", {"limits": limits}), request(), defaults) == (
        WindowLimit(Subject("User", "alice"), "User", hour, "mine", requests=1, rows=2, bytes=3),
        WindowLimit(Subject("Namespace", "team-a"), "Namespace", hour, "mine", rows=5),
        WindowLimit(Subject("Policy", "mine"), "Policy", hour, "mine", bytes=6),
        WindowLimit(Subject("Cluster", "all"), "Cluster", DAY, BUILT_IN, requests=7, bytes=8),
    )


def test_a_scope_without_amounts_has_no_window() -> None:
    rules = limited({"limits": {"namespace": {"maxConcurrent": 1}, "all": {"maxQueued": 1}}})
    assert [limit.scope for limit in window_limits(rules, request(), Defaults())] == ["User"]


@pytest.mark.parametrize(
    ("calendar", "window"),
    [
        ({"timeZone": "Europe/Berlin"}, CalendarDay(ZoneInfo("Europe/Berlin"))),
        ({"timeZone": "Moon/Tranquility"}, CalendarDay(ZoneInfo("UTC"))),
    ],
)
def test_a_calendar_day_takes_the_place_of_the_sliding_window(calendar: dict[str, str], window: CalendarDay) -> None:
    rules = limited({"limits": {"calendar": calendar}})
    assert [limit.window for limit in window_limits(rules, request(), Defaults())] == [window]


@pytest.mark.parametrize(
    ("limits", "tightest"),
    [
        ({}, {"requests": 5}),
        ({"namespace": {"requests": 3}}, {"requests": 3}),
        ({"namespace": {"requests": 30}}, {"requests": 5}),
        ({"user": {"requests": 7}, "namespace": {"requests": 30}}, {"requests": 7}),
        ({"user": {"rows": 7}, "namespace": {"rows": 3, "bytes": 9}}, {"requests": 5, "rows": 3, "bytes": 9}),
    ],
)
def test_a_service_account_has_one_window_with_the_tighter_limits(
    limits: dict[str, Any], tightest: dict[str, int]
) -> None:
    assert window_limits(limited({"limits": limits}), by_robot(), Defaults()) == (
        WindowLimit(Subject("Namespace", "team-a"), "Namespace", DAY, BUILT_IN, **tightest),
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
