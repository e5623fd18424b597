"""Tenants: a namespace, and a person who may edit it and nothing else."""

from pathlib import Path

from tests.cluster import providers
from tests.cluster.kubectl import Kubectl
from tests.platform.api import Api, Json
from tests.platform.waiting import until


class UserKubectl(Kubectl):
    """kubectl as a user with groups: the API server checks that user's permissions, and attests that name."""

    def __init__(self, cluster: providers.Cluster, namespace: str, user: str, groups: tuple[str, ...] = ()) -> None:
        super().__init__(cluster, namespace)
        self._who = [f"--as={user}", *(f"--as-group={group}" for group in ("system:authenticated", *groups))]

    def command(self, *args: str | Path) -> list[str | Path]:
        return [*super().command(), *self._who, *args]


def namespace(api: Api, name: str, labels: dict[str, str] | None = None) -> None:
    api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels or {}}})


def let_edit(api: Api, where: str, user: str) -> None:
    """Give `user` the cluster's own role `edit` in a namespace; the chart has added exportrequests to it. Done when the
    API server has heard of it."""
    group = "rbac.authorization.k8s.io"
    binding: Json = {
        "apiVersion": f"{group}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": f"edit-{user}", "namespace": where},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "edit"},
        "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
    }
    api.apply(binding)
    until(f"{user} may create exportrequests in {where}", lambda: _may_ask(api.as_user(user), where), 15)


def _may_ask(user: Api, where: str) -> bool:
    attributes = {"namespace": where, "verb": "create", "group": "export-operator.io", "resource": "exportrequests"}
    review: Json = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    answer = user.call("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review)
    return bool(answer["status"].get("allowed"))
