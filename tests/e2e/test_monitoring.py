"""Real Prometheus and Alertmanager over the real operator: faults are told and taken back, every query of the
dashboards is answered, and no restart changes a counter."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
import yaml
from scripts.dashboards import DASHBOARDS

from export_operator.adapters.totals import NAME
from tests.cluster.kubectl import Kubectl
from tests.e2e.conftest import MakeTeam, World
from tests.e2e.furniture import FEW, FICKLE, PLENTY, address, destination, paced
from tests.e2e.killer import Killer
from tests.platform.api import Json, path
from tests.platform.catalogue import named
from tests.platform.names import DEPLOYMENT, NAMESPACE, REPOSITORY
from tests.platform.waiting import until
from tests.services.processes import workplace
from tests.services.prometheus import Alertmanager, Prometheus, Receiver, receiver

pytestmark = pytest.mark.e2e

RULES = REPOSITORY / "manifests" / "monitoring" / "alerts.yaml"
WATCHED = "e2e-watched"
"""A destination on the S3 server that comes and goes, and a policy and its group."""
TOLD, TAKEN_BACK = 90.0, 120.0
"""Bounds: two probes that fail, and the next one when it is down, with scrape, rule and sending."""
NOTHING_YET = "export_operator_last_sweep_timestamp_seconds"
"""The first sweep comes later."""
OR_NOTHING = " or vector(0)"
"""How a query is answered when there is nothing to tell."""
SELDOM = {
    "Running",
    "Calls of exporters tried again, a minute",
    "Looks that failed, a minute",
    "Calls that failed, a minute",
    "Clean-up",
    "Orphaned bytes",
}
"""Panels of what an export that goes well has nothing of."""
LONG_AGO = timedelta(days=30)


@dataclass(frozen=True)
class Watch:
    prometheus: Prometheus
    receiver: Receiver

    def one(self, expression: str) -> float | None:
        """The value of an expression that gives one, or none."""
        found = self.prometheus.query(expression)
        return float(found[0]["value"][1]) if found else None


@pytest.fixture(scope="module")
def watch(world: World) -> Iterator[Watch]:
    with workplace("monitoring") as directory, receiver() as (got, url):
        rules = yaml.safe_load(RULES.read_text())
        for group in rules["groups"]:
            for rule in group["rules"]:
                # The alerts' own conditions, without their patience.
                rule |= {"for": "0s", "expr": rule["expr"].replace("> 3600", "> 3")}
        (directory / "rules.yml").write_text(yaml.safe_dump(rules))
        alertmanager = Alertmanager(directory, url)
        prometheus = Prometheus(
            directory,
            world.platform.cluster.kubeconfig,
            directory / "rules.yml",
            alertmanager.port,
            lambda: running(world),
        )
        try:
            alertmanager.start()
            prometheus.start()
            yield Watch(prometheus, got)
        finally:
            prometheus.stop()
            alertmanager.stop()


def running(world: World) -> list[Json]:
    """The operator's pods that run."""
    pods = world.platform.api.items("Pod", NAMESPACE, f"app.kubernetes.io/name={DEPLOYMENT}")
    return [pod for pod in pods if pod["status"].get("phase") == "Running"]


def test_every_query_of_the_dashboards_is_answered_after_an_export(watch: Watch, world: World, teams: MakeTeam) -> None:
    api = world.platform.api
    hook = {"name": "hook", "type": "Webhook", "secretRef": {"name": "e2e-absent"}}
    selector = {"groups": ["e2e-nobody"]}
    api.apply(named("ExportPolicy", WATCHED, {"selector": selector, "notifications": {"channels": [hook]}}))
    team = teams(PLENTY)
    before = watch.one(TEAM_ROWS.format(team.namespace))
    assert before is None
    team.ask("shown")
    team.ask("failed", "broken")
    team.ask("waits", destination={"name": "e2e-unreachable"})
    team.succeeded("shown")
    until("the rows to be counted", lambda: watch.one(TEAM_ROWS.format(team.namespace)) == FEW, 60)
    waiting = {
        (dashboard.name, panel.title, legend): query
        for dashboard in DASHBOARDS
        for panel in dashboard.panels
        for legend, query in panel.queries.items()
    }

    def answered() -> bool:
        for place, query in list(waiting.items()):
            given = query.replace("$__rate_interval", "30s").replace("$tenant", ".*")
            if place[1] not in SELDOM:
                given = given.replace(OR_NOTHING, "")
            if watch.prometheus.query(given) or NOTHING_YET in query:
                del waiting[place]
        return not waiting

    try:
        until("an answer to every query", answered, 60)
    except Exception:
        assert waiting == {}
        raise


TAKES_MINUTES = paced(milliseconds=2000)
TEAM_ROWS = 'max(export_operator_tenant_exported_rows_total{{tenant="{}"}})'


