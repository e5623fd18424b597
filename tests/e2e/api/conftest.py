"""A namespace for each test, with tenants in it."""

import secrets
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.cluster import providers
from tests.e2e.api.kubectl import Kubectl, request
from tests.e2e.conftest import World
from tests.platform.waiting import until

TENANT = "export-operator-api-test"
"""A Role that may do everything with requests, their status too: what stops it is not RBAC."""


@pytest.fixture(scope="session")
def admin(world: World) -> Kubectl:
    """The administrator of the cluster, on which this working tree is installed."""
    admin = Kubectl(providers.environment(world.platform.cluster))
    if not world.attests:
        me = admin("auth", "whoami", "-o", "json").json()["status"]["userInfo"]["username"]
        admin = replace(admin, declares=me)
    until("the admission policies are in force", lambda: _in_force(admin), 30)
    return admin


def _in_force(admin: Kubectl) -> bool:
    """Policies take a moment: who asks is stamped, or must say so."""
    if admin.declares:
        return "spec.requester is missing" in replace(admin, declares="").dry_run(request("probe")).error
    stamped = admin.dry_run(request("probe"))
    return stamped.ok and "submittedBy" in stamped.json()["spec"]


@pytest.fixture(scope="session")
def operator_account(admin: Kubectl) -> str:
    """Who may write status here: the policy that is in force says so."""
    policy = admin.get("validatingadmissionpolicy", "guard-status.export-operator.io")
    return str(policy["spec"]["variables"][0]["expression"]).strip("'")


@pytest.fixture
def namespace(admin: Kubectl) -> Iterator[Kubectl]:
    """The administrator in a fresh namespace where alice and bob may do everything with requests."""
    name = f"api-{secrets.token_hex(4)}"
    rbac = "rbac.authorization.k8s.io"
    kinds = ("exportrequests", "scheduledexports", "exportdownloads")
    resources = [each for kind in kinds for each in (kind, f"{kind}/status")]
    role = {"rules": [{"apiGroups": ["export-operator.io"], "resources": resources, "verbs": ["*"]}]}
    binding = {
        "roleRef": {"apiGroup": rbac, "kind": "Role", "name": TENANT},
        "subjects": [{"apiGroup": rbac, "kind": "User", "name": user} for user in ("alice", "bob")],
    }
    metadata = {"name": TENANT, "namespace": name}
    items = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}},
        {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": metadata, **role},
        {"apiVersion": f"{rbac}/v1", "kind": "RoleBinding", "metadata": metadata, **binding},
    ]
    here = replace(admin, namespace=name)
    made = here("create", "-f", "-", stdin={"apiVersion": "v1", "kind": "List", "items": items})
    assert made.ok, made.error
    yield here
    admin("delete", "namespace", name, "--wait=false")


@pytest.fixture
def alice(namespace: Kubectl) -> Kubectl:
    return namespace.as_user("alice", "analysts")


@pytest.fixture
def bob(namespace: Kubectl) -> Kubectl:
    return namespace.as_user("bob")
