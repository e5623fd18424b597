"""The chart and the plain manifests are one thing, and the chart gives the operator no more than it needs."""

import itertools
import json
import re
from pathlib import Path

import pytest
import yaml

from export_operator.adapters.history import Database
from export_operator.settings import read_settings
from tests.cluster.problem import Problem

from .chart import CHART, HISTORY, ROOT, documents, rendered

pytestmark = pytest.mark.unit

DOWNLOADS = "export-operator-downloads"
"""The ClusterRole that makes Secrets. It is not a cluster-wide right: by itself it is bound nowhere."""


@pytest.mark.parametrize("folder", ["crds", "policies"])
def test_the_chart_carries_the_manifests_verbatim(folder: str) -> None:
    ours = {path.name: path.read_text() for path in (ROOT / "manifests" / folder).glob("*.yaml")}
    charts = {path.name: path.read_text() for path in (CHART / "files" / folder).glob("*.yaml")}
    assert charts == ours


@pytest.mark.parametrize("folder", ["crds", "policies"])
def test_kustomize_lists_every_file(folder: str) -> None:
    listed = yaml.safe_load((ROOT / "manifests" / folder / "Kustomization").read_text())["resources"]
    assert sorted(listed) == sorted(path.name for path in (ROOT / "manifests" / folder).glob("*.yaml"))


@pytest.mark.parametrize("folder", ["crds", "policies"])
def test_uninstalling_keeps_what_requests_and_identity_need(folder: str) -> None:
    for path in (ROOT / "manifests" / folder).glob("*.yaml"):
        for document in documents(path):
            assert document["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"  # type: ignore[index]


def test_every_policy_fails_closed() -> None:
    for path in (ROOT / "manifests" / "policies").glob("*.yaml"):
        for document in documents(path):
            spec = document["spec"]
            assert isinstance(spec, dict)
            if "failurePolicy" in spec:
                assert spec["failurePolicy"] == "Fail"
            if document["kind"] == "ValidatingAdmissionPolicyBinding":
                warns = path.name == "warn-act-as.yaml"
                assert spec["validationActions"] == (["Warn", "Audit"] if warns else ["Deny"])


def test_every_value_has_a_comment_and_a_schema() -> None:
    lines = (CHART / "values.yaml").read_text().splitlines()
    undocumented = [
        line
        for before, line in itertools.pairwise(lines)
        if re.match(r" *[A-Za-z]+:", line) and not before.lstrip().startswith("#")
    ]
    # Resources are Kubernetes' own words.
    assert {line.strip().split(":")[0] for line in undocumented} <= {"requests", "limits", "cpu", "memory"}
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert set(yaml.safe_load("\n".join(lines))) == set(schema["properties"]) - {"global"}
    assert schema["additionalProperties"] is False


def test_no_cluster_wide_rule_touches_jobs_pods_or_secrets() -> None:
    for document in documents(ROOT / "manifests" / "install" / "operator.yaml"):
        if document["kind"] == "ClusterRole" and document["metadata"]["name"] != DOWNLOADS:  # type: ignore[index]
            rules = document["rules"]
            assert isinstance(rules, list)
            for rule in rules:
                if rule["apiGroups"] == ["admissionregistration.k8s.io"]:
                    assert rule["verbs"] == ["list", "watch"]
                    assert all(name.endswith(".export-operator.io") for name in rule["resourceNames"])
                    continue
                if rule["apiGroups"] == ["authorization.k8s.io"]:
                    assert (rule["resources"], rule["verbs"]) == (["subjectaccessreviews"], ["create"])
                    continue
                assert set(rule["apiGroups"]) <= {"export-operator.io", "", "events.k8s.io"}
                assert not {"*", "jobs", "pods", "pods/log", "secrets"} & set(rule["resources"])
                assert "*" not in rule["verbs"]


def test_secrets_of_tenants_may_be_made_where_somebody_binds_that_and_are_never_read() -> None:
    found = documents(ROOT / "manifests" / "install" / "operator.yaml")
    (role,) = [each for each in found if each["kind"] == "ClusterRole" and each["metadata"]["name"] == DOWNLOADS]  # type: ignore[index]
    assert role["rules"] == [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]}]
    assert DOWNLOADS not in [each["roleRef"]["name"] for each in found if "roleRef" in each]  # type: ignore[index]


