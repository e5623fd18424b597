"""Settings from the environment."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from export_operator.adapters.history import Database
from export_operator.domain import actions, jobs, policy
from export_operator.settings import ProcessSettings, SettingsError, read_settings

pytestmark = pytest.mark.unit

NO_AMOUNT = "is not a whole number for one of requests, rows, bytes"
LEAST = {"EXPORT_OPERATOR_RUN_NAMESPACE": "export-runs", "EXPORT_OPERATOR_RUNNER_IMAGE": "registry/exporter:1"}


def test_the_least_environment_gives_these_defaults() -> None:
    assert read_settings(LEAST) == ProcessSettings(
        decisions=actions.Settings(
            pods=jobs.PodSettings(
                namespace="export-runs",
                image="registry/exporter:1",
                image_pull_policy="IfNotPresent",
                image_pull_secrets=(),
                service_account="export-runner",
                resources={},
            ),
            defaults=policy.Defaults(requests_per_user=5, window=timedelta(days=1)),
            max_concurrent_runs=20,
        ),
        watch_namespaces=(),
        log_format="text",
        log_level="INFO",
        http_port=8080,
        kueue=False,
        sweep_every=timedelta(hours=6),
        sweep_grace=timedelta(days=1),
        sweep_own_identity=False,
        workers=8,
    )


def test_every_variable_is_read() -> None:
    rest = {
        "RUNNER_IMAGE_PULL_POLICY": "Never",
        "RUNNER_IMAGE_PULL_SECRETS": "a, b",
        "RUNNER_SERVICE_ACCOUNT": "robot",
        "RUNNER_RESOURCES": '{"limits": {"memory": "256Mi"}}',
        "REQUESTS_PER_USER": "0",
        "QUOTA_WINDOW_SECONDS": "60",
        "QUOTA_CLUSTER": '{"requests": 500, "bytes": 1099511627776}',
        "MAX_CONCURRENT_RUNS": "1",
        "IDENTITY_MODE": "declared",
        "WATCH_NAMESPACES": "team-a,team-b,",
        "LOG_FORMAT": "JSON",
        "LOG_LEVEL": "debug",
        "HTTP_PORT": "9090",
        "KUEUE": "true",
        "SWEEP_SECONDS": "0",
        "SWEEP_GRACE_SECONDS": "3600",
        "SWEEP_OWN_IDENTITY": "true",
        "HISTORY_HOST": "audit.db.svc",
        "HISTORY_PORT": "5433",
        "HISTORY_DATABASE": "audit",
        "HISTORY_SSL_MODE": "require",
        "HISTORY_CREDENTIALS_DIR": "/etc/export-operator/history",
        "HISTORY_HOLD_SECONDS": "3600",
        "TRACING_HEADERS_SECRET": "collector",
        "GITOPS_MARKERS": "fleet.example/owner, example.com/by=robot",
    }
    environ = LEAST | {f"EXPORT_OPERATOR_{name}": value for name, value in rest.items()} | {"POD_NAMESPACE": "exports"}
    environ |= {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "OTEL_RESOURCE_ATTRIBUTES": "team=data"}
    environ |= {"OTEL_EXPORTER_OTLP_HEADERS": "token=secret"}
    assert read_settings(environ) == ProcessSettings(
        decisions=actions.Settings(
            pods=jobs.PodSettings(
                namespace="export-runs",
                image="registry/exporter:1",
                image_pull_policy="Never",
                image_pull_secrets=("a", "b"),
                service_account="robot",
                resources={"limits": {"memory": "256Mi"}},
                log_format="json",
                tracing=jobs.Tracing(
                    {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "OTEL_RESOURCE_ATTRIBUTES": "team=data"},
                    headers_secret="collector",
                ),
            ),
            defaults=policy.Defaults(
                requests_per_user=0,
                window=timedelta(minutes=1),
                cluster={"requests": 500, "bytes": 1099511627776},
            ),
            max_concurrent_runs=1,
            history_hold=timedelta(hours=1),
            markers=("fleet.example/owner", "example.com/by=robot"),
        ),
        namespace="exports",
        identity_mode="Declared",
        watch_namespaces=("team-a", "team-b"),
        log_format="json",
        log_level="DEBUG",
        http_port=9090,
        kueue=True,
        sweep_every=timedelta(),
        sweep_grace=timedelta(hours=1),
        sweep_own_identity=True,
        history=Database(
            host="audit.db.svc",
            port=5433,
            database="audit",
            ssl_mode="Require",
            credentials=Path("/etc/export-operator/history"),
        ),
    )


@pytest.mark.parametrize(
    ("rest", "problem"),
    [
        ({}, "HISTORY_DATABASE is not set"),
        ({"DATABASE": "audit"}, "HISTORY_CREDENTIALS_DIR is not set"),
        ({"PORT": "65536"}, "HISTORY_PORT: '65536' is more than 65535"),
        (
            {"DATABASE": "audit", "SSL_MODE": "maybe"},
            "HISTORY_SSL_MODE: 'maybe' is not one of VerifyFull, VerifyCA, Require, Prefer, Disable",
        ),
    ],
)
def test_a_history_is_told_whole_or_not_at_all(rest: dict[str, str], problem: str) -> None:
    environ = {f"EXPORT_OPERATOR_HISTORY_{name}": value for name, value in (rest | {"HOST": "audit.db.svc"}).items()}
    with pytest.raises(SettingsError) as found:
        read_settings(LEAST | environ)
    assert str(found.value) == f"EXPORT_OPERATOR_{problem}"


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("RUN_NAMESPACE", " ", " is not set"),
        ("RUNNER_IMAGE", "", " is not set"),
        ("REQUESTS_PER_USER", "-1", ": '-1' is not a whole number of at least 0"),
        ("REQUESTS_PER_USER", "five", ": 'five' is not a whole number of at least 0"),
        ("QUOTA_WINDOW_SECONDS", "59", ": '59' is not a whole number of at least 60"),
        ("MAX_CONCURRENT_RUNS", "0", ": '0' is not a whole number of at least 1"),
        ("SWEEP_GRACE_SECONDS", "60", ": '60' is not a whole number of at least 3600"),
        ("HTTP_PORT", "0", ": '0' is not a whole number of at least 1"),
        ("LOG_FORMAT", "xml", ": 'xml' is not one of text, json"),
        ("LOG_LEVEL", "loud", ": 'loud' is not one of INFO, DEBUG, WARNING, ERROR"),
        ("RUNNER_RESOURCES", "[]", ": '[]' is not a JSON object"),
        ("RUNNER_RESOURCES", "{", ": '{' is not a JSON object"),
        ("QUOTA_WINDOW_SECONDS", "2678401", ": '2678401' is more than 2678400"),
        ("QUOTA_CLUSTER", "5", ": '5' is not a JSON object"),
        ("QUOTA_CLUSTER", '{"rows": -1}', f": 'rows': -1 {NO_AMOUNT}"),
        ("QUOTA_CLUSTER", '{"rows": true}', f": 'rows': True {NO_AMOUNT}"),
        ("QUOTA_CLUSTER", '{"rows": "many"}', f": 'rows': 'many' {NO_AMOUNT}"),
        ("QUOTA_CLUSTER", '{"row": 5}', f": 'row': 5 {NO_AMOUNT}"),
    ],
)
def test_a_bad_variable_is_named(name: str, value: str, problem: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read_settings(LEAST | {f"EXPORT_OPERATOR_{name}": value})
    assert str(refused.value) == f"EXPORT_OPERATOR_{name}{problem}"
