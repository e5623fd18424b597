"""`export-operator notifications` over a real API server: what was given up is shown, and asked for by the policy."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import pytest

from export_operator.adapters.kube import Kube, path_of
from export_operator.adapters.outbox import OutboxStore
from export_operator.domain.channels import Event
from export_operator.domain.notifications import Notification
from export_operator.domain.outbox import Box, Outbox
from export_operator.domain.resend import Wish, wish_of

pytestmark = pytest.mark.integration

MOMENT = datetime(2026, 11, 24, 12, tzinfo=UTC)
FOUND = Notification("run-failed", Event.FAILED, MOMENT, MOMENT, {"namespace": "team-a", "name": "users"})


def notifications(kubeconfig: str, namespace: str, *arguments: str) -> Any:
    command = [sys.executable, "-m", "export_operator", "notifications", *arguments, "--output", "json"]
    done = subprocess.run(
        [*command, "--run-namespace", namespace],
        env={"KUBECONFIG": kubeconfig},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return json.loads(done.stdout)


async def test_what_was_given_up_is_shown_and_asked_for(kube: Kube, namespace: str, kubeconfig: str) -> None:
    policies = path_of("export-operator.io", "v1alpha1", "exportpolicies")
    channels = [{"name": "ops", "type": "Webhook", "secretRef": {"name": "ops"}}]
    spec = {"selector": {"groups": [namespace]}, "notifications": {"channels": channels}}
    policy = await kube.create(
        policies,
        {
            "apiVersion": "export-operator.io/v1alpha1",
            "kind": "ExportPolicy",
            "metadata": {"name": namespace},
            "spec": spec,
        },
    )
    outbox, key = Outbox({f"{namespace}/ops": Box(MOMENT)}), f"{namespace}/ops"
    assert outbox.add(FOUND, key, MOMENT)
    outbox.bury(key, FOUND.id, "HTTP 400", MOMENT)
    await OutboxStore(kube, namespace).save(outbox, "")
    try:
        given_up = {
            "time": "2026-11-24T12:00:00Z",
            "channel": key,
            "id": FOUND.id,
            "event": "Failed",
            "request": "team-a/users",
            "why": "HTTP 400",
        }
        listed = notifications(kubeconfig, namespace, "list")
        assert (listed["givenUp"], listed["channels"][0]["dead"]) == ([given_up], 1)
        for trial in (["--dry-run"], []):
            told = notifications(kubeconfig, namespace, "resend", namespace, "--channel", "ops", *trial)
            assert told == {"dryRun": bool(trial), "resent": [given_up], "left": []}
            found = wish_of(await kube.get(f"{policies}/{namespace}"))
            assert found == (None if trial else Wish(MOMENT, ("ops",)))
    finally:
        await kube.delete(f"{policies}/{namespace}", uid=policy["metadata"]["uid"])
