"""Settings of the operator's process, from its environment (the chart sets it)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar, get_args

from export_contract.logs import FORMATS
from export_operator.adapters.history import Database
from export_operator.adapters.postgres import SSL_MODES
from export_operator.domain import actions, identity, jobs, policy, quota, windows

PREFIX = "EXPORT_OPERATOR_"
C = TypeVar("C", bound=str)
TRACING = (
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TIMEOUT",
    "OTEL_EXPORTER_OTLP_COMPRESSION",
    "OTEL_RESOURCE_ATTRIBUTES",
)
"""Variables of OpenTelemetry that export pods get as the operator has them; the first two switch traces on."""
MAX_WINDOW = int(windows.MAX_WINDOW.total_seconds())


class SettingsError(ValueError):
    """A variable is missing or has no usable value; the message names it."""


@dataclass(frozen=True, slots=True)
class ProcessSettings:
    """What the frame around the decisions needs."""

    decisions: actions.Settings
    namespace: str = "default"
    """Of the operator itself, where its Lease is, and where the canary tries the admission policies."""
    pod_name: str = "export-operator"
    pod_uid: str = ""
    """Of the operator's own pod; empty outside of one."""
    identity_mode: identity.Mode = "Attested"
    """Whether the cluster writes down who asks, or only checks it."""
    watch_namespaces: tuple[str, ...] = ()
    """Namespaces whose requests are served; empty means all."""
    log_format: str = "text"
    """`text` or `json`, one line a fact."""
    log_level: str = "INFO"
    http_port: int = 8080
    """Of /livez, /readyz and /metrics."""
    kueue: bool = False
    """Read Kueue's Workloads in the run namespace."""
    sweep_every: timedelta = timedelta(hours=6)
    """Between two sweeps; 0: none."""
    sweep_grace: timedelta = timedelta(days=1)
    """What is younger is left alone by sweeps."""
    sweep_own_identity: bool = False
    """A bucket without a Secret is swept by the identity of the operator's own service account."""
    history: Database | None = None
    """Where runs that have ended are recorded."""
    workers: int = 8
    """Requests looked at at once; more only helps when the API server is slow."""


def read_settings(environ: Mapping[str, str]) -> ProcessSettings:
    """Raises `SettingsError`."""
    log_format = _choice(environ, "LOG_FORMAT", tuple(FORMATS))
    return ProcessSettings(
        decisions=actions.Settings(
            pods=jobs.PodSettings(
                namespace=_required(environ, "RUN_NAMESPACE"),
                image=_required(environ, "RUNNER_IMAGE"),
                image_pull_policy=environ.get(f"{PREFIX}RUNNER_IMAGE_PULL_POLICY") or "IfNotPresent",
                image_pull_secrets=_words(environ, "RUNNER_IMAGE_PULL_SECRETS"),
                service_account=environ.get(f"{PREFIX}RUNNER_SERVICE_ACCOUNT") or "export-runner",
                resources=_object(environ, "RUNNER_RESOURCES"),
                log_format=log_format,
                tracing=read_tracing(environ),
            ),
            defaults=policy.Defaults(
                requests_per_user=_number(environ, "REQUESTS_PER_USER", 5, low=0),
                window=timedelta(seconds=_number(environ, "QUOTA_WINDOW_SECONDS", 86_400, low=60, high=MAX_WINDOW)),
                cluster=_amounts(environ, "QUOTA_CLUSTER"),
            ),
            max_concurrent_runs=_number(environ, "MAX_CONCURRENT_RUNS", 20, low=1),
            history_hold=timedelta(seconds=_number(environ, "HISTORY_HOLD_SECONDS", 86_400, low=0)),
            markers=_words(environ, "GITOPS_MARKERS"),
        ),
        namespace=environ.get("POD_NAMESPACE", "").strip() or "default",
        pod_name=environ.get("POD_NAME", "").strip() or "export-operator",
        pod_uid=environ.get("POD_UID", "").strip(),
        identity_mode=_choice(environ, "IDENTITY_MODE", get_args(identity.Mode)),
        watch_namespaces=_words(environ, "WATCH_NAMESPACES"),
        log_format=log_format,
        log_level=_choice(environ, "LOG_LEVEL", ("INFO", "DEBUG", "WARNING", "ERROR")),
        http_port=_number(environ, "HTTP_PORT", 8080, low=1),
        sweep_every=timedelta(seconds=_number(environ, "SWEEP_SECONDS", 21_600, low=0)),
        sweep_grace=timedelta(seconds=_number(environ, "SWEEP_GRACE_SECONDS", 86_400, low=3600)),
        sweep_own_identity=_choice(environ, "SWEEP_OWN_IDENTITY", ("false", "true")) == "true",
        kueue=_choice(environ, "KUEUE", ("false", "true")) == "true",
        history=read_history(environ),
    )


