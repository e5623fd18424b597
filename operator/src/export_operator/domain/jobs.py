"""The Job of a run: one pure builder, whole manifest out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from export_contract import environment, failures, names
from export_operator.domain import credentials, model
from export_operator.domain.model import Request
from export_operator.domain.plan import Plan

BACKOFF_LIMIT = 3
BACKOFF_SECONDS = 10 + 20 + 40  # what the Job controller waits before pods 2, 3 and 4; it cannot be set
LONGEST_BACKOFF_SECONDS = 40
GRACE_SECONDS = 30
"""After SIGTERM: longer than a part and a checkpoint take, or the abort of an upload, and to say so."""
NODE_LOST_SECONDS = 30  # how long a pod stays bound to a node that does not answer
HEARTBEAT = "/tmp/heartbeat"  # noqa: S108 - the pod's own emptyDir
STALE_SECONDS = 120
"""A pod hangs when nothing has moved for so long: longer than any call to the outside may take, retries included."""
WORK_FOLDER = "/tmp"  # noqa: S108 - the pod's own emptyDir
CONTAINER = "exporter"
HEADERS, HEADERS_KEY = "OTEL_EXPORTER_OTLP_HEADERS", "headers"
_ALIVE = f"import os, sys, time; sys.exit(time.time() - os.stat({HEARTBEAT!r}).st_mtime > {STALE_SECONDS})"


@dataclass(frozen=True, slots=True)
class Tracing:
    """`variables` (OTEL_*) say where the collector is. `headers_secret` names a Secret of the run namespace with what
    it wants to be told with each request, under `HEADERS_KEY`; empty: nothing."""

    variables: Mapping[str, str]
    headers_secret: str = ""


@dataclass(frozen=True, slots=True)
class PodSettings:
    """What the chart says of export pods. `resources` is used where a policy gives none."""

    namespace: str
    image: str
    image_pull_policy: str = "IfNotPresent"
    image_pull_secrets: tuple[str, ...] = ()
    service_account: str = "export-runner"
    resources: Mapping[str, Any] = field(default_factory=dict)
    log_format: str = "text"
    """Of the exporter's log lines: `text` or `json`."""
    tracing: Tracing | None = None
    """Pods tell a collector how they fare; None: they do not."""


def active_deadline_seconds(start_deadline: int, run_deadline: int, fallback_deadline: int = 0) -> int:
    """How long the Job may live in all: it counts pending time, every attempt with its grace, and the back-offs. An
    attempt that turns to the fallback has the fallback's time too."""
    attempt = run_deadline + fallback_deadline + GRACE_SECONDS
    return start_deadline + (BACKOFF_LIMIT + 1) * attempt + BACKOFF_SECONDS


def build_job(request: Request, plan: Plan, settings: PodSettings) -> dict[str, Any]:
    """The Job manifest of the plan's run. It holds no secret: credentials come from Secrets by name. One for a queue of
    Kueue is suspended from the start: Kueue lets it go on."""
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
    # What is to be undone when the request is gone, and who had made it, for nobody else can tell.
    told = {model.ANNOTATION_DESTINATION: plan.effective.destination, model.ANNOTATION_SUBMITTER: request.submitter}
    if request.spec.get("deletionPolicy") == "Delete":
        told[model.ANNOTATION_DELETION_POLICY] = "Delete"
    queued = {model.LABEL_KUEUE_QUEUE: plan.queue} if plan.queue else {}
    effective, fallback = plan.effective, plan.run_spec.destination.fallback
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": names.job_name(run.id),
            "namespace": settings.namespace,
            "labels": labels | queued,
            "annotations": annotations | told,
        },
        "spec": {
            **({"suspend": True} if queued else {}),
            "backoffLimit": BACKOFF_LIMIT,
            "activeDeadlineSeconds": active_deadline_seconds(
                effective.start_deadline_seconds,
                effective.run_deadline_seconds,
                fallback.deadline_seconds if fallback else 0,
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
    mounted = credentials.mounted(plan)
    volumes: list[dict[str, Any]] = [{"name": "work", "emptyDir": {"sizeLimit": "64Mi"}}]
    mounts: list[dict[str, Any]] = [{"name": "work", "mountPath": WORK_FOLDER}]
    volumes += [each.volume() for each in mounted]
    mounts += [each.mount() for each in mounted]
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
            *(
                {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": NODE_LOST_SECONDS}
                for key in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
            ),
            *(plan.pod.get("tolerations") or ()),
        ],
        "containers": [
            {
                "name": CONTAINER,
                "image": settings.image,
                "imagePullPolicy": settings.image_pull_policy,
                "args": ["run"],
                "env": _environment(plan, settings),
                "resources": dict(plan.pod.get("resources") or settings.resources),
                "livenessProbe": {
                    "exec": {"command": ["python", "-I", "-S", "-c", _ALIVE]},
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


def _environment(plan: Plan, settings: PodSettings) -> list[dict[str, Any]]:
    spec, tracing = plan.run_spec, settings.tracing
    if tracing is not None:
        spec = replace(spec, traceparent=names.traceparent(spec.run.id))
    return [
        {"name": environment.RUN_SPEC, "value": _literal(spec.to_json())},
        {"name": environment.TERMINATION_LOG, "value": "/dev/termination-log"},
        {"name": environment.HEARTBEAT_FILE, "value": HEARTBEAT},
        {"name": environment.LOG_FORMAT, "value": settings.log_format},
        *credentials.variables(plan),
        *(_tracing(tracing) if tracing is not None else ()),
    ]


def _tracing(tracing: Tracing) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"name": name, "value": _literal(value)} for name, value in sorted(tracing.variables.items())
    ]
    if tracing.headers_secret:
        # Without it there are no traces, and exports none the less.
        key = {"name": tracing.headers_secret, "key": HEADERS_KEY, "optional": True}
        found.append({"name": HEADERS, "valueFrom": {"secretKeyRef": key}})
    return found


def _literal(text: str) -> str:
    """Kubernetes expands `$(NAME)` in values, also where a tenant's parameter holds it; `$$` is a plain `$`."""
    return text.replace("$", "$$")
