"""Tenants: a namespace, and a person who may edit it and nothing else."""

from pathlib import Path

from tests.cluster import providers
from tests.cluster.kubectl import Kubectl
from tests.platform.api import Api, Json
from tests.platform.names import NAMESPACE
from tests.platform.waiting import until

GROUP = "rbac.authorization.k8s.io"


class UserKubectl(Kubectl):
    """kubectl as a user with groups: the API server checks that user's permissions, and attests that name."""

    def __init__(self, cluster: providers.Cluster, namespace: str, user: str, groups: tuple[str, ...] = ()) -> None:
        super().__init__(cluster, namespace)
        self._who = [f"--as={user}", *(f"--as-group={group}" for group in ("system:authenticated", *groups))]

    def command(self, *args: str | Path) -> list[str | Path]:
        return [*super().command(), *self._who, *args]


def namespace(api: Api, name: str, labels: dict[str, str] | None = None) -> None:
    api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels or {}}})


def let_link(api: Api, where: str) -> None:
    """Let the operator make Secrets with links in a namespace that was made after the installation."""
    account = {"kind": "ServiceAccount", "name": "export-operator", "namespace": NAMESPACE}
    api.apply(_binding(where, "export-operator-downloads", "export-operator-downloads", account))
    operator = api.as_user(f"system:serviceaccount:{NAMESPACE}:export-operator")
    until(f"the right to create Secrets in {where}", lambda: _may_create(operator, where, "", "secrets"), 15)


def let_edit(api: Api, where: str, user: str) -> None:
    """Give `user` the cluster's own role `edit` in a namespace; the chart has added exportrequests to it. Done when the
    API server has heard of it."""
    api.apply(_binding(where, f"edit-{user}", "edit", {"apiGroup": GROUP, "kind": "User", "name": user}))
    asks = ("export-operator.io", "exportrequests")
    until(f"{user} may create exportrequests in {where}", lambda: _may_create(api.as_user(user), where, *asks), 15)


def _binding(where: str, name: str, role: str, subject: Json) -> Json:
    return {
        "apiVersion": f"{GROUP}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": name, "namespace": where},
        "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": role},
        "subjects": [subject],
    }


def _may_create(user: Api, where: str, group: str, resource: str) -> bool:
    attributes = {"namespace": where, "verb": "create", "group": group, "resource": resource}
    review: Json = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    answer = user.call("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review)
    return bool(answer["status"].get("allowed"))
