"""Simulated nodes: the Job controller, the scheduler and the garbage collector are Kubernetes' own, kubelets are
played by kwok. No container runs: a pod is running as soon as it has a node, and ends after a while with the message
that the exporter would have left."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from export_contract import environment
from export_contract.report import Delivered, Outcome
from export_operator.adapters.kube import Kube, path_of
from tests.cluster import kwok
from tests.cluster.local import components
from tests.load.plane import Component, Plane

CONTROLLERS = "job-controller,garbage-collector-controller,node-lifecycle-controller"
NODE_STAGES = ("node/fast/node-initialize.yaml", "node/heartbeat-with-lease/node-heartbeat-with-lease.yaml")
LEASE_SECONDS = 40
READY_SECONDS = 120.0

READY = """\
{{ $now := Now }}
phase: Running
startTime: {{ $now | Quote }}
conditions:
{{ range $type := list "Initialized" "Ready" "ContainersReady" }}
- {type: {{ $type }}, status: "True", lastTransitionTime: {{ $now | Quote }}}
{{ end }}
containerStatuses:
{{ range .spec.containers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  ready: true
  started: true
  restartCount: 0
  state: {running: {startedAt: {{ $now | Quote }}}}
{{ end }}
"""

ENDED = """\
{{ $now := Now }}
{{ $began := .status.startTime }}
{{ $run := dict }}
{{ range (index .spec.containers 0).env }}
{{ if eq .name "@VARIABLE@" }}{{ $run = .value | fromJson }}{{ end }}
{{ end }}
phase: Succeeded
containerStatuses:
{{ range .spec.containers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  ready: false
  started: false
  restartCount: 0
  state:
    terminated:
      exitCode: 0
      reason: Completed
      startedAt: {{ $began | Quote }}
      finishedAt: {{ $now | Quote }}
      message: '@MESSAGE@'
{{ end }}
"""


def message() -> str:
    """The exporter's report of a run that delivered where its RunSpec, `$run`, says: a template of kwok's."""
    delivered = Delivered(
        uri="s3://{{ $run.destination.bucket }}/{{ $run.destination.key }}",
        manifest_uri="s3://{{ $run.destination.bucket }}/{{ $run.destination.manifestKey }}",
        rows=1000,
        bytes=65_536,
        sha256="ab" * 32,
    )
    return Outcome(run="{{ $run.run.id }}", delivered=delivered, rows=1000, timings={"total": 0.5}).to_json()


def stages(run_seconds: float) -> list[dict[str, Any]]:
    """What befalls a pod of a simulated node. It runs for `run_seconds`, give or take a half of it."""
    alive = {"key": ".metadata.deletionTimestamp", "operator": "DoesNotExist"}

    def phase(*values: str) -> dict[str, Any]:
        return {"key": ".status.phase", "operator": "In", "values": list(values)}

    half = int(run_seconds * 500)
    ended = ENDED.replace("@VARIABLE@", environment.RUN_SPEC).replace("@MESSAGE@", message())
    return [
        _stage("pod-ready", [alive, phase("Pending")], {"statusTemplate": READY}),
        _stage(
            "pod-ended",
            [alive, phase("Running")],
            {"statusTemplate": ended},
            {"durationMilliseconds": half, "jitterDurationMilliseconds": 3 * half},
        ),
        _stage("pod-deleted", [{**alive, "operator": "Exists"}], {"delete": True}),
    ]


def _stage(name: str, when: list[dict[str, Any]], then: dict[str, Any], delay: Any = None) -> dict[str, Any]:
    spec = {"resourceRef": {"apiGroup": "v1", "kind": "Pod"}, "selector": {"matchExpressions": when}, "next": then}
    return {
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "Stage",
        "metadata": {"name": name},
        "spec": spec | ({"delay": delay} if delay else {}),
    }


@asynccontextmanager
async def simulated(plane: Plane, kube: Kube, count: int, run_seconds: float) -> AsyncIterator[None]:
    """So many nodes, ready; gone afterwards. The first of all builds kwok."""
    settings, directory = plane.settings, plane.settings.directory
    config = directory / "stages.yaml"
    documents = [*kwok.stages(*NODE_STAGES), *(json.dumps(each) for each in stages(run_seconds))]
    config.write_text("\n---\n".join(documents), encoding="utf-8")
    controllers: list[str | Path] = [
        *components.controller_manager(settings, plane.program),
        *("--controllers", CONTROLLERS, "--kube-api-qps", "500", "--kube-api-burst", "500"),
    ]
    player: list[str | Path] = [
        *(kwok.program(), "--kubeconfig", settings.kubeconfig, "--config", config),
        *("--manage-all-nodes", "--node-lease-duration-seconds", str(LEASE_SECONDS)),
    ]
    parts = [
        Component("kube-controller-manager", directory, controllers),
        Component("kube-scheduler", directory, components.scheduler(settings, plane.program)),
        Component("kwok", directory, player),
    ]
    try:
        for part in parts:
            part.start()
        for number in range(count):
            node = {"metadata": {"name": f"node-{number}", "labels": {"kubernetes.io/hostname": f"node-{number}"}}}
            await kube.create(path_of("", "v1", "nodes"), node)
        async with asyncio.timeout(READY_SECONDS):
            while not await _ready(kube, count):
                for part in parts:
                    if not part.running:
                        raise part.problem()
                await asyncio.sleep(0.2)
        yield
    finally:
        for part in reversed(parts):
            part.kill()


async def _ready(kube: Kube, count: int) -> bool:
    """All of them are, and nothing keeps pods away."""
    nodes, _ = await kube.list(path_of("", "v1", "nodes"))
    ready = [
        node
        for node in nodes
        if not node["spec"].get("taints")
        and any(
            each["type"] == "Ready" and each["status"] == "True"
            for each in node.get("status", {}).get("conditions", ())
        )
    ]
    return len(ready) == count