def test_where_namespaces_are_named_requests_are_read_there_alone_and_whether_one_is_gone_can_be_told() -> None:
    found = rendered(watchNamespaces="{team-a,team-b}")
    (everywhere,) = (
        each for each in found if (each["kind"], each["metadata"]["name"]) == ("ClusterRole", "export-operator")
    )
    assert "exportrequests" not in json.dumps(everywhere["rules"])
    (namespaces,) = (rule for rule in everywhere["rules"] if rule["resources"] == ["namespaces"])
    assert (namespaces["resourceNames"], namespaces["verbs"]) == (["export-runs", "team-a", "team-b"], ["get"])
    roles = [each for each in found if (each["kind"], each["metadata"]["name"]) == ("Role", "export-operator-requests")]
    assert [each["metadata"]["namespace"] for each in roles] == ["team-a", "team-b"]


def test_the_history_is_off_and_leaves_no_trace_until_somebody_turns_it_on() -> None:
    touched = [each for each in rendered() if each["kind"] in {"Deployment", "Job", "Role"}]
    assert {each["kind"] for each in touched} == {"Deployment", "Role"}
    assert "history" not in json.dumps(touched).lower()


def test_the_operator_is_given_the_login_of_the_writer_and_the_migration_that_of_the_owner() -> None:
    found = rendered(
        **HISTORY, history__retentionDays="30", history__migration__credentialsSecret__name="history-owner"
    )
    (operator,) = (each for each in found if each["kind"] == "Deployment")
    (migration,) = (each for each in found if each["kind"] == "Job")
    secrets = {
        each["metadata"]["name"]: [
            volume["secret"]["secretName"]
            for volume in each["spec"]["template"]["spec"]["volumes"]
            if "secret" in volume
        ]
        for each in (operator, migration)
    }
    assert secrets == {"export-operator": ["history"], "export-operator-history": ["history-owner"]}
    pod = migration["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["containers"][0]["args"] == [
        "history",
        "migrate",
        "--retention-days=30",
        "--writer=export_history_writer",
        "--reader=export_history_reader",
    ]


def test_traces_are_off_until_an_endpoint_is_given_and_headers_come_from_a_secret() -> None:
    assert "OTEL_" not in json.dumps(rendered())
    given = {"tracing__endpoint": "http://collector:4318", "tracing__headersSecret__name": "collector"}
    (operator,) = (each for each in rendered(**given) if each["kind"] == "Deployment")
    (container,) = operator["spec"]["template"]["spec"]["containers"]
    assert [each for each in container["env"] if "OTEL_" in each["name"] or "TRACING" in each["name"]] == [
        {"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "http://collector:4318"},
        {"name": "OTEL_EXPORTER_OTLP_TIMEOUT", "value": "1"},
        {
            "name": "OTEL_EXPORTER_OTLP_HEADERS",
            "valueFrom": {"secretKeyRef": {"name": "collector", "key": "headers", "optional": True}},
        },
        {"name": "EXPORT_OPERATOR_TRACING_HEADERS_SECRET", "value": "collector"},
    ]


def test_the_environment_that_the_chart_makes_is_the_one_that_the_operator_reads() -> None:
    (operator,) = (each for each in rendered(**HISTORY) if each["kind"] == "Deployment")
    (container,) = operator["spec"]["template"]["spec"]["containers"]
    environ = {each["name"]: each.get("value", "") for each in container["env"]}
    (mount,) = (each for each in container["volumeMounts"] if each["name"] == "history")
    assert read_settings(environ).history == Database(
        host="audit.db.svc", database="audit", credentials=Path(mount["mountPath"]), port=5432, ssl_mode="VerifyFull"
    )


@pytest.mark.parametrize("missing", sorted(set(HISTORY) - {"history__enabled"}))
def test_a_history_that_is_told_by_half_is_refused(missing: str) -> None:
    with pytest.raises(Problem):
        rendered(**{name: value for name, value in HISTORY.items() if name != missing})


def test_tenants_are_not_given_the_right_to_speak_for_others() -> None:
    text = (CHART / "templates" / "rbac-tenants.yaml").read_text()
    verbs = [
        verb
        for document in documents(ROOT / "manifests" / "install" / "operator.yaml")
        if document["kind"] == "ClusterRole"
        for rule in document["rules"]  # type: ignore[attr-defined]
        for verb in rule["verbs"]
    ]
    assert "resources: [exportrequests, scheduledexports, exportdownloads]" in text
    assert not {"act-as", "manage", "impersonate"} & set(verbs)


@pytest.mark.parametrize(
    ("kind", "file"), [("ExportRequest", "health.lua"), ("ScheduledExport", "schedule-health.lua")]
)
def test_a_health_script_in_the_example_is_the_one_beside_it(kind: str, file: str) -> None:
    folder = ROOT / "manifests" / "gitops"
    data = yaml.safe_load((folder / "argocd-cm.yaml").read_text())["data"]
    script = data[f"resource.customizations.health.export-operator.io_{kind}"]
    assert script.strip() == (folder / file).read_text().strip()
