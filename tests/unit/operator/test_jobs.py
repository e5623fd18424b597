"""The Job of a run, whole, and strictly of the shape that Kubernetes knows."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kubernetes.aio.client import V1Job
from pydantic import ValidationError

from export_contract import names
from export_contract.runspec import RunSpec
from export_operator.domain.jobs import (
    BACKOFF_LIMIT,
    GRACE_SECONDS,
    PodSettings,
    Tracing,
    active_deadline_seconds,
    build_job,
)
from export_operator.domain.model import Catalogue

from .builders import (
    BUCKET_FALLBACK,
    DATABASE_FALLBACK,
    RUN,
    SETTINGS,
    UID,
    USERS,
    catalogue,
    destination,
    limited,
    plan,
    request,
    source,
)

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
PERMANENT = [64, 65, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75, 76, 77, 78, 79, 83, 85, 86, 87]


def secret(variable: str, name: str, key: str) -> dict[str, Any]:
    return {"name": variable, "valueFrom": {"secretKeyRef": {"name": name, "key": key}}}


S3_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")


def files(name: str, secret: str, *keys: str, optional: bool = False) -> dict[str, Any]:
    items = [{"key": key, "path": key} for key in keys]
    content: dict[str, Any] = {"secretName": secret, "items": items, "defaultMode": 0o440}
    return {"name": name, "secret": content | ({"optional": True} if optional else {})}


def manifest() -> dict[str, Any]:
    return build_job(request(), plan(), SETTINGS.pods)


def test_the_job_says_that_the_objects_go_with_the_request() -> None:
    annotations = build_job(request(deletionPolicy="Delete"), plan(), SETTINGS.pods)["metadata"]["annotations"]
    assert annotations["export-operator.io/deletion-policy"] == "Delete"


def test_the_job_is_this_manifest() -> None:
    assert manifest() == {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": f"export-{RUN}",
            "namespace": "export-runs",
            "labels": LABELS,
            "annotations": ANNOTATIONS
            | {"export-operator.io/destination": "bucket", "export-operator.io/submitted-by": "alice"},
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
                                {"name": "EXPORT_LOG_FORMAT", "value": "text"},
                                secret("PGUSER", "app-db", "username"),
                                secret("PGPASSWORD", "app-db", "password"),
                                {"name": "EXPORT_PG_CREDENTIALS_DIR", "value": "/etc/export-runner/source"},
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
                                {"name": "EXPORT_S3_CREDENTIALS_DIR", "value": "/etc/export-runner/destination"},
                            ],
                            "resources": {},
                            "livenessProbe": {
                                "exec": {
                                    "command": [
                                        "python",
                                        "-I",
                                        "-S",
                                        "-c",
                                        (
                                            "import os, sys, time;"
                                            " sys.exit(time.time() - os.stat('/tmp/heartbeat').st_mtime > 120)"
                                        ),
                                    ]
                                },
                                "initialDelaySeconds": 30,
                                "periodSeconds": 30,
                                "timeoutSeconds": 10,
                                "failureThreshold": 3,
                            },
                            "terminationMessagePath": "/dev/termination-log",
                            "terminationMessagePolicy": "FallbackToLogsOnError",
                            "securityContext": {
                                "allowPrivilegeEscalation": False,
                                "readOnlyRootFilesystem": True,
                                "capabilities": {"drop": ["ALL"]},
                            },
                            "volumeMounts": [
                                {"name": "work", "mountPath": "/tmp"},  # noqa: S108
                                {"name": "source", "mountPath": "/etc/export-runner/source", "readOnly": True},
                                {
                                    "name": "destination",
                                    "mountPath": "/etc/export-runner/destination",
                                    "readOnly": True,
                                },
                            ],
                        }
                    ],
                    "volumes": [
                        {"name": "work", "emptyDir": {"sizeLimit": "64Mi"}},
                        files("source", "app-db", "username", "password", optional=True),
                        files("destination", "bucket-keys", *S3_KEYS, optional=True),
                    ],
                },
            },
        },
    }


BATCH_NODES = {"key": "pool", "operator": "Equal", "value": "batch", "effect": "NoSchedule"}
RICH = build_job(
    request(),
    plan(
        known=catalogue(source(sslMode="VerifyFull"), destination(fallback=DATABASE_FALLBACK, caSecret={"name": "ca"})),
        rules=limited(
            {
                "pod": {
                    "resources": {"limits": {"memory": "256Mi"}},
                    "nodeSelector": {"pool": "batch"},
                    "tolerations": [BATCH_NODES],
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
    assert spec["tolerations"] == [*manifest()["spec"]["template"]["spec"]["tolerations"], BATCH_NODES]


def test_a_job_for_kueue_bears_its_queue_and_begins_suspended() -> None:
    found = plan()
    queued_plan = replace(found, offer=replace(found.offer, queue="exports"))
    plain, queued = manifest(), build_job(request(), queued_plan, SETTINGS.pods)
    labels = plain["metadata"]["labels"] | {"kueue.x-k8s.io/queue-name": "exports"}
    assert queued == plain | {
        "metadata": plain["metadata"] | {"labels": labels},
        "spec": plain["spec"] | {"suspend": True},
    }


def test_pull_secrets_of_the_chart_stand_in_the_pod() -> None:
    assert RICH["spec"]["template"]["spec"]["imagePullSecrets"] == [{"name": "pull"}]


def pod_of(known: Catalogue) -> tuple[dict[str, Any], dict[str, Any], dict[str, str]]:
    """A pod's volumes and variables by name, and where each volume is."""
    spec = build_job(request(), plan(known=known), SETTINGS.pods)["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    return (
        {each["name"]: each for each in spec["volumes"]},
        {each["name"]: each for each in container["env"]},
        {each["name"]: each["mountPath"] for each in container["volumeMounts"]},
    )


