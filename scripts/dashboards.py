"""Writes the chart's Grafana dashboards: python -m scripts.dashboards DIRECTORY. A dashboard is a list of panels, a
panel a title and queries; what Grafana wants besides is added here."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Json = dict[str, Any]

WIDTH, HEIGHT = 24, 8
SCHEMA = 39
"""Of Grafana 10.4; newer ones migrate it."""


@dataclass(frozen=True)
class Panel:
    """`queries` by their legends; `unit` is Grafana's name of it, `kind` timeseries or stat."""

    title: str
    queries: Mapping[str, str]
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 8
    about: str = ""


@dataclass(frozen=True)
class Dashboard:
    """`variables` by name: the query that lists their values."""

    name: str
    title: str
    panels: Sequence[Panel]
    variables: Mapping[str, str] = field(default_factory=dict)


def one(metric: str) -> str:
    """A metric that each replica tells alike, told once."""
    return f"max without (pod, instance) ({metric})"


def rate(metric: str) -> str:
    return one(f"rate({metric}[$__rate_interval])")


def total(metric: str, *by: str) -> str:
    """The sum over what is told once, by these labels."""
    return f"sum by ({', '.join(by)}) ({metric})" if by else f"sum({metric})"


def quantile(part: float, histogram: str, by: str) -> str:
    return f"histogram_quantile({part}, {total(rate(histogram + '_bucket'), 'le', by)})"


OVERVIEW = Dashboard(
    "overview",
    "Exports: overview",
    (
        Panel("Leader", {"": "sum(export_operator_leader)"}, kind="stat", width=4),
        Panel("Identity attested", {"": "max(export_operator_identity_enforced)"}, kind="stat", width=4),
        Panel(
            "Running",
            {"": total(one('export_operator_requests{phase=~"Pending|Running"}')) + " or vector(0)"},
            kind="stat",
            width=4,
        ),
        Panel(
            "Waiting",
            {"": total(one('export_operator_requests{phase="Queued"}')) + " or vector(0)"},
            kind="stat",
            width=4,
        ),
        Panel(
            "Dead letters",
            {"": total(one('export_operator_requests{phase="Failed"}')) + " or vector(0)"},
            kind="stat",
            width=4,
            about="Failed requests that nobody has run anew or removed.",
        ),
        Panel("Stuck runs", {"": "max(export_operator_stuck_runs)"}, kind="stat", width=4),
        Panel("Requests by phase", {"{{phase}}": total(one("export_operator_requests"), "phase")}),
        Panel(
            "Ends a minute",
            {"{{phase}} {{class}}": "60 * " + total(rate("export_operator_outcomes_total"), "phase", "class")},
        ),
        Panel(
            "Ends by reason within an hour",
            {"{{reason}}": total(one("increase(export_operator_runs_ended_total[1h])"), "reason")},
        ),
        Panel(
            "Wait until the start",
            {
                "p50 {{policy}}": quantile(0.5, "export_operator_queue_wait_seconds", "policy"),
                "p95 {{policy}}": quantile(0.95, "export_operator_queue_wait_seconds", "policy"),
            },
            unit="s",
        ),
        Panel(
            "Run duration",
            {
                "p50 {{source}}": quantile(0.5, "export_operator_run_duration_seconds", "source"),
                "p95 {{source}}": quantile(0.95, "export_operator_run_duration_seconds", "source"),
            },
            unit="s",
        ),
        Panel(
            "Oldest that waits",
            {"{{reason}}": one("export_operator_queue_oldest_age_seconds") + " or vector(0)"},
            unit="s",
        ),
        Panel("Rows a second", {"{{source}}": total(rate("export_operator_exported_rows_total"), "source")}),
        Panel(
            "Bytes a second",
            {"{{destination}}": total(rate("export_operator_exported_bytes_total"), "destination")},
            unit="Bps",
        ),
        Panel(
            "Speed of one run, rows a second (p50)",
            {"{{source}}": quantile(0.5, "export_operator_run_rows_per_second", "source")},
        ),
        Panel(
            "Slots",
            {"used": "max(export_operator_slots_used)", "limit": "max(export_operator_slots)"},
        ),
        Panel("Available", {"{{kind}} {{name}}": one("export_operator_available")}),
        Panel(
            "Open breakers",
            {"{{kind}} {{name}}": one('export_operator_breaker_state{state="open"}')},
        ),
        Panel(
            "Formats",
            {"{{format}}": "60 * " + total(rate("export_operator_runs_ended_total"), "format")},
            about="Runs that ended, a minute.",
        ),
        Panel(
            "Attempts a run",
            {
                "{{source}}": total(rate("export_operator_attempts_total"), "source")
                + " / "
                + total(rate("export_operator_run_duration_seconds_count"), "source")
            },
        ),
        Panel(
            "Calls of exporters tried again, a minute",
            {"{{call}} {{reason}}": "60 * " + rate("export_operator_retries_total") + " or vector(0)"},
        ),
        Panel(
            "Notifications a minute",
            {
                "{{policy}}/{{channel}} {{result}}": "60 * "
                + rate("export_operator_notifications_total")
                + " or vector(0)"
            },
            about="Delivered, failed and tried again, given up (dead).",
        ),
        Panel(
            "First notification that waits",
            {
                "{{policy}}/{{channel}}": one("export_operator_notifications_oldest_age_seconds") + " or vector(0)",
            },
            unit="s",
        ),
        Panel(
            "Links made and refused (an hour)",
            {"{{phase}} {{reason}}": one("increase(export_operator_downloads_total[1h])")},
        ),
        Panel(
            "Fallback, refunds, near the deadline (an hour)",
            {
                "fallback {{destination}}": one("increase(export_operator_fallback_deliveries_total[1h])"),
                "moved out of it {{destination}}": one("increase(export_operator_redeliveries_total[1h])"),
                "refunds {{policy}}": one("increase(export_operator_refunds_total[1h])"),
                "near deadline {{source}}": one("increase(export_operator_runs_near_deadline_total[1h])"),
            },
        ),
    ),
)

