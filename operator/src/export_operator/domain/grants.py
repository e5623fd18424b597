"""Who may speak for others, read off RBAC, and who could do so through them.

An account is as safe as its namespace: whoever may start a pod there, run a command in one, or ask for the account's
token, is the account. So an account with the verb act-as belongs where no tenant may do any of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from export_operator.domain.identity import ACT_AS
from export_operator.domain.model import GROUP

Object = Mapping[str, Any]

BECOMING = (
    ("", "pods", "create"),
    ("", "pods/exec", "create"),
    ("", "serviceaccounts/token", "create"),
    ("", "serviceaccounts", "impersonate"),
    ("apps", "deployments", "create"),
    ("apps", "statefulsets", "create"),
    ("apps", "daemonsets", "create"),
    ("batch", "jobs", "create"),
    ("batch", "cronjobs", "create"),
)
"""What makes one an account of a namespace: group, resource, verb."""


def find_exposed(objects: Iterable[Object]) -> list[str]:
    """A sentence for each account that may act as somebody and that others can become. `objects` are all Roles,
    ClusterRoles and their bindings. Those who may become it by a ClusterRoleBinding may become any account: they are
    the platform's own people, and are not named."""
    found = tuple(objects)
    rules = _Rules(each for each in found if each["kind"] in {"Role", "ClusterRole"})
    local = [each for each in found if each["kind"] == "RoleBinding"]
    speakers = sorted(
        {
            (subject["namespace"], subject["name"])
            for binding in found
            if binding["kind"] in {"RoleBinding", "ClusterRoleBinding"}
            and rules.grant(binding, GROUP, "requesters", ACT_AS, wildcards=False)
            for subject in binding.get("subjects") or ()
            if subject["kind"] == "ServiceAccount" and subject.get("namespace")
        }
    )
    told = []
    for namespace, name in speakers:
        others = sorted(
            {
                _name(subject)
                for binding in local
                if binding["metadata"]["namespace"] == namespace
                and any(rules.grant(binding, *power, wildcards=True) for power in BECOMING)
                for subject in binding.get("subjects") or ()
                if not (subject["kind"] == "ServiceAccount" and subject.get("namespace") == namespace)
            }
        )
        if others:
            told.append(
                f"account {namespace}/{name} may act as others, and so can whoever uses it: {', '.join(others)} may run"
                f" pods or get tokens in namespace {namespace}. Move the account to a namespace that no tenant edits."
            )
    return told


class _Rules:
    """The rules that a binding gives."""

    def __init__(self, roles: Iterable[Object]) -> None:
        self._rules = {
            (role["metadata"].get("namespace", ""), role["metadata"]["name"]): role.get("rules") or () for role in roles
        }

    def grant(self, binding: Object, group: str, resource: str, verb: str, *, wildcards: bool) -> bool:
        """Whether the binding gives the verb; with `wildcards` a `*` counts as each verb."""
        return any(
            _has(rule.get("apiGroups"), group)
            and _has(rule.get("resources"), resource)
            and (verb in (rule.get("verbs") or ()) or (wildcards and "*" in (rule.get("verbs") or ())))
            for rule in self._of(binding)
        )

    def _of(self, binding: Object) -> Iterator[Object]:
        role = binding["roleRef"]
        namespace = binding["metadata"].get("namespace", "") if role["kind"] == "Role" else ""
        yield from self._rules.get((namespace, role["name"]), ())


def _has(given: Iterable[str] | None, wanted: str) -> bool:
    return bool({"*", wanted} & set(given or ()))


def _name(subject: Object) -> str:
    if subject["kind"] == "ServiceAccount":
        return f"account {subject.get('namespace', '')}/{subject['name']}"
    return f"{str(subject['kind']).lower()} {subject['name']}"