def test_s3_that_is_stopped_is_told_to_the_receiver_and_so_is_its_return(watch: Watch, world: World) -> None:
    api, services = world.platform.api, world.platform.services
    api.apply(destination(services, WATCHED, endpoint=address(FICKLE)))
    labels = {"kind": "Destination", "name": WATCHED}
    up = f'max(export_operator_available{{kind="Destination", name="{WATCHED}"}}) == 1'
    until("the destination to be seen", lambda: watch.one(up), TOLD)
    assert watch.receiver.last("ExportDestinationDown", **labels) == ""
    try:
        services.kubectl.run("scale", f"deployment/{FICKLE}", "--replicas=0")
        until("the alert", lambda: watch.receiver.last("ExportDestinationDown", **labels) == "firing", TOLD)
    finally:
        services.kubectl.run("scale", f"deployment/{FICKLE}", "--replicas=1")
        services.kubectl.rolled_out(FICKLE)
    until("its end", lambda: watch.receiver.last("ExportDestinationDown", **labels) == "resolved", TAKEN_BACK)


def test_a_queue_that_is_full_for_long_is_told_and_so_is_that_it_moves_again(
    watch: Watch, world: World, teams: MakeTeam
) -> None:
    limits = {"user": {"requests": 100}, "all": {"maxConcurrent": 1}}
    world.platform.api.apply(named("ExportPolicy", WATCHED, {"selector": {"groups": [WATCHED]}, "limits": limits}))
    team = teams(WATCHED)
    team.ask("holds", source=TAKES_MINUTES)
    team.until("holds", "Running")
    team.ask("waits")
    team.until("waits", "Queued", reason="PolicyConcurrency")
    labels = {"reason": "PolicyConcurrency"}
    until("the alert", lambda: watch.receiver.last("ExportQueueOld", **labels) == "firing", TOLD)
    team.patch("holds", cancel=True)
    team.succeeded("waits")
    until("its end", lambda: watch.receiver.last("ExportQueueOld", **labels) == "resolved", TOLD)
    told = {name: {event["reason"]: event["type"] for event in team.events(name)} for name in ("holds", "waits")}
    assert told == {
        "holds": {"Started": "Normal", "Cancelled": "Normal"},
        "waits": {"Started": "Normal", "Succeeded": "Normal"},
    }


def test_a_pod_that_hangs_is_told_when_its_run_should_long_be_over(
    watch: Watch, world: World, teams: MakeTeam, executioner: Killer
) -> None:
    team = teams(PLENTY)
    team.ask("hangs", source=TAKES_MINUTES)
    pod = team.running_pod("hangs")
    assert executioner.freeze(pod)
    try:
        team.until("hangs", "Running")
        assert watch.receiver.last("ExportRunStuck") != "firing"
        # What the operator would find much later.
        began = (datetime.now(UTC) - LONG_AGO).strftime("%Y-%m-%dT%H:%M:%SZ")
        place = path("ExportRequest", "hangs", team.namespace) + "/status"
        as_operator = world.platform.api.as_user(f"system:serviceaccount:{NAMESPACE}:{DEPLOYMENT}")
        as_operator.call("PATCH", place, {"status": {"startTime": began}}, "application/merge-patch+json")
        until("the alert", lambda: watch.receiver.last("ExportRunStuck") == "firing", TOLD)
    finally:
        executioner.thaw(pod)
    team.patch("hangs", cancel=True)
    team.until("hangs", "Cancelled", seconds=TAKEN_BACK)
    until("its end", lambda: watch.receiver.last("ExportRunStuck") == "resolved", TOLD)


def test_a_cluster_without_an_operator_is_told(watch: Watch, operator: Kubectl) -> None:
    until("a leader", lambda: watch.one("sum(export_operator_leader) == 1"), 60)
    wanted = operator.output("get", "deployment", DEPLOYMENT, "-o", "jsonpath={.spec.replicas}")
    try:
        operator.run("scale", f"deployment/{DEPLOYMENT}", "--replicas=0")
        until("the alert", lambda: watch.receiver.last("ExportNoLeader") == "firing", TOLD)
    finally:
        operator.run("scale", f"deployment/{DEPLOYMENT}", f"--replicas={wanted}")
        operator.run("rollout", "status", f"deployment/{DEPLOYMENT}", "--timeout=120s")
    until("its end", lambda: watch.receiver.last("ExportNoLeader") == "resolved", TAKEN_BACK)


def test_an_operator_that_is_killed_takes_no_run_from_the_counters_and_adds_none(
    watch: Watch, operator: Kubectl, runs: Kubectl, teams: MakeTeam
) -> None:
    """Read as people read them, over all that was scraped, and on the page of the one that comes after."""
    team = teams(PLENTY)
    ended = f'max(export_operator_tenant_runs_ended_total{{tenant="{team.namespace}", phase="Succeeded"}})'
    for name in ("first", "second"):
        team.ask(name)
        team.succeeded(name)
    until("both to be counted", lambda: watch.one(ended) == 2, 60)
    team.ask("third")
    operator.run("delete", "pod", "--selector", f"app.kubernetes.io/name={DEPLOYMENT}", "--grace-period=0", "--force")
    team.succeeded("third", 120)
    until("the third to be counted", lambda: watch.one(ended) == 3, 90)
    most = f"max_over_time(({ended})[10m:1s])"  # a subquery sees the last whole second
    until("three to be the most that was ever told", lambda: watch.one(most) == 3, 10)
    kept = json.loads(runs.output("get", "configmap", NAME, "-o", r"jsonpath={.data.totals\.json}"))
    assert [numbers["runs"] for labels, numbers in kept["tenants"] if labels == [team.namespace, "Succeeded"]] == [3]