def read_tracing(environ: Mapping[str, str]) -> jobs.Tracing | None:
    """What OpenTelemetry's own variables say to operator and pods alike; None where they name no collector. Headers,
    which may hold a secret, pods have from a Secret."""
    given = {name: environ.get(name, "").strip() for name in TRACING}
    off = environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    if off or not any(given[name] for name in TRACING[:2]):
        return None
    return jobs.Tracing(
        {name: value for name, value in given.items() if value},
        environ.get(f"{PREFIX}TRACING_HEADERS_SECRET", "").strip(),
    )


def read_history(environ: Mapping[str, str]) -> Database | None:
    """Where the history is; None where there is none. Raises `SettingsError`."""
    host = environ.get(f"{PREFIX}HISTORY_HOST", "").strip()
    if not host:
        return None
    return Database(
        host=host,
        port=_number(environ, "HISTORY_PORT", 5432, low=1, high=65_535),
        database=_required(environ, "HISTORY_DATABASE"),
        ssl_mode=_choice(environ, "HISTORY_SSL_MODE", tuple(SSL_MODES)),
        credentials=Path(_required(environ, "HISTORY_CREDENTIALS_DIR")),
    )


def _required(environ: Mapping[str, str], name: str) -> str:
    value = environ.get(PREFIX + name, "").strip()
    if not value:
        raise SettingsError(f"{PREFIX}{name} is not set")
    return value


def _words(environ: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in environ.get(PREFIX + name, "").split(",") if word.strip())


def _number(environ: Mapping[str, str], name: str, default: int, *, low: int, high: int | None = None) -> int:
    text = environ.get(PREFIX + name, "").strip()
    try:
        value = int(text) if text else default
    except ValueError:
        value = low - 1
    if value < low:
        raise SettingsError(f"{PREFIX}{name}: {text!r} is not a whole number of at least {low}")
    if high is not None and value > high:
        raise SettingsError(f"{PREFIX}{name}: {text!r} is more than {high}")
    return value


def _choice(environ: Mapping[str, str], name: str, allowed: tuple[C, ...]) -> C:
    value = environ.get(PREFIX + name, "").strip() or allowed[0]
    found = next((item for item in allowed if item.lower() == value.lower()), None)
    if found is None:
        raise SettingsError(f"{PREFIX}{name}: {value!r} is not one of {', '.join(allowed)}")
    return found


def _amounts(environ: Mapping[str, str], name: str) -> Mapping[str, int]:
    """Requests, rows and bytes, each as a whole number if it is limited."""
    found = _object(environ, name)
    for resource, amount in found.items():
        if resource not in quota.RESOURCES or not isinstance(amount, int) or isinstance(amount, bool) or amount < 0:
            known = ", ".join(quota.RESOURCES)
            raise SettingsError(f"{PREFIX}{name}: {resource!r}: {amount!r} is not a whole number for one of {known}")
    return found


def _object(environ: Mapping[str, str], name: str) -> Mapping[str, Any]:
    text = environ.get(PREFIX + name, "").strip() or "{}"
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise SettingsError(f"{PREFIX}{name}: {text[:80]!r} is not a JSON object")
    return value
