"""Prints docs/reference/metrics.md, from the operator's catalogue and the alerts."""

import sys
from pathlib import Path
from typing import Any

import yaml

from export_operator.adapters.metrics.catalogue import GROUPS, Family, Scope

ALERTS = Path(__file__).resolve().parents[1] / "manifests" / "monitoring" / "alerts.yaml"
HEAD = """\
<!-- Rendered from operator/src/export_operator/adapters/metrics/catalogue.py and manifests/monitoring/alerts.yaml by
scripts/render-manifests. Do not edit. -->
# Metrics and alerts

At `/metrics` on the port of the health checks, for Prometheus and OpenMetrics. How to have them scraped, how several
replicas are read and what restarts do to counters is told in [Watch it](../operations/monitoring.md).

The last column says of whom a metric speaks: `cluster`, each replica tells the same, read it by
`max without (pod, instance)`; `leader`, only the leader knows it, and the same reading is right; `process`, each
process tells of itself.

No label is a user, a request or free text. At most 1,000 combinations of labels and 2,000 of namespace and phase are
told apart; what is beyond has the label `other`.
"""


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for title, families in GROUPS.items():
        parts.append(f"\n## {title}\n\n| metric | type | labels | what it says | of whom |\n|---|---|---|---|---|\n")
        parts += map(_line, families)
    parts.append("\n## Alerts\n\n| alert | severity | for | what it says |\n|---|---|---|---|\n")
    parts += map(_alert, alerts())
    return "".join(parts)


def alerts() -> list[dict[str, Any]]:
    """Every rule, in order."""
    document = yaml.safe_load(ALERTS.read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


def _line(family: Family) -> str:
    labels = ", ".join(f"`{label}`" for label in family.labels)
    return f"| `{family.exposed_name}` | {family.kind} | {labels} | {family.help} | {Scope(family.scope)} |\n"


def _alert(rule: dict[str, Any]) -> str:
    page = rule["annotations"]["runbook_url"].removeprefix("docs/")
    severity, lasting = rule["labels"]["severity"], rule.get("for", "")
    return f"| [`{rule['alert']}`](../{page}) | {severity} | {lasting} | {rule['annotations']['summary']} |\n"


if __name__ == "__main__":
    sys.stdout.write(page())
