"""The chart's pods as a platform team's reviewer looks at them: what they may do, where they run, what reaches them."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from export_operator.domain import undo_job
from export_operator.domain.jobs import build_job
from tests.unit.operator.builders import SETTINGS, plan, request

from .chart import HISTORY, ROOT, documents, rendered

pytestmark = pytest.mark.unit


def test_each_pod_runs_as_the_restricted_standard_asks_within_bounds_and_with_a_token_only_where_it_calls() -> None:
    found = {
        each["metadata"]["name"]: each["spec"] if each["kind"] == "Pod" else each["spec"]["template"]["spec"]
        for each in rendered(**HISTORY, history__migration__credentialsSecret__name="history-owner")
        if each["kind"] in {"Deployment", "Job", "Pod"}
    }
    assert {name: pod["automountServiceAccountToken"] for name, pod in found.items()} == {
        "export-operator": True,
        "export-operator-check": True,
        "export-operator-history": False,
    }
    for pod in found.values():
        assert pod["securityContext"].items() >= {"runAsNonRoot": True, "runAsUser": 65532}.items()
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        (container,) = pod["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {*container["resources"]["requests"], *container["resources"]["limits"]} == {"cpu", "memory"}


def policies(found: list[dict[str, Any]]) -> dict[str, Any]:
    """The NetworkPolicies of a rendering: each one's spec without its selector, by namespace and name."""
    return {
        f"{each['metadata']['namespace']}/{each['metadata']['name']}": {
            name: value for name, value in each["spec"].items() if name != "podSelector"
        }
        for each in found
        if each["kind"] == "NetworkPolicy"
    }


PORT = {"port": "http", "protocol": "TCP"}


def test_nobody_reaches_an_export_pod_and_the_operator_is_reached_by_its_port_alone() -> None:
    assert policies(rendered()) == {
        "export-runs/export-runner": {"policyTypes": ["Ingress"]},
        "exports/export-operator": {"policyTypes": ["Ingress"], "ingress": [{"ports": [PORT]}]},
    }
    assert policies(rendered(networkPolicy__enabled="false")) == {}


def test_what_pods_may_reach_is_what_the_platform_team_says_as_in_the_guide(tmp_path: Path) -> None:
    guide = (ROOT / "docs" / "guide" / "platform.md").read_text()
    (example,) = re.findall(r"^```yaml\n(networkPolicy:.*?)^```", guide, flags=re.DOTALL | re.MULTILINE)
    (tmp_path / "values.yaml").write_text(example)
    given = yaml.safe_load(example)["networkPolicy"]
    assert policies(rendered("--values", tmp_path / "values.yaml")) == {
        "export-runs/export-runner": {"policyTypes": ["Ingress", "Egress"], "egress": given["runnerEgress"]},
        "exports/export-operator": {
            "policyTypes": ["Ingress"],
            "ingress": [{"ports": [PORT], "from": given["metricsFrom"]}],
        },
    }


def test_every_pod_that_exports_undoes_or_redelivers_is_one_that_the_network_policy_selects() -> None:
    (policy,) = (
        each for each in rendered() if each["kind"] == "NetworkPolicy" and each["metadata"]["name"] == "export-runner"
    )
    wanted = policy["spec"]["podSelector"]["matchLabels"].items()
    job = build_job(request(), plan(), SETTINGS.pods)
    jobs = [job, undo_job.build(job | {"metadata": job["metadata"] | {"uid": "1"}}, SETTINGS.pods, objects=False)]
    (redeliver,) = documents(ROOT / "manifests" / "samples" / "redeliver.yaml")
    jobs.append(redeliver["spec"]["jobTemplate"])  # type: ignore[index]
    for each in jobs:
        assert each["spec"]["template"]["metadata"]["labels"].items() >= wanted


def test_pods_that_are_not_ready_hold_up_nobody_who_drains_a_node() -> None:
    (budget,) = (each for each in rendered() if each["kind"] == "PodDisruptionBudget")
    del budget["spec"]["selector"]
    assert budget["spec"] == {"maxUnavailable": 1, "unhealthyPodEvictionPolicy": "AlwaysAllow"}
    assert "PodDisruptionBudget" not in {each["kind"] for each in rendered(replicas="1")}


def test_operator_pods_prefer_different_nodes_and_then_different_zones() -> None:
    (operator,) = (each for each in rendered() if each["kind"] == "Deployment")
    labels = operator["spec"]["selector"]
    assert operator["spec"]["template"]["spec"]["affinity"]["podAntiAffinity"] == {
        "preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": weight, "podAffinityTerm": {"topologyKey": key, "labelSelector": labels}}
            for key, weight in (("kubernetes.io/hostname", 100), ("topology.kubernetes.io/zone", 50))
        ]
    }
