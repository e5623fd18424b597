"""One trace a run, and lines of the log that lead to it, in a cluster with a collector; nothing secret in either."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from export_contract import names
from tests.cluster.kubectl import Kubectl
from tests.e2e.conftest import World
from tests.e2e.furniture import DESTINATION, PLANTED, PLENTY, SOURCE
from tests.e2e.leader import leader
from tests.e2e.team import Team
from tests.platform import catalogue, chart
from tests.platform.api import Json
from tests.platform.names import NAMESPACE, OPERATOR
from tests.platform.waiting import until
from tests.services import otlp

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

PLACE = "e2e-collector"
LABELS = {"app": "collector"}
SLOW: Json = {"source": {"name": "e2e-db", "dataset": "slow", "parameters": {"rows": "500"}}}
OF_OPERATOR = {"export", "admission", "run", "closing"}
OF_POD = {"attempt", "prepare source", "prepare destination", "read", "encode", "upload", "manifest"}


def bodies(world: World) -> list[bytes]:
    """What the collector has received."""
    where = f"/api/v1/namespaces/{PLACE}/services/collector:{otlp.PORT}/proxy/received"
    found: Any = world.platform.api.call("GET", where)
    return [base64.b64decode(each) for each in found]


def whole(world: World, run: str) -> dict[str, otlp.Span]:
    """The trace of a run that has ended."""

    def look() -> list[otlp.Span]:
        spans = [span for span in otlp.decode(bodies(world)) if span.trace == names.trace_id(run)]
        return spans if {"export", "attempt"} <= {span.name for span in spans} else []

    found = until("the whole trace", look, 60)
    assert len({span.name for span in found}) == len(found)
    return {span.name: span for span in found}


@pytest.fixture(scope="module")
def watched(world: World) -> Iterator[Team]:
    """A team on an operator that logs as JSON and tells a collector of traces."""
    platform, api = world.platform, world.platform.api
    container = {
        "name": "collector",
        "image": platform.images.operator,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-c", Path(otlp.__file__).read_text()],
        "readinessProbe": {"tcpSocket": {"port": otlp.PORT}, "periodSeconds": 1},
    }
    api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": PLACE}})
    metadata = {"name": "collector", "namespace": PLACE}
    pod = {"containers": [container], "terminationGracePeriodSeconds": 0}
    service = {"selector": LABELS, "ports": [{"port": otlp.PORT}]}
    api.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {**metadata, "labels": LABELS}, "spec": pod})
    api.apply({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": service})
    team = world.team(PLENTY, label="traced")
    endpoint = f"http://collector.{PLACE}.svc:{otlp.PORT}"
    try:
        # A machine that is busy with other tests takes its time.
        patient = (f"tracing.endpoint={endpoint}", "tracing.timeoutSeconds=30")
        chart.install(platform.cluster, platform.images, *patient, "logging.format=json")
        yield team
    finally:
        chart.install(platform.cluster, platform.images)
        world.leave(team)
        api.delete("Namespace", PLACE)


def test_a_run_is_one_trace_from_the_request_to_the_upload_whoever_leads(world: World, watched: Team) -> None:
    api = world.platform.api
    watched.ask("followed", **SLOW)
    watched.running_pod("followed")
    first = leader(api)["metadata"]["name"]
    api.delete("Pod", first, NAMESPACE, grace=0)
    result = watched.succeeded("followed", 120)
    status = watched.status("followed")
    assert leader(api)["metadata"]["name"] != first
    spans = whole(world, status["run"])
    assert set(spans) - {"queue", "create job"} == OF_OPERATOR | OF_POD
    assert status["traceID"] == spans["export"].trace
    above = {name: spans[name].id for name in ("export", "run", "attempt")}
    assert {name: span.parent for name, span in spans.items() if name not in {"queue", "create job"}} == {
        "export": "",
        **dict.fromkeys(("admission", "run", "closing"), above["export"]),
        "attempt": above["run"],
        **dict.fromkeys(OF_POD - {"attempt"}, above["attempt"]),
    }
    assert (spans["export"].attributes["export.rows"], spans["read"].attributes["export.rows"]) == (result["rows"],) * 2
    assert {spans[name].service for name in OF_OPERATOR} == {"export-operator"}
    assert {spans[name].service for name in OF_POD} == {"export-runner"}


def test_neither_traces_nor_lines_tell_a_secret_and_lines_lead_to_the_trace(
    world: World, operator: Kubectl, watched: Team
) -> None:
    watched.ask("refused", source={"name": "e2e-wrong-password", "dataset": "few"})
    assert watched.until("refused", "Failed")["reason"] == "SourceAuthenticationFailed"
    run = watched.status("refused")["run"]
    spans = whole(world, run)
    assert (spans["export"].error, spans["attempt"].error) == ("SourceAuthenticationFailed",) * 2
    log = operator.output("logs", "--selector", OPERATOR, "--tail=-1")
    lines = [json.loads(line) for line in log.splitlines()]
    ours = [line for line in lines if line.get("request") == f"{watched.namespace}/refused"]
    assert {(line.get("run"), line.get("trace_id")) for line in ours} == {(run, names.trace_id(run))}
    api = world.platform.api
    secrets = (
        PLANTED,
        catalogue.read_secret(api, SOURCE, "password"),
        catalogue.read_secret(api, DESTINATION, "AWS_SECRET_ACCESS_KEY"),
    )
    told = log.encode() + b"".join(bodies(world))
    assert [secret for secret in secrets if secret.encode() in told] == []


def test_without_its_collector_exports_are_as_ever(world: World, watched: Team) -> None:
    world.platform.api.delete("Pod", "collector", PLACE, grace=0)
    watched.ask("unwatched")
    watched.succeeded("unwatched")
