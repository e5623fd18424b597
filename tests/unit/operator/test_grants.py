"""An account that may act as others is told of when somebody else can become it."""

from __future__ import annotations

from typing import Any

import pytest

from export_operator.domain.grants import BECOMING, find_exposed

pytestmark = pytest.mark.unit


def rule(group: str, resource: str, verb: str, **more: Any) -> dict[str, Any]:
    return {"apiGroups": [group], "resources": [resource], "verbs": [verb], **more}


def role(name: str, *rules: dict[str, Any], namespace: str = "") -> dict[str, Any]:
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {"kind": "Role" if namespace else "ClusterRole", "metadata": metadata, "rules": list(rules)}


def binding(role: str, *subjects: dict[str, str], namespace: str = "", kind: str = "ClusterRole") -> dict[str, Any]:
    metadata = {"name": role} | ({"namespace": namespace} if namespace else {})
    here = "RoleBinding" if namespace else "ClusterRoleBinding"
    return {"kind": here, "metadata": metadata, "roleRef": {"kind": kind, "name": role}, "subjects": list(subjects)}


def account(namespace: str, name: str = "deployer") -> dict[str, str]:
    return {"kind": "ServiceAccount", "namespace": namespace, "name": name}


def person(name: str) -> dict[str, str]:
    return {"kind": "User", "name": name}


ACT_AS = role("speaks", rule("export-operator.io", "requesters", "act-as", resourceNames=["alice"]))
EDIT = role("edit", rule("", "pods", "create"))
ALL = role("all", rule("*", "*", "*"))
SPEAKS = binding("speaks", account("gitops"), namespace="team-a")


def exposed(*bindings: dict[str, Any]) -> list[str]:
    return find_exposed([ACT_AS, EDIT, ALL, *bindings])


def test_an_account_in_a_namespace_that_others_edit_is_told_of() -> None:
    assert exposed(SPEAKS, binding("edit", person("mallory"), account("ci"), namespace="gitops")) == [
        (
            "account gitops/deployer may act as others, and so can whoever uses it: account ci/deployer, user mallory"
            " may run pods or get tokens in namespace gitops. Move the account to a namespace that no tenant edits."
        )
    ]


def test_an_account_that_may_act_as_others_everywhere_is_told_of_too() -> None:
    mallory = binding("all", person("mallory"), namespace="gitops")
    assert len(exposed(mallory, binding("speaks", account("gitops")))) == 1


@pytest.mark.parametrize(
    "others",
    [
        pytest.param((), id="nobody edits it"),
        pytest.param((binding("edit", person("mallory"), namespace="team-a"),), id="another namespace is edited"),
        pytest.param((binding("edit", account("gitops", "controller"), namespace="gitops"),), id="its own accounts do"),
        pytest.param((binding("gone", person("mallory"), namespace="gitops"),), id="a role that is not there"),
    ],
)
def test_an_account_that_nobody_else_can_become_is_not_told_of(others: tuple[dict[str, Any], ...]) -> None:
    assert exposed(SPEAKS, *others) == []


def test_those_who_may_edit_every_namespace_are_not_tenants() -> None:
    assert exposed(SPEAKS, binding("all", person("root"))) == []


def test_a_wildcard_is_no_right_to_act_as_others() -> None:
    assert exposed(binding("all", account("gitops")), binding("edit", person("mallory"), namespace="gitops")) == []


@pytest.mark.parametrize("power", BECOMING, ids=" ".join)
def test_each_way_to_become_an_account_counts(power: tuple[str, str, str]) -> None:
    ways = role("way", rule(*power), namespace="gitops"), role("way", namespace="team-a")
    taken = binding("way", person("mallory"), namespace="gitops", kind="Role")
    assert len(exposed(*ways, SPEAKS, taken)) == 1