TENANT = Dashboard(
    "tenant",
    "Exports: one tenant",
    (
        Panel(
            "Requests by phase",
            {"{{phase}}": total(one('export_operator_tenant_requests{tenant=~"$tenant"}'), "phase")},
            width=12,
        ),
        Panel(
            "Ends within an hour",
            {
                "{{phase}}": total(
                    one('increase(export_operator_tenant_runs_ended_total{tenant=~"$tenant"}[1h])'), "phase"
                )
            },
            width=12,
        ),
        Panel(
            "Rows within an hour",
            {"{{tenant}}": one('increase(export_operator_tenant_exported_rows_total{tenant=~"$tenant"}[1h])')},
            width=12,
        ),
        Panel(
            "Bytes within an hour",
            {"{{tenant}}": one('increase(export_operator_tenant_exported_bytes_total{tenant=~"$tenant"}[1h])')},
            unit="bytes",
            width=12,
        ),
        Panel(
            "All that ever ended",
            {"{{phase}}": total(one('export_operator_tenant_runs_ended_total{tenant=~"$tenant"}'), "phase")},
            kind="stat",
            width=12,
        ),
        Panel(
            "Used of its policies' windows",
            {"{{policy}} {{resource}}": one("export_operator_quota_used")},
            width=12,
            about="A policy's window is shared by all whom it selects.",
        ),
    ),
    {"tenant": "label_values(export_operator_tenant_requests, tenant)"},
)

