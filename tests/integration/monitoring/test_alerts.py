"""Each alert is silent before, fires, and ends, by Prometheus' own reckoning (promtool), with two replicas scraped."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster import shell
from tests.platform.names import REPOSITORY
from tests.services.prometheus import program

pytestmark = pytest.mark.integration

RULES = REPOSITORY / "manifests" / "monitoring" / "alerts.yaml"
BOTH = ("a", "b")
"""Pods. A restart of one is a new series, which a gap in the old one and a reset stand for here."""


@dataclass(frozen=True)
class Case:
    """`series` by name and labels, in promtool's words, a value a minute; {pod} stands for each of `pods`. It is silent
    at the minute `quiet`, fires at `fires` with the labels and the texts, and is silent again at `ended`."""

    series: Mapping[str, str]
    quiet: int
    fires: int
    ended: int
    summary: str
    description: str
    labels: Mapping[str, str] = field(default_factory=dict)
    pods: tuple[str, ...] = BOTH


def gauge(metric: str, values: str, **labels: str) -> dict[str, str]:
    told = "".join(f', {label}="{value}"' for label, value in labels.items())
    return {f'export_operator_{metric}{{pod="{{pod}}", instance="{{pod}}"{told}}}': values}


FAILED: dict[str, str] = {"phase": "Failed", "class": "Source"}
BEHIND = "What should be gone is still there."
LEFT = (
    "For an hour, uploads, objects or finished requests have been left that should have been removed, or a destination"
    " has not been swept for a day."
)
CASES = {
    "ExportFailureRateHigh": Case(
        {
            **gauge("outcomes_total", "0+1x30 30+0x200", phase="Succeeded", **{"class": ""}),
            **gauge("outcomes_total", "0x30 1+1x20 21x200", **FAILED),
            **gauge("outcomes_total", "0+100x250", phase="Failed", **{"class": "User"}),
            **gauge("outcomes_total", "0+100x250", phase="Rejected", **{"class": ""}),
        },
        *(30, 60, 120),
        "More than a fifth of the exports fail.",
        "21 exports failed within 30 minutes for no fault of their requesters.",
    ),
    "ExportQueueOld": Case(
        {
            **gauge("queue_oldest_age_seconds", "0+60x90 0+60x30", reason="ClusterConcurrency"),
            **gauge("queue_oldest_age_seconds", "90000x200", reason="QuotaExceeded"),
        },
        *(65, 75, 100),
        "Requests have waited for more than an hour (ClusterConcurrency).",
        "The first of them has waited for 1h 15m 0s. Those that wait for a quota window are not among them.",
        {"reason": "ClusterConcurrency"},
    ),
    "ExportRunStuck": Case(
        gauge("stuck_runs", "0x5 2x20 0x20"),
        *(9, 12, 30),
        "2 runs should have been over long ago.",
        "All attempts of each, with their grace and back-offs, would have ended 15 minutes ago or more.",
    ),
    "ExportDeadLetters": Case(
        {
            **gauge("requests", "0x5 6x60 0x20", reason="SourceUnavailable", **FAILED),
            **gauge("requests", "0x5 6x60 0x20", reason="OutOfMemory", phase="Failed", **{"class": "Infrastructure"}),
            **gauge("requests", "50x100", reason="InvalidParameter", phase="Failed", **{"class": "User"}),
        },
        *(34, 40, 70),
        "12 failed requests wait to be run again.",
        "They failed for no fault of their requesters, and nobody has run them anew.",
    ),
    "ExportSourceDown": Case(
        {
            **gauge("available", "1x5 0x20 1x20", kind="Source", name="app-db"),
            **gauge("available", "1x100", kind="Source", name="other"),
        },
        *(7, 9, 30),
        "Source app-db is down.",
        "Requests for it wait; they start by themselves when it is back.",
        {"kind": "Source", "name": "app-db"},
    ),
    "ExportDestinationDown": Case(
        gauge("available", "1x5 0x20 1x20", kind="Destination", name="bucket"),
        *(7, 9, 30),
        "Destination bucket is down.",
        "Requests for it wait, or go to its fallback if it has one.",
        {"kind": "Destination", "name": "bucket"},
    ),
    "ExportFallbackInUse": Case(
        gauge("fallback_deliveries_total", "0x5 1x200", destination="bucket"),
        *(5, 7, 80),
        "Exports for bucket went to its fallback.",
        "They are to be moved when the destination is back.",
        {"destination": "bucket"},
    ),
    "ExportLedgerUnreadable": Case(
        gauge("ledger_unreadable", "0x5 1x20 0x20"),
        *(6, 8, 30),
        "1 ExportUsages cannot be read.",
        "Nobody whom they count is admitted.",
    ),
    "ExportIdentityNotEnforced": Case(
        {
            'export_operator_identity_enforced{pod="a"}': "1x5 0x20 1x20",
            'export_operator_identity_enforced{pod="standby"}': "0x100",
        },
        *(7, 9, 30),
        "Nobody attests who asks, and nothing is admitted.",
        "The admission policies of export-operator are missing or blind.",
        pods=("",),
    ),
    "ExportNoLeader": Case(
        {
            'export_operator_leader{pod="a"}': "1x5 _x50",
            'export_operator_leader{pod="b"}': "0x5 _x20 1x20",
        },
        *(6, 15, 30),
        "No export-operator leads.",
        "Requests are neither started nor ended. Exports under way go on.",
        pods=("",),
    ),
    "ExportSweeperBehind": Case(
        {
            **gauge("clean_ups_waiting", "0x5 3x80 0x20", destination="bucket"),
            **gauge("orphaned_bytes", "7000x200", destination="bucket", kind="Delivered"),
            **gauge("last_sweep_timestamp_seconds", "0+60x200", destination="bucket"),
        },
        *(60, 70, 100),
        BEHIND,
        LEFT,
        {"destination": "bucket"},
    ),
    "ExportSweeperBehind, by Jobs that stay": Case(
        gauge("ttl_lag_seconds", "0x5 3601x80 0x20"),
        *(60, 70, 100),
        BEHIND,
        LEFT,
    ),
    "ExportSweeperBehind, by a destination that no sweep sees": Case(
        gauge("last_sweep_timestamp_seconds", "0x1600 96600x200", destination="bucket"),
        *(1440, 1550, 1650),
        BEHIND,
        LEFT,
        {"destination": "bucket"},
    ),
    "ExportHistoryBehind": Case(
        gauge("history_backlog", "0 3 0 2 0 7x50 0x20"),
        *(34, 36, 60),
        "Ended exports are not written to the history.",
        "7 rows wait for their table. Exports go on, and requests are kept a while longer for it.",
    ),
    "ExportDeadlinesTight": Case(
        {
            **gauge("runs_near_deadline_total", "0x10 1+1x29 30x600", source="app-db"),
            **gauge("run_duration_seconds_count", "0+2x40 80x600", source="app-db"),
            **gauge("runs_near_deadline_total", "0+1x600", source="quick"),
            **gauge("run_duration_seconds_count", "0+10x600", source="quick"),
        },
        *(10, 60, 500),
        "Many exports of app-db barely meet their deadline.",
        "Within six hours 30 runs took 80 % of it or more.",
        {"source": "app-db"},
    ),
    "ExportCredentialExpiring": Case(
        gauge("credential_expiry_timestamp_seconds", "700000x1800 70000000x200", kind="Source", name="app-db"),
        *(1, 1700, 1900),
        "A credential of source app-db expires within a week.",
        "It expires in 6d 22h 6m 40s; exports fail then.",
        {"kind": "Source", "name": "app-db"},
    ),
    "ExportNotificationsWaiting": Case(
        gauge("notifications_oldest_age_seconds", "0+60x40 0x600", policy="default", channel="ops"),
        *(10, 30, 60),
        "Channel ops of policy default delivers nothing.",
        "The first of its notifications has waited for 30m 0s; each is given up after three days.",
        {"policy": "default", "channel": "ops"},
    ),
    "ExportNotificationsGivenUp": Case(
        {
            **gauge("notifications_total", "0x5 2x200", policy="default", channel="ops", result="dead"),
            **gauge("notifications_total", "0+3x200", policy="default", channel="ops", result="failed"),
        },
        *(5, 7, 80),
        "Notifications by channel ops of policy default were given up.",
        "Whom they were for does not know. They are kept, and can be sent again.",
        {"policy": "default", "channel": "ops", "result": "dead"},
    ),
}


def rule(name: str) -> dict[str, Any]:
    document = yaml.safe_load(RULES.read_text())
    (found,) = [each for group in document["groups"] for each in group["rules"] if each["alert"] == name]
    return dict(found)


def alert_of(case: str) -> str:
    return case.partition(",")[0]


def test_every_alert_has_a_case() -> None:
    document = yaml.safe_load(RULES.read_text())
    known = [each["alert"] for group in document["groups"] for each in group["rules"]]
    assert known == list(dict.fromkeys(map(alert_of, CASES)))


@pytest.mark.parametrize("given", CASES)
def test_an_alert_is_silent_fires_and_ends(tmp_path: Path, given: str) -> None:
    case, name = CASES[given], alert_of(given)
    found = rule(name)
    fired = {
        "exp_labels": {**found["labels"], **case.labels},
        "exp_annotations": {
            "summary": case.summary,
            "description": case.description,
            "runbook_url": found["annotations"]["runbook_url"],
        },
    }
    series = [
        {"series": line.replace("{pod}", pod), "values": values}
        for pod in case.pods
        for line, values in case.series.items()
    ]
    moments: list[tuple[int, list[Any]]] = [(case.quiet, []), (case.fires, [fired]), (case.ended, [])]
    document = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": series,
                "alert_rule_test": [
                    {"eval_time": f"{minute}m", "alertname": name, "exp_alerts": alerts} for minute, alerts in moments
                ],
            }
        ],
    }
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    done = shell.run([program("prometheus", "promtool"), "test", "rules", tmp_path / "test.yaml"], check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_finds_nothing_to_mend_in_the_rules() -> None:
    done = shell.run([program("prometheus", "promtool"), "check", "rules", "--lint-fatal", RULES], check=False)
    assert done.returncode == 0, done.stdout + done.stderr
