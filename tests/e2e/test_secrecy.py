"""Credentials are in Secrets of the run namespace, and nowhere else."""

import base64
import json

import pytest

from tests.cluster.kubectl import Kubectl
from tests.e2e.conftest import World
from tests.e2e.furniture import DESTINATION, PLANTED, SOURCE
from tests.e2e.team import Team
from tests.platform import catalogue
from tests.platform.api import ApiError
from tests.platform.names import OPERATOR, RUN_NAMESPACE
from tests.platform.waiting import until

pytestmark = pytest.mark.e2e

KINDS = ("ExportRequest", "ExportSource", "ExportDestination", "ExportPolicy", "ExportUsage", "Job", "Pod", "Event")


def test_no_secret_shows_in_any_object_log_or_event(world: World, operator: Kubectl, team: Team) -> None:
    team.ask("fine")
    team.ask("wrong-password", source={"name": "e2e-wrong-password", "dataset": "few"})
    team.ask("wrong-key", destination={"name": "e2e-wrong-key"})
    result = team.succeeded("fine")
    for name in ("wrong-password", "wrong-key"):
        team.until(name, "Failed")
    api = world.platform.api
    texts = {kind: json.dumps(api.items(kind)) for kind in KINDS}
    texts["the operator's log"] = operator.output("logs", "--selector", OPERATOR, "--tail=-1")
    for name in team.asked:
        for pod in team.pods(name):
            texts[f"the log of {name}'s pod"] = api.log(pod["metadata"]["name"], RUN_NAMESPACE, 10_000)
    texts["the manifest"] = world.storage.read(result["manifestURI"]).decode()
    secrets = {
        "the planted password": PLANTED,
        "the source's password": catalogue.read_secret(api, SOURCE, "password"),
        "the destination's key": catalogue.read_secret(api, DESTINATION, "AWS_SECRET_ACCESS_KEY"),
    }
    assert all(len(secret) > 10 for secret in secrets.values())
    shown = [
        f"{what} in {where}"
        for what, secret in secrets.items()
        for where, text in texts.items()
        if secret in text or base64.b64encode(secret.encode()).decode() in text
    ]
    assert shown == []


def test_the_pod_has_no_token_no_root_and_no_writable_root(team: Team) -> None:
    team.ask("bare")
    team.succeeded("bare")
    (pod,) = team.pods("bare")
    spec, (container,) = pod["spec"], pod["spec"]["containers"]
    assert spec["automountServiceAccountToken"] is False
    assert not any("projected" in volume for volume in spec["volumes"])
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize("kind", ["Secret", "Job", "Pod", "ExportUsage"])
def test_a_tenant_sees_nothing_of_the_run_namespace(team: Team, kind: str) -> None:
    with pytest.raises(ApiError) as refusal:
        team.api.items(kind, RUN_NAMESPACE)
    assert refusal.value.status == 403


def test_a_tenant_sees_hosts_and_queries_only_if_the_platform_team_lets_it(world: World, team: Team) -> None:
    api, rbac, name = world.platform.api, "rbac.authorization.k8s.io", f"catalogue-{team.namespace}"
    with pytest.raises(ApiError, match="403"):
        team.api.items("ExportSource")
    binding = {
        "apiVersion": f"{rbac}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": "export-operator-catalogue"},
        "subjects": [{"apiGroup": rbac, "kind": "User", "name": team.user}],
    }
    api.create(binding)
    try:
        found = until("the right to look", lambda: may_look(team), 15)
        assert SOURCE in found
    finally:
        api.delete("ClusterRoleBinding", name)


def may_look(team: Team) -> list[str]:
    """The names of the sources; none while it is forbidden."""
    try:
        return [source["metadata"]["name"] for source in team.api.items("ExportSource")]
    except ApiError:
        return []
