"""What /metrics tells, read as Prometheus reads it."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Mapping

import aiohttp
import pytest
from kubernetes.aio import client
from prometheus_client.parser import text_string_to_metric_families

from export_operator.adapters.health import HealthServer
from export_operator.adapters.kube import ApiError, Kube, path_of
from export_operator.adapters.metrics import Metrics, OutboxCollector, ResourceCollector, TotalsCollector, purpose_of
from export_operator.adapters.metrics.catalogue import GROUPS, Kind
from export_operator.domain import times
from export_operator.domain.outbox import Tally
from export_operator.domain.series import Labels
from export_operator.domain.totals import DOWNLOADS, REDELIVERIES, End, Fact, Totals
from export_operator.store import Store
from tests.services.processes import free_port

from .builders import NOW, later

pytestmark = pytest.mark.unit

OURS = ("export-operator.io", "v1alpha1")
PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
"""What Prometheus 2 sends."""
ACCEPTS_OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def samples(metrics: Metrics, name: str) -> Mapping[tuple[str, ...], float]:
    """The samples of one metric, by the values of its labels in the order of their names."""
    body, _ = metrics.render("")
    return {
        tuple(value for _, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
        if sample.name == f"export_operator_{name}"
    }


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
async def page(metrics: Metrics) -> AsyncIterator[str]:
    """The address of a server that is ready when it has seen a call."""
    port = free_port()
    server = HealthServer(port, metrics, alive=lambda: True, ready=lambda: bool(samples(metrics, "api_calls_total")))
    await server.start()
    yield f"http://127.0.0.1:{port}"
    await server.stop()


def test_a_gauge_is_what_was_last_said(metrics: Metrics) -> None:
    for number in (3, 2):
        metrics.queue_depth(number)
        metrics.ledger_unreadable(number)
    metrics.identity_enforced(True)
    found = [samples(metrics, name) for name in ("queue_depth", "ledger_unreadable", "identity_enforced")]
    assert found == [{(): 2.0}, {(): 2.0}, {(): 1.0}]


def test_identity_does_not_count_as_enforced_before_anybody_said_so(metrics: Metrics) -> None:
    (value,) = samples(metrics, "identity_enforced").values()
    assert math.isnan(value)


def test_a_breaker_has_one_state_at_a_time_and_none_when_its_object_is_gone(metrics: Metrics) -> None:
    for name, state in (("app-db", "open"), ("app-db", "half-open"), ("other", "closed"), ("other", None)):
        metrics.breaker_state("Source", name, state)
    assert samples(metrics, "breaker_state") == {
        ("Source", "app-db", "closed"): 0.0,
        ("Source", "app-db", "half-open"): 1.0,
        ("Source", "app-db", "open"): 0.0,
    }


def test_the_state_of_an_object_that_was_never_known_can_be_taken_away(metrics: Metrics) -> None:
    metrics.breaker_state("Source", "never", None)
    assert samples(metrics, "breaker_state") == {}


def test_calls_are_counted_by_purpose_verb_and_code(metrics: Metrics) -> None:
    path = path_of(*OURS, "exportrequests", "users", "status", namespace="team-a")
    for code in (200, 200, 409, 0):
        metrics.count_call(path, "update", code)
    assert samples(metrics, "api_calls_total") == {
        ("200", "status", "update"): 2.0,
        ("409", "status", "update"): 1.0,
        ("none", "status", "update"): 1.0,
    }


async def test_a_call_that_nobody_answers_is_counted(metrics: Metrics) -> None:
    api = client.ApiClient(client.Configuration(host="http://127.0.0.1:1"))
    kube = Kube(api, metrics.count_call)
    with pytest.raises(ApiError):
        await kube.get(path_of("batch", "v1", "jobs", "a", namespace="runs"))
    await kube.close()
    assert samples(metrics, "api_calls_total") == {("none", "job", "get"): 1.0}


def test_a_decision_is_timed(metrics: Metrics) -> None:
    with metrics.deciding():
        pass
    assert samples(metrics, "admission_decision_seconds_count") == {(): 1.0}


@pytest.mark.parametrize(
    ("verb", "path", "purpose"),
    [
        ("list", path_of(*OURS, "exportrequests"), "list"),
        ("watch", path_of(*OURS, "exportusages", namespace="runs"), "watch"),
        ("get", path_of(*OURS, "exportrequests", "a", namespace="n"), "request"),
        ("update", path_of(*OURS, "exportrequests", "a", "status", namespace="n"), "status"),
        ("update", path_of(*OURS, "exportsources", "a", "status"), "status"),
        ("update", path_of(*OURS, "exportusages", "slots", namespace="runs"), "ledger"),
        ("create", path_of("batch", "v1", "jobs", namespace="runs"), "job"),
        ("create", path_of("", "v1", "events", namespace="n"), "event"),
        ("get", path_of("", "v1", "secrets", "a", namespace="runs"), "probe"),
        ("create", path_of("", "v1", "secrets", namespace="team-a"), "download"),
        ("update", path_of("", "v1", "configmaps", "export-operator-totals", namespace="runs"), "totals"),
        ("update", path_of("", "v1", "configmaps", "export-operator-history", namespace="runs"), "history"),
        ("update", path_of("", "v1", "configmaps", "export-operator-notifications", namespace="runs"), "notification"),
        ("get", path_of("", "v1", "pods", "a", "log", namespace="runs"), "log"),
        ("list", path_of("", "v1", "pods", namespace="runs"), "pod"),
        ("create", path_of(*OURS, "exportrequests", namespace="n"), "request"),
        ("get", path_of("", "v1", "namespaces", "jobs"), "get"),
    ],
)
def test_the_purpose_of_a_call_follows_from_what_it_touches(verb: str, path: str, purpose: str) -> None:
    assert purpose_of(path, verb) == purpose


def test_names_that_tenants_choose_do_not_change_the_purpose() -> None:
    assert purpose_of(path_of(*OURS, "exportrequests", "status", namespace="jobs"), "get") == "request"


async def test_the_page_is_served_beside_the_checks(page: str, metrics: Metrics) -> None:
    async with aiohttp.ClientSession(page) as session:
        async with session.get("/readyz") as answer:
            assert answer.status == 503
        metrics.count_call("/api", "get", 200)
        async with session.get("/readyz") as answer:
            assert answer.status == 200
        async with session.get("/metrics") as answer:
            assert (answer.status, answer.content_type) == (200, "text/plain")
            assert "export_operator_api_calls_total" in await answer.text()


async def test_whoever_takes_both_formats_gets_the_cheaper_one(page: str) -> None:
    async with (
        aiohttp.ClientSession(page, headers={"Accept": PROMETHEUS}) as session,
        session.get("/metrics") as answer,
    ):
        assert answer.content_type == "text/plain"


async def test_the_page_speaks_openmetrics_to_whom_asks_for_nothing_else(page: str) -> None:
    async with (
        aiohttp.ClientSession(page, headers={"Accept": ACCEPTS_OPENMETRICS}) as session,
        session.get("/metrics") as answer,
    ):
        assert answer.content_type == "application/openmetrics-text"
        assert (await answer.text()).endswith("# EOF\n")


def test_a_metric_that_is_asked_for_when_it_is_scraped_tells_the_present(metrics: Metrics) -> None:
    ages, waiting = [5.0], [1, 2]
    metrics.cache_age("jobs", lambda: ages[0])
    metrics.workqueue("exportrequests", lambda: len(waiting))
    ages[0] = 7.0
    waiting.append(3)
    assert samples(metrics, "cache_age_seconds") == {("jobs",): 7.0}
    assert samples(metrics, "workqueue_length") == {("exportrequests",): 3.0}


def test_looks_are_timed_and_those_that_failed_are_counted_by_what_failed(metrics: Metrics) -> None:
    looked = metrics.workqueue("exportrequests", lambda: 0)
    for failed in ("", "expected", "", "bug", "expected"):
        looked(0.02, failed)
    assert samples(metrics, "reconcile_seconds_count") == {("exportrequests",): 5.0}
    assert samples(metrics, "reconcile_errors_total") == {
        ("expected", "exportrequests"): 2.0,
        ("bug", "exportrequests"): 1.0,
    }


def test_what_is_gone_is_told_no_more(metrics: Metrics) -> None:
    metrics.swept({("bucket", "Upload"): 7}, ["bucket"], [], NOW)
    metrics.credential_expiry("Source", "app-db", NOW)
    assert samples(metrics, "orphaned_bytes") == {("bucket", "Upload"): 7.0}
    assert samples(metrics, "credential_expiry_timestamp_seconds") == {("Source", "app-db"): NOW.timestamp()}
    metrics.swept({}, [], [], later(60))
    metrics.credential_expiry("Source", "app-db", None)
    metrics.credential_expiry("Source", "never", None)
    gone = ("orphaned_bytes", "last_sweep_timestamp_seconds", "credential_expiry_timestamp_seconds")
    assert [samples(metrics, name) for name in gone] == [{}, {}, {}]


def test_a_destination_that_is_never_swept_to_its_end_is_late_since_that_was_first_tried(metrics: Metrics) -> None:
    for seconds, whole, unseen in ((0, ["seen"], ["blind"]), (60, [], ["blind", "seen"]), (120, ["blind"], ["seen"])):
        metrics.swept({}, whole, unseen, later(seconds))
        if seconds == 60:
            before = samples(metrics, "last_sweep_timestamp_seconds")
    assert before == {("seen",): NOW.timestamp(), ("blind",): NOW.timestamp()}
    after = {("seen",): NOW.timestamp(), ("blind",): later(120).timestamp()}
    assert samples(metrics, "last_sweep_timestamp_seconds") == after


def test_whether_it_leads_is_asked_at_each_scrape(metrics: Metrics) -> None:
    leads = [False]
    metrics.leader(lambda: leads[0])
    before = samples(metrics, "leader")
    leads[0] = True
    assert (before, samples(metrics, "leader")) == ({(): 0.0}, {(): 1.0})


@pytest.fixture
def store() -> Store:
    """A source, and a policy that tells what is used."""
    store = Store(lambda _: None)
    conditions = [{"type": "Available", "status": "False"}]
    store.put_named("exportsources", named("app-db", {"conditions": conditions}))
    store.put_named("exportsources", named("new", {}))
    store.put_named("exportpolicies", named("default", {"usage": {"requests": 3, "running": 1}}))
    return store


def named(name: str, status: Mapping[str, object]) -> dict[str, object]:
    return {"metadata": {"name": name, "uid": name, "resourceVersion": "1"}, "spec": {}, "status": status}


def request(name: str, version: int, status: Mapping[str, object]) -> dict[str, object]:
    metadata = {"namespace": "team-a", "name": name, "uid": name, "resourceVersion": str(version)}
    return {"metadata": metadata, "spec": {}, "status": status}


def test_gauges_tell_what_is_there_now(metrics: Metrics, store: Store) -> None:
    metrics.register(ResourceCollector(store, lambda: 2, 20, lambda: NOW))
    waiting = {"phase": "Queued", "reason": "ClusterConcurrency", "queuedTime": times.render(later(-90))}
    store.put_request(request("a", 1, waiting))
    store.put_request(request("b", 1, waiting))
    store.put_request(
        request("b", 2, {"phase": "Failed", "reason": "OutOfMemory", "failure": {"class": "Infrastructure"}})
    )
    found = {
        name: samples(metrics, name)
        for name in (
            "requests",
            "tenant_requests",
            "queue_oldest_age_seconds",
            "stuck_runs",
            "slots_used",
            "slots",
            "quota_used",
            "available",
        )
    }
    assert found == {
        # class, destination, format, phase, policy, reason, source
        "requests": {
            ("", "", "", "Queued", "", "ClusterConcurrency", ""): 1.0,
            ("Infrastructure", "", "", "Failed", "", "OutOfMemory", ""): 1.0,
        },
        "tenant_requests": {("Queued", "team-a"): 1.0, ("Failed", "team-a"): 1.0},
        "queue_oldest_age_seconds": {("ClusterConcurrency",): 90.0},
        "stuck_runs": {(): 0.0},
        "slots_used": {(): 2.0},
        "slots": {(): 20.0},
        "quota_used": {("default", "requests"): 3.0},
        "available": {("Source", "app-db"): 0.0},
    }


def test_counters_tell_the_totals_and_zero_for_what_never_happened(metrics: Metrics, store: Store) -> None:
    collector = TotalsCollector(store)
    metrics.register(collector)
    assert samples(metrics, "outcomes_total") == {}
    labels = Labels("Failed", "SourceUnavailable", "Source", "default", "app-db", "bucket", "CSV")
    totals = Totals(0)
    totals.add(
        End(
            "run",
            1,
            "team-a",
            labels,
            {
                "runs": 1,
                "retries:UploadPart/DestinationUnavailable": 3,
                "rows": 7,
                "near_deadline": 1,
                "duration_60": 1,
                "duration_sum": 31,
            },
        )
    )
    totals.add(Fact("download", 1, {(DOWNLOADS, "Failed", "NotAllowed"): 1}))
    totals.add(Fact("redelivery", 1, {(REDELIVERIES, "bucket"): 2}))
    collector.show(totals)
    assert samples(metrics, "downloads_total") == {("Failed", "NotAllowed"): 1.0, ("Ready", "LinksMade"): 0.0}
    assert samples(metrics, "redeliveries_total")[("bucket",)] == 2.0
    assert samples(metrics, "runs_ended_total") == {
        ("Source", "bucket", "CSV", "Failed", "default", "SourceUnavailable", "app-db"): 1.0
    }
    assert {key: value for key, value in samples(metrics, "outcomes_total").items() if value} == {
        ("Source", "Failed"): 1.0
    }
    assert samples(metrics, "outcomes_total")[("", "Succeeded")] == 0.0
    assert samples(metrics, "runs_near_deadline_total") == {("app-db",): 1.0, ("new",): 0.0}
    assert samples(metrics, "run_duration_seconds_sum") == {("app-db",): 31.0, ("new",): 0.0}
    assert samples(metrics, "run_duration_seconds_count") == {("app-db",): 1.0, ("new",): 0.0}
    assert samples(metrics, "run_duration_seconds_bucket")[("60", "app-db")] == 1.0
    assert samples(metrics, "tenant_exported_rows_total") == {("team-a",): 7.0}
    assert samples(metrics, "retries_total") == {("UploadPart", "DestinationUnavailable"): 3.0}


def test_channels_are_told_of_by_what_is_kept(metrics: Metrics) -> None:
    collector = OutboxCollector(lambda: NOW)
    metrics.register(collector)
    assert samples(metrics, "notifications_waiting") == {}
    collector.show({"default/ops": Tally({"delivered": 3, "failed": 2, "dead": 0}, 4, later(-90))})
    found = {name: samples(metrics, f"notifications_{name}") for name in ("total", "waiting", "oldest_age_seconds")}
    assert found == {
        "total": {("ops", "default", "delivered"): 3, ("ops", "default", "failed"): 2, ("ops", "default", "dead"): 0},
        "waiting": {("ops", "default"): 4},
        "oldest_age_seconds": {("ops", "default"): 90},
    }


def test_everything_that_is_exposed_is_in_the_catalogue_with_its_labels(metrics: Metrics, store: Store) -> None:
    collector = TotalsCollector(store)
    collector.show(Totals(0))
    metrics.register(collector)
    metrics.register(ResourceCollector(store, lambda: 0, 0, lambda: NOW))
    metrics.register(OutboxCollector(lambda: NOW))
    body, _ = metrics.render("")
    told = {
        family.name: (family.type, family.documentation)
        for family in text_string_to_metric_families(body.decode())
        if family.name.startswith("export_operator_") and not family.name.endswith("_created")
    }
    known = {family.full_name: (str(family.kind), family.help) for families in GROUPS.values() for family in families}
    assert told == known
    assert {kind for kind, _ in told.values()} == {str(kind) for kind in Kind}
