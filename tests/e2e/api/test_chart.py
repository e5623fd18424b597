"""One install a cluster: Helm refuses a second release before it changes anything."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.cluster import tools
from tests.e2e.api.kubectl import Answer, Kubectl, run

pytestmark = pytest.mark.e2e

CHART = Path(__file__).resolve().parents[3] / "charts" / "export-operator"
ROLE = "export-operator"


@pytest.fixture
def installed(admin: Kubectl) -> Iterator[tuple[str, str]]:
    """Name and namespace of the release that is installed; if none is, what one leaves for others to see."""
    made = not admin("get", "clusterrole", ROLE).ok
    if made:
        annotations = {"meta.helm.sh/release-name": "first", "meta.helm.sh/release-namespace": "platform"}
        role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "rules": []}
        assert admin("create", "-f", "-", stdin={**role, "metadata": {"name": ROLE, "annotations": annotations}}).ok
    found = admin.get("clusterrole", ROLE)["metadata"].get("annotations", {})
    if "meta.helm.sh/release-name" not in found:
        pytest.skip("the cluster's installation was not made by Helm")
    yield found["meta.helm.sh/release-name"], found["meta.helm.sh/release-namespace"]
    if made:
        admin("delete", "clusterrole", ROLE)


def helm(admin: Kubectl, *args: str) -> Answer:
    return run([str(tools.path("helm")), *args], admin.environment)


def test_a_second_release_is_refused_and_told_what_to_do(admin: Kubectl, installed: tuple[str, str]) -> None:
    name, namespace = installed
    for options in ([], ["--take-ownership"]):
        answer = helm(admin, "install", "second", str(CHART), "-n", "elsewhere", "--dry-run=server", *options)
        assert not answer.ok
        assert (
            f'export-operator is already installed in this cluster, by release "{name}" in namespace "{namespace}"; '
            f"there can be one install a cluster. Upgrade that one (helm upgrade {name} -n {namespace} ...), or "
            "uninstall it first"
        ) in answer.error


def test_the_run_namespace_is_not_the_operators(admin: Kubectl) -> None:
    answer = helm(admin, "template", "one", str(CHART), "-n", "same", "--set", "runNamespace.name=same")
    assert "runNamespace.name must not be the release's namespace" in answer.error


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("maxConcurentRuns=3", "additional properties 'maxConcurentRuns' not allowed"),
        ("runner.image.pullPolicy=Sometimes", "value must be one of 'Always', 'IfNotPresent', 'Never'"),
        ("quota.requestsPerUser=many", "got string, want integer"),
    ],
)
def test_a_value_that_the_chart_does_not_know_is_refused(admin: Kubectl, setting: str, message: str) -> None:
    answer = helm(admin, "template", "one", str(CHART), "-n", "other", "--set", setting)
    assert message in answer.error


def test_an_annotation_makes_the_account_of_export_pods_a_web_identity(admin: Kubectl) -> None:
    role = "eks.amazonaws.com/role-arn", "arn:aws:iam::123456789012:role/exports"
    values = json.dumps({"runner": {"serviceAccount": {"annotations": dict([role])}}})
    command = [str(tools.path("helm")), "template", "one", str(CHART), "-n", "other", "--values", "-"]
    rendered = yaml.safe_load_all(run(command, admin.environment, values).out)
    accounts = [each for each in rendered if each and each["kind"] == "ServiceAccount"]
    assert {each["metadata"]["name"]: each["metadata"].get("annotations") for each in accounts} == {
        "export-operator": None,
        "export-runner": {"helm.sh/resource-policy": "keep", **dict([role])},
    }


@pytest.mark.parametrize(("enabled", "verbs"), [("false", []), ("true", [["get", "list", "watch", "patch"]])])
def test_workloads_of_kueue_are_touched_only_where_kueue_is_asked_for(
    admin: Kubectl, enabled: str, verbs: list[list[str]]
) -> None:
    answer = helm(admin, "template", "one", str(CHART), "-n", "other", "--set", f"kueue.enabled={enabled}")
    rendered = [each for each in yaml.safe_load_all(answer.out) if each]
    granted = [
        (each["kind"], each["metadata"].get("namespace"), rule["verbs"])
        for each in rendered
        for rule in each.get("rules") or []
        if "kueue.x-k8s.io" in rule["apiGroups"]
    ]
    (operator,) = [each for each in rendered if each["kind"] == "Deployment"]
    told = [
        each["value"]
        for each in operator["spec"]["template"]["spec"]["containers"][0]["env"]
        if "KUEUE" in each["name"]
    ]
    assert (granted, told) == ([("Role", "export-runs", each) for each in verbs], ["true"] * len(verbs))


@pytest.mark.parametrize(
    ("setting", "bound"),
    [
        ("downloads.allNamespaces=false", []),
        ("downloads.namespaces={team-a,team-b}", [("RoleBinding", "team-a"), ("RoleBinding", "team-b")]),
        ("downloads.allNamespaces=true", [("ClusterRoleBinding", None)]),
    ],
)
def test_secrets_with_links_may_be_made_where_the_platform_team_says(
    admin: Kubectl, setting: str, bound: list[tuple[str, str | None]]
) -> None:
    answer = helm(admin, "template", "one", str(CHART), "-n", "other", "--set", setting)
    assert [
        (each["kind"], each["metadata"].get("namespace"))
        for each in yaml.safe_load_all(answer.out)
        if each and each.get("roleRef", {}).get("name") == "export-operator-downloads"
    ] == bound
