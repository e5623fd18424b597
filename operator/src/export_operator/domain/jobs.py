"""The Job of a run: one pure builder, whole manifest out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from export_contract import environment, failures, names
from export_operator.domain import model
from export_operator.domain.model import Request
from export_operator.domain.plan import Plan

BACKOFF_LIMIT = 3
BACKOFF_SECONDS = 10 + 20 + 40  # what the Job controller waits before pods 2, 3 and 4; it cannot be set
GRACE_SECONDS = 30  # time to abort an upload and say so, after SIGTERM
NODE_LOST_SECONDS = 30  # how long a pod stays bound to a node that does not answer
CA_FOLDER = "/etc/export-runner/source"
WORK_FOLDER = "/tmp"  # noqa: S108 - the pod's own emptyDir
CONTAINER = "exporter"


@dataclass(frozen=True, slots=True)
class PodSettings:
    """What the chart says of export pods. `resources` is used where a policy gives none."""

    namespace: str
    image: str
    image_pull_policy: str = "IfNotPresent"
    image_pull_secrets: tuple[str, ...] = ()
    service_account: str = "export-runner"
    resources: Mapping[str, Any] = field(default_factory=dict)


def active_deadline_seconds(start_deadline: int, run_deadline: int) -> int:
    """How long the Job may live in all: it counts pending time, every attempt with its grace, and the back-offs."""
    return start_deadline + (BACKOFF_LIMIT + 1) * (run_deadline + GRACE_SECONDS) + BACKOFF_SECONDS


def build_job(request: Request, plan: Plan, settings: PodSettings) -> dict[str, Any]:
    """The Job manifest of the plan's run. It holds no secret: credentials come from Secrets by name."""
    run = plan.run_spec.run
    labels = {
        "app.kubernetes.io/name": "export-runner",
        model.LABEL_MANAGED_BY: model.MANAGED_BY,
        model.LABEL_RUN: run.id,
        model.LABEL_REQUEST_UID: request.uid,
    }
    annotations = {
        model.ANNOTATION_NAMESPACE: request.key.namespace,
        model.ANNOTATION_NAME: request.key.name,
        model.ANNOTATION_REQUESTER: request.requester,
    }
    effective = plan.effective
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": names.job_name(run.id),
            "namespace": settings.namespace,
            "labels": labels,
            "annotations": annotations,
        },
        "spec": {
            "backoffLimit": BACKOFF_LIMIT,
            "activeDeadlineSeconds": active_deadline_seconds(
                effective.start_deadline_seconds, effective.run_deadline_seconds
            ),
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {
                "rules": [
                    {
                        "action": "FailJob",
                        "onExitCodes": {
                            "containerName": CONTAINER,
                            "operator": "In",
                            "values": list(failures.PERMANENT_EXIT_CODES),
                        },
                    },
                    {
                        "action": "Ignore",
                        "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
                    },
                ]
            },
            "template": {
                "metadata": {"labels": labels, "annotations": annotations},
                "spec": _pod_spec(plan, settings),
            },
        },
    }


def _pod_spec(plan: Plan, settings: PodSettings) -> dict[str, Any]:
    verify = plan.run_spec.source.ssl_mode in {"VerifyCA", "VerifyFull"}
    volumes: list[dict[str, Any]] = [{"name": "work", "emptyDir": {"sizeLimit": "64Mi"}}]
    mounts: list[dict[str, Any]] = [{"name": "work", "mountPath": WORK_FOLDER}]
    if verify:
        items = [{"key": "ca.crt", "path": "ca.crt"}]
        volumes.append({"name": "source-ca", "secret": {"secretName": plan.source_secret, "items": items}})
        mounts.append({"name": "source-ca", "mountPath": CA_FOLDER, "readOnly": True})
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "serviceAccountName": settings.service_account,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "runAsGroup": 65532,
            "fsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "tolerations": [
            {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": NODE_LOST_SECONDS}
            for key in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
        ],
        "containers": [
            {
                "name": CONTAINER,
                "image": settings.image,
                "imagePullPolicy": settings.image_pull_policy,
                "args": ["run"],
                "env": _environment(plan, verify=verify),
                "resources": dict(plan.pod.get("resources") or settings.resources),
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "FallbackToLogsOnError",
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                "volumeMounts": mounts,
            }
        ],
        "volumes": volumes,
    }
    if settings.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in settings.image_pull_secrets]
    for field_name in ("nodeSelector", "priorityClassName"):
        if plan.pod.get(field_name):
            spec[field_name] = plan.pod[field_name]
    return spec


def _environment(plan: Plan, *, verify: bool) -> list[dict[str, Any]]:
    def secret(variable: str, name: str, key: str, *, optional: bool = False) -> dict[str, Any]:
        reference: dict[str, Any] = {"name": name, "key": key}
        return {"name": variable, "valueFrom": {"secretKeyRef": reference | ({"optional": True} if optional else {})}}

    variables = [
        {"name": environment.RUN_SPEC, "value": _literal(plan.run_spec.to_json())},
        {"name": environment.TERMINATION_LOG, "value": "/dev/termination-log"},
        {"name": environment.HEARTBEAT_FILE, "value": f"{WORK_FOLDER}/heartbeat"},
        secret(environment.PG_USER, plan.source_secret, "username"),
        secret(environment.PG_PASSWORD, plan.source_secret, "password"),
    ]
    if verify:
        variables.append({"name": environment.PG_SSL_ROOT_CERT, "value": f"{CA_FOLDER}/ca.crt"})
    for variable in (environment.AWS_ACCESS_KEY_ID, environment.AWS_SECRET_ACCESS_KEY):
        variables.append(secret(variable, plan.destination_secret, variable))
    variables.append(
        secret(environment.AWS_SESSION_TOKEN, plan.destination_secret, environment.AWS_SESSION_TOKEN, optional=True)
    )
    return variables


def _literal(text: str) -> str:
    """Kubernetes expands `$(NAME)` in values, also where a tenant's parameter holds it; `$$` is a plain `$`."""
    return text.replace("$", "$$")
