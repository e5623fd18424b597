"""What /metrics tells, read as Prometheus reads it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import aiohttp
import pytest
from kubernetes.aio import client
from prometheus_client.parser import text_string_to_metric_families

from export_operator.adapters.health import HealthServer
from export_operator.adapters.kube import ApiError, Kube, path_of
from export_operator.adapters.metrics import Metrics, purpose_of
from tests.services.processes import free_port

pytestmark = pytest.mark.unit

OURS = ("export-operator.io", "v1alpha1")
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
    assert samples(metrics, "identity_enforced") == {(): 0.0}


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
        ("get", path_of(*OURS, "exportrequests", "a", namespace="n"), "get"),
        ("update", path_of(*OURS, "exportrequests", "a", "status", namespace="n"), "status"),
        ("update", path_of(*OURS, "exportsources", "a", "status"), "status"),
        ("update", path_of(*OURS, "exportusages", "slots", namespace="runs"), "ledger"),
        ("create", path_of("batch", "v1", "jobs", namespace="runs"), "job"),
        ("create", path_of("", "v1", "events", namespace="n"), "event"),
        ("get", path_of("", "v1", "secrets", "a", namespace="runs"), "probe"),
        ("get", path_of("", "v1", "pods", "a", "log", namespace="runs"), "log"),
        ("list", path_of("", "v1", "pods", namespace="runs"), "pod"),
        ("create", path_of(*OURS, "exportrequests", namespace="n"), "create"),
        ("get", path_of("", "v1", "namespaces", "jobs"), "get"),
    ],
)
def test_the_purpose_of_a_call_follows_from_what_it_touches(verb: str, path: str, purpose: str) -> None:
    assert purpose_of(path, verb) == purpose


def test_names_that_tenants_choose_do_not_change_the_purpose() -> None:
    assert purpose_of(path_of(*OURS, "exportrequests", "status", namespace="jobs"), "get") == "get"


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


async def test_the_page_speaks_openmetrics_to_whom_asks_for_it(page: str) -> None:
    async with (
        aiohttp.ClientSession(page, headers={"Accept": ACCEPTS_OPENMETRICS}) as session,
        session.get("/metrics") as answer,
    ):
        assert answer.content_type == "application/openmetrics-text"
        assert (await answer.text()).endswith("# EOF\n")
