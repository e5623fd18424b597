"""Alerts, runbooks, dashboards and the reference speak of metrics that there are, and the chart carries them."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from scripts.dashboards import DASHBOARDS, render

from export_operator.adapters.metrics import catalogue
from export_operator.adapters.metrics.catalogue import Family, Kind

from .chart import ROOT, rendered

pytestmark = pytest.mark.unit

RUNBOOKS = ROOT / "docs" / "operations" / "runbooks"
FAMILIES = [family for group in catalogue.GROUPS.values() for family in group]
LABEL = re.compile(r"([a-z_]+)\s*(?:=~|!~|!=|=)\s*\"")
TARGET = {"pod", "instance", "le"}
"""Labels that scraping and histograms add."""


def alerts() -> list[dict[str, Any]]:
    document = yaml.safe_load((ROOT / "manifests" / "monitoring" / "alerts.yaml").read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


def names(family: Family) -> set[str]:
    if family.kind is Kind.HISTOGRAM:
        return {f"{family.full_name}_{suffix}" for suffix in ("bucket", "sum", "count")}
    return {family.exposed_name}


KNOWN = {name: family for family in FAMILIES for name in names(family)}


def queries() -> Iterator[tuple[str, str]]:
    for rule in alerts():
        yield rule["alert"], rule["expr"]
    for dashboard in DASHBOARDS:
        for panel in dashboard.panels:
            for query in panel.queries.values():
                yield f"{dashboard.name}: {panel.title}", query


@pytest.mark.parametrize(("place", "query"), list(queries()))
def test_a_query_names_metrics_and_labels_that_there_are(place: str, query: str) -> None:
    used = set(re.findall(r"export_operator_[a-z_]+", query))
    assert used <= set(KNOWN), place
    assert used, place
    labels = {label for name in used for label in KNOWN[name].labels} | TARGET
    for selector in re.findall(r"\{([^}]*)\}", query):
        assert set(LABEL.findall(selector)) <= labels, place
    for listed in re.findall(r"\b(?:by|without|on) \(([^)]*)\)", query):
        assert {label.strip() for label in listed.split(",")} <= labels | {"version"}, place


def test_runbooks_and_pages_name_metrics_that_there_are() -> None:
    for page in (*RUNBOOKS.glob("*.md"), ROOT / "docs" / "operations" / "monitoring.md"):
        found = set(re.findall(r"export_operator_[a-z_]+", page.read_text()))
        assert found <= set(KNOWN) | {family.full_name for family in FAMILIES}, page.name


def test_every_alert_has_its_runbook_and_every_runbook_its_alert() -> None:
    expected = {}
    for rule in alerts():
        page = ROOT / rule["annotations"]["runbook_url"]
        heading, *_ = page.read_text().splitlines()
        assert heading == f"# {rule['alert']}"
        assert {"## What to look at", "## What to do"} <= set(page.read_text().splitlines())
        assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
        assert rule["labels"]["severity"] in {"critical", "warning"}
        expected[page.name] = rule["alert"]
    assert sorted(expected) == sorted(page.name for page in RUNBOOKS.glob("*.md"))


def test_every_metric_is_told_once_in_the_reference() -> None:
    page = (ROOT / "docs" / "reference" / "metrics.md").read_text()
    assert [page.count(f"| `{family.exposed_name}` |") for family in FAMILIES] == [1] * len(FAMILIES)
    defined = [value for value in vars(catalogue).values() if isinstance(value, Family)]
    assert sorted(FAMILIES, key=lambda family: family.name) == sorted(defined, key=lambda family: family.name)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_names_follow_the_conventions_of_prometheus(family: Family) -> None:
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", family.name)
    assert not family.name.endswith(("_total", "_count", "_sum", "_bucket", "_info_total"))
    assert bool(family.buckets) == (family.kind is Kind.HISTOGRAM)
    assert not {"request", "name_of_request", "user", "requester", "run", "uid"} & set(family.labels)
    assert family.help.endswith(".")


def monitoring(*options: str, **settings: str) -> list[dict[str, Any]]:
    """What the chart makes of monitoring."""
    return [
        each
        for each in rendered(*options, **settings)
        if each["kind"] in {"PodMonitor", "PrometheusRule"}
        or (each["kind"] == "ConfigMap" and "dashboard" in each["metadata"]["name"])
    ]


def test_the_chart_makes_rules_and_monitor_when_their_kinds_are_there_or_it_is_told_to() -> None:
    served = "--api-versions=monitoring.coreos.com/v1/PodMonitor,monitoring.coreos.com/v1/PrometheusRule"
    for found in (monitoring(served), monitoring(monitoring__mode="Always")):
        assert [each["kind"] for each in found] == ["PodMonitor", "PrometheusRule"]
    assert monitoring() == []
    assert monitoring(served, monitoring__mode="Never") == []


def test_the_charts_rules_are_the_plain_ones_with_runbooks_where_people_find_them() -> None:
    (rules,) = [
        each
        for each in monitoring(
            monitoring__mode="Always", monitoring__runbooks="https://wiki/exports", monitoring__labels__a="b"
        )
        if each["kind"] == "PrometheusRule"
    ]
    assert rules["metadata"]["labels"]["a"] == "b"
    found = [rule for group in rules["spec"]["groups"] for rule in group["rules"]]
    for ours, theirs in zip(alerts(), found, strict=True):
        url = ours["annotations"]["runbook_url"].replace("docs/operations/runbooks", "https://wiki/exports")
        assert theirs == {**ours, "annotations": {**ours["annotations"], "runbook_url": url}}


def test_the_monitor_selects_the_operators_pods_and_port() -> None:
    found = rendered(monitoring__mode="Always")
    (monitor,) = [each for each in found if each["kind"] == "PodMonitor"]
    (deployment,) = [each for each in found if each["kind"] == "Deployment"]
    pod = deployment["spec"]["template"]
    selected = monitor["spec"]["selector"]["matchLabels"]
    assert selected.items() <= pod["metadata"]["labels"].items()
    ports = {port["name"] for container in pod["spec"]["containers"] for port in container["ports"]}
    assert {each["port"] for each in monitor["spec"]["podMetricsEndpoints"]} <= ports


def test_the_charts_dashboards_are_what_grafana_imports() -> None:
    made = monitoring(dashboards__enabled="true")
    found = {}
    for each in made:
        assert each["metadata"]["labels"]["grafana_dashboard"] == "1"
        ((file, text),) = each["data"].items()
        found[file] = json.loads(text)
    assert found == {f"export-operator-{each.name}.json": render(each) for each in DASHBOARDS}
    for dashboard in found.values():
        places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in dashboard["panels"]]
        assert len(set(places)) == len(places)
        assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in dashboard["panels"])