OPERATOR = Dashboard(
    "operator",
    "Exports: the operator",
    (
        Panel("Leads", {"{{pod}}": "export_operator_leader"}),
        Panel("Release", {"{{version}}": "count by (version) (export_operator_build_info)"}),
        Panel("Age of caches", {"{{pod}} {{resource}}": "export_operator_cache_age_seconds"}, unit="s"),
        Panel(
            "Looks a second",
            {"{{queue}}": "sum by (queue) (rate(export_operator_reconcile_seconds_count[$__rate_interval]))"},
        ),
        Panel(
            "One look (p99)",
            {
                "{{queue}}": "histogram_quantile(0.99, sum by (le, queue) "
                "(rate(export_operator_reconcile_seconds_bucket[$__rate_interval])))"
            },
            unit="s",
        ),
        Panel(
            "Looks that failed, a minute",
            {
                "{{queue}} {{kind}}": "60 * sum by (queue, kind) "
                "(rate(export_operator_reconcile_errors_total[$__rate_interval])) or vector(0)"
            },
        ),
        Panel("Waiting for a look", {"{{pod}} {{queue}}": "export_operator_workqueue_length"}),
        Panel(
            "Calls to the API server a second",
            {
                "{{purpose}} {{verb}}": total(
                    "rate(export_operator_api_calls_total[$__rate_interval])", "purpose", "verb"
                )
            },
        ),
        Panel(
            "Calls that failed, a minute",
            {
                "{{code}}": "60 * sum by (code) "
                '(rate(export_operator_api_calls_total{code!~"2.."}[$__rate_interval])) or vector(0)'
            },
        ),
        Panel(
            "One decision (p99)",
            {
                "": "histogram_quantile(0.99, sum by (le) "
                "(rate(export_operator_admission_decision_seconds_bucket[$__rate_interval])))"
            },
            unit="s",
        ),
        Panel("Queue of requests", {"": "max(export_operator_queue_depth)"}),
        Panel("Ledger objects that cannot be read", {"": "max(export_operator_ledger_unreadable)"}),
        Panel(
            "Clean-up",
            {
                "waiting {{destination}}": one("export_operator_clean_ups_waiting") + " or vector(0)",
                "overdue for (s)": "max(export_operator_ttl_lag_seconds)",
            },
        ),
        Panel("Rows that wait for the history", {"": "max(export_operator_history_backlog)"}),
        Panel(
            "Orphaned bytes",
            {"{{destination}} {{kind}}": one("export_operator_orphaned_bytes") + " or vector(0)"},
            unit="bytes",
        ),
        Panel(
            "Last sweep, ago",
            {"{{destination}}": "time() - " + one("export_operator_last_sweep_timestamp_seconds")},
            unit="s",
        ),
        Panel(
            "CPU",
            {
                "{{pod}}": "rate(process_cpu_seconds_total[$__rate_interval])"
                " and on (pod, instance) export_operator_leader"
            },
        ),
        Panel(
            "Memory",
            {"{{pod}}": "process_resident_memory_bytes and on (pod, instance) export_operator_leader"},
            unit="bytes",
        ),
    ),
)

DASHBOARDS = (OVERVIEW, TENANT, OPERATOR)
SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def render(dashboard: Dashboard) -> Json:
    """What Grafana imports."""
    variables: list[Json] = [{"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"}]
    for name, query in dashboard.variables.items():
        variables.append(
            {
                "name": name,
                "type": "query",
                "datasource": SOURCE,
                "query": {"query": query, "refId": name},
                "refresh": 2,
                "includeAll": True,
                "allValue": ".*",
                "sort": 1,
            }
        )
    return {
        "uid": f"export-operator-{dashboard.name}",
        "title": dashboard.title,
        "tags": ["export-operator"],
        "schemaVersion": SCHEMA,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": variables},
        "panels": list(_placed(dashboard.panels)),
    }


def _placed(panels: Sequence[Panel]) -> list[Json]:
    """From left to right, and then the next row."""
    placed: list[Json] = []
    x = y = row = 0
    for number, panel in enumerate(panels, start=1):
        height = HEIGHT // 2 if panel.kind == "stat" else HEIGHT
        if x + panel.width > WIDTH:
            x, y, row = 0, y + row, 0
        placed.append(_panel(panel, number) | {"gridPos": {"x": x, "y": y, "w": panel.width, "h": height}})
        x, row = x + panel.width, max(row, height)
    return placed


def _panel(panel: Panel, number: int) -> Json:
    targets = [
        {"refId": chr(ord("A") + place), "datasource": SOURCE, "expr": query, "legendFormat": legend or "__auto"}
        for place, (legend, query) in enumerate(panel.queries.items())
    ]
    return {
        "id": number,
        "title": panel.title,
        "description": panel.about,
        "type": panel.kind,
        "datasource": SOURCE,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": targets,
    }


def main(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for dashboard in DASHBOARDS:
        (directory / f"{dashboard.name}.json").write_text(json.dumps(render(dashboard), indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
