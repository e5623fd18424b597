"""The Job of a run, whole, and strictly of the shape that Kubernetes knows."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kubernetes.aio.client import V1Job
from pydantic import ValidationError

from export_contract.runspec import RunSpec
from export_operator.domain.jobs import PodSettings, active_deadline_seconds, build_job

from .builders import RUN, SETTINGS, UID, catalogue, destination, limited, plan, request, source

pytestmark = pytest.mark.unit

LABELS = {
    "app.kubernetes.io/name": "export-runner",
    "app.kubernetes.io/managed-by": "export-operator",
    "export-operator.io/run": RUN,
    "export-operator.io/request-uid": UID,
}
ANNOTATIONS = {
    "export-operator.io/request-namespace": "team-a",
    "export-operator.io/request-name": "users-2026-11",
    "export-operator.io/requester": "alice",
}
PERMANENT = [64, 65, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75, 76, 77, 78, 79, 83, 85]


def secret(variable: str, name: str, key: str) -> dict[str, Any]:
    return {"name": variable, "valueFrom": {"secretKeyRef": {"name": name, "key": key}}}


def manifest() -> dict[str, Any]:
    return build_job(request(), plan(), SETTINGS.pods)


def test_the_job_is_this_manifest() -> None:
    assert manifest() == {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": f"export-{RUN}",
            "namespace": "export-runs",
            "labels": LABELS,
            "annotations": ANNOTATIONS,
        },
        "spec": {
            "backoffLimit": 3,
            "activeDeadlineSeconds": 300 + 4 * (60 + 30) + 70,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {
                "rules": [
                    {
                        "action": "FailJob",
                        "onExitCodes": {"containerName": "exporter", "operator": "In", "values": PERMANENT},
                    },
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                ]
            },
            "template": {
                "metadata": {"labels": LABELS, "annotations": ANNOTATIONS},
                "spec": {
                    "restartPolicy": "Never",
                    "serviceAccountName": "export-runner",
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "terminationGracePeriodSeconds": 30,
                    "securityContext": {
                        "runAsNonRoot": True,
                        "runAsUser": 65532,
                        "runAsGroup": 65532,
                        "fsGroup": 65532,
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "tolerations": [
                        {
                            "key": "node.kubernetes.io/not-ready",
                            "operator": "Exists",
                            "effect": "NoExecute",
                            "tolerationSeconds": 30,
                        },
                        {
                            "key": "node.kubernetes.io/unreachable",
                            "operator": "Exists",
                            "effect": "NoExecute",
                            "tolerationSeconds": 30,
                        },
                    ],
                    "containers": [
                        {
                            "name": "exporter",
                            "image": "registry/exporter:1",
                            "imagePullPolicy": "IfNotPresent",
                            "args": ["run"],
                            "env": [
                                {"name": "EXPORT_RUN_SPEC", "value": plan().run_spec.to_json()},
                                {"name": "EXPORT_TERMINATION_LOG", "value": "/dev/termination-log"},
                                {"name": "EXPORT_HEARTBEAT_FILE", "value": "/tmp/heartbeat"},  # noqa: S108
                                secret("PGUSER", "app-db", "username"),
                                secret("PGPASSWORD", "app-db", "password"),
                                secret("AWS_ACCESS_KEY_ID", "bucket-keys", "AWS_ACCESS_KEY_ID"),
                                secret("AWS_SECRET_ACCESS_KEY", "bucket-keys", "AWS_SECRET_ACCESS_KEY"),
                                {
                                    "name": "AWS_SESSION_TOKEN",
                                    "valueFrom": {
                                        "secretKeyRef": {
                                            "name": "bucket-keys",
                                            "key": "AWS_SESSION_TOKEN",
                                            "optional": True,
                                        }
                                    },
                                },
                            ],
                            "resources": {},
                            "terminationMessagePath": "/dev/termination-log",
                            "terminationMessagePolicy": "FallbackToLogsOnError",
                            "securityContext": {
                                "allowPrivilegeEscalation": False,
                                "readOnlyRootFilesystem": True,
                                "capabilities": {"drop": ["ALL"]},
                            },
                            "volumeMounts": [{"name": "work", "mountPath": "/tmp"}],  # noqa: S108
                        }
                    ],
                    "volumes": [{"name": "work", "emptyDir": {"sizeLimit": "64Mi"}}],
                },
            },
        },
    }


RICH = build_job(
    request(),
    plan(
        known=catalogue(source(sslMode="VerifyFull"), destination()),
        rules=limited(
            {
                "pod": {
                    "resources": {"limits": {"memory": "256Mi"}},
                    "nodeSelector": {"pool": "batch"},
                    "priorityClassName": "low",
                }
            }
        ),
    ),
    PodSettings(namespace="export-runs", image="registry/exporter:1", image_pull_secrets=("pull",)),
)


@pytest.mark.parametrize("given_manifest", [manifest(), RICH], ids=["plain", "with everything"])
def test_kubernetes_own_model_takes_the_manifest_and_gives_it_back(given_manifest: dict[str, Any]) -> None:
    model = V1Job.model_validate(given_manifest)
    assert json.loads(model.model_dump_json(by_alias=True, exclude_none=True)) == given_manifest


def test_kubernetes_own_model_refuses_a_misspelt_field() -> None:
    misspelt = manifest()
    misspelt["spec"]["template"]["spec"]["enableServiceLink"] = False
    with pytest.raises(ValidationError, match="enableServiceLink"):
        V1Job.model_validate(misspelt)


def test_a_policy_chooses_resources_nodes_and_priority() -> None:
    spec = RICH["spec"]["template"]["spec"]
    assert (spec["containers"][0]["resources"], spec["nodeSelector"], spec["priorityClassName"]) == (
        {"limits": {"memory": "256Mi"}},
        {"pool": "batch"},
        "low",
    )


def test_pull_secrets_of_the_chart_stand_in_the_pod() -> None:
    assert RICH["spec"]["template"]["spec"]["imagePullSecrets"] == [{"name": "pull"}]


def test_a_verified_source_has_its_authority_in_a_file() -> None:
    spec = RICH["spec"]["template"]["spec"]
    assert (
        spec["volumes"][1:],
        spec["containers"][0]["volumeMounts"][1:],
        [item for item in spec["containers"][0]["env"] if item["name"] == "PGSSLROOTCERT"],
    ) == (
        [
            {
                "name": "source-ca",
                "secret": {"secretName": "app-db", "items": [{"key": "ca.crt", "path": "ca.crt"}]},
            }
        ],
        [{"name": "source-ca", "mountPath": "/etc/export-runner/source", "readOnly": True}],
        [{"name": "PGSSLROOTCERT", "value": "/etc/export-runner/source/ca.crt"}],
    )


def expanded(text: str, variables: dict[str, str]) -> str:
    """What the kubelet makes of a value (`third_party/forked/golang/expansion` of Kubernetes)."""
    out, index = "", 0
    while index < len(text):
        character = text[index]
        if character != "$" or index + 1 == len(text):
            out += character
            index += 1
        elif text[index + 1] == "$":
            out += "$"
            index += 2
        elif text[index + 1] == "(" and ")" in text[index:]:
            end = text.index(")", index)
            name = text[index + 2 : end]
            out += variables.get(name, f"$({name})")
            index = end + 1
        else:
            out += text[index : index + 2]
            index += 2
    return out


def spec_value(parameter: str) -> str:
    dataset = {
        "name": "signups",
        "query": "SELECT {note}",
        "columns": ["id"],
        "parameters": [{"name": "note", "type": "text"}],
    }
    wanted = request(source={"name": "app-db", "parameters": {"note": parameter}})
    job = build_job(wanted, plan(wanted, catalogue(source(datasets=[dataset]), destination())), SETTINGS.pods)
    value: str = job["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"]
    return value


@given(st.text(alphabet='$()PGASWORDa \\"é', max_size=40) | st.just("$(PGPASSWORD)"))
def test_a_parameter_reaches_the_pod_as_the_tenant_wrote_it(parameter: str) -> None:
    read = RunSpec.from_json(expanded(spec_value(parameter), {"PGPASSWORD": "planted", "A": "planted"}))
    assert read.source.parameters[0].value == parameter


def test_the_total_time_holds_the_start_every_attempt_and_the_back_offs() -> None:
    assert active_deadline_seconds(10, 100) == 10 + 4 * (100 + 30) + 10 + 20 + 40