def test_a_verified_source_has_its_authority_in_a_file() -> None:
    volumes, variables, mounts = pod_of(catalogue(source(sslMode="VerifyFull"), destination()))
    assert (volumes["source"], variables["PGSSLROOTCERT"]["value"], mounts["source"]) == (
        files("source", "app-db", "username", "password", "ca.crt", optional=True),
        "/etc/export-runner/source/ca.crt",
        "/etc/export-runner/source",
    )


def test_a_private_authority_of_the_s3_server_is_in_a_file() -> None:
    volumes, variables, mounts = pod_of(catalogue(source(), destination(caSecret={"name": "s3-ca"})))
    assert (volumes["destination-ca"], variables["AWS_CA_BUNDLE"]["value"], mounts["destination-ca"]) == (
        files("destination-ca", "s3-ca", "ca.crt"),
        "/etc/export-runner/destination-ca/ca.crt",
        "/etc/export-runner/destination-ca",
    )


def test_without_a_secret_the_destination_is_left_to_the_pods_service_account() -> None:
    volumes, variables, mounts = pod_of(catalogue(source(), destination(credentialsSecret=None)))
    assert (set(volumes), set(mounts)) == ({"work", "source"}, {"work", "source"})
    assert not {name for name in variables if name.startswith("AWS_") or "S3" in name}


def test_the_key_of_hashes_is_given_to_runs_that_hash_alone() -> None:
    keyed = {"maskKeySecret": {"name": "mask"}}
    hashing = source(datasets=[{**USERS, "masks": [{"column": "email", "kind": "Hash"}]}], **keyed)
    _, variables, _ = pod_of(catalogue(hashing, destination()))
    assert variables["EXPORT_MASK_KEY"] == secret("EXPORT_MASK_KEY", "mask", "maskKey")
    _, variables, _ = pod_of(catalogue(source(**keyed), destination()))
    assert "EXPORT_MASK_KEY" not in variables


def test_a_second_bucket_has_credentials_of_its_own() -> None:
    _, variables, _ = pod_of(catalogue(source(), destination(fallback=BUCKET_FALLBACK)))
    found = [variables[f"EXPORT_FALLBACK_{key}"]["valueFrom"]["secretKeyRef"] for key in S3_KEYS]
    assert found == [
        {"name": "spare-keys", "key": "AWS_ACCESS_KEY_ID"},
        {"name": "spare-keys", "key": "AWS_SECRET_ACCESS_KEY"},
        {"name": "spare-keys", "key": "AWS_SESSION_TOKEN", "optional": True},
    ]


def test_a_database_as_fallback_has_credentials_and_an_authority_of_its_own() -> None:
    volumes, variables, _ = pod_of(catalogue(source(), destination(fallback=DATABASE_FALLBACK)))
    names = ("EXPORT_FALLBACK_PGUSER", "EXPORT_FALLBACK_PGPASSWORD", "EXPORT_FALLBACK_PGSSLROOTCERT")
    assert ([variables[name] for name in names], volumes["fallback-ca"]) == (
        [
            secret("EXPORT_FALLBACK_PGUSER", "spare-db", "username"),
            secret("EXPORT_FALLBACK_PGPASSWORD", "spare-db", "password"),
            {"name": "EXPORT_FALLBACK_PGSSLROOTCERT", "value": "/etc/export-runner/fallback-ca/ca.crt"},
        ],
        files("fallback-ca", "spare-db", "ca.crt"),
    )


def test_a_fallbacks_time_counts_in_each_attempt() -> None:
    job = build_job(request(), plan(known=catalogue(source(), destination(fallback=BUCKET_FALLBACK))), SETTINGS.pods)
    assert job["spec"]["activeDeadlineSeconds"] == 300 + 4 * (60 + 90 + 30) + 70


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


@given(start=st.integers(1, 86_400), run=st.integers(1, 86_400), fallback=st.integers(0, 3600))
def test_who_uses_up_every_deadline_ends_no_later_than_the_job_does(start: int, run: int, fallback: int) -> None:
    moment = start  # the last in which the first pod may begin to run
    for number in range(BACKOFF_LIMIT + 1):
        moment += run + fallback + GRACE_SECONDS
        moment += 10 * 2**number if number < BACKOFF_LIMIT else 0
    assert moment == active_deadline_seconds(start, run, fallback)


def test_the_total_time_holds_the_start_every_attempt_and_the_back_offs() -> None:
    assert active_deadline_seconds(10, 100) == 10 + 4 * (100 + 30) + 10 + 20 + 40


def test_pods_are_told_the_collector_and_the_trace_and_have_its_headers_from_a_secret() -> None:
    tracing = Tracing({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318/$x"}, headers_secret="collector")
    settings = replace(SETTINGS.pods, tracing=tracing)
    without, traced = (build_job(request(), plan(), each) for each in (SETTINGS.pods, settings))
    before, after = (each["spec"]["template"]["spec"]["containers"][0]["env"] for each in (without, traced))
    spec = json.loads(after[0]["value"])
    assert spec == json.loads(before[0]["value"]) | {"traceparent": names.traceparent(RUN)}
    assert after[1:] == [
        *before[1:],
        {"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "http://collector:4318/$$x"},
        {
            "name": "OTEL_EXPORTER_OTLP_HEADERS",
            "valueFrom": {"secretKeyRef": {"name": "collector", "key": "headers", "optional": True}},
        },
    ]
