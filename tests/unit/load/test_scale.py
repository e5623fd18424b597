"""What simulated pods leave, how figures are taken from logs and metrics, and what the page says of growth."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest

from export_contract import environment
from export_contract.runspec import Destination, Relation, Run, RunSpec, Source
from tests.bench.spread import percentile
from tests.load import capacity, fairness, judging, markdown, nodes, population, results, standin
from tests.load.fairness import Fairness, Waits
from tests.load.population import Cost, Level
from tests.load.results import Circumstances, Crowd, Populations, Results, Stream
from tests.load.stream import Flow, Sample

pytestmark = pytest.mark.unit

SPEC = RunSpec(
    run=Run(id="0123456789abcdef0123", namespace="team-a", name="users", uid="uid-1"),
    source=Source(
        name="app-db",
        dataset="users",
        host="db",
        database="app",
        columns=("id",),
        relation=Relation(schema="a", table="b"),
    ),
    destination=Destination(
        name="bucket", bucket="exports", key="team-a/users.csv", manifest_key="team-a/manifest.json"
    ),
)
JOB: dict[str, Any] = {
    "spec": {
        "template": {
            "spec": {"containers": [{"env": [{"name": environment.RUN_SPEC, "value": SPEC.to_json()}]}]},
        }
    }
}


def rendered(template: str, run: dict[str, Any]) -> str:
    """The template with each path of `$run` in place of its name."""

    def value(found: re.Match[str]) -> str:
        place: Any = run
        for step in found.group(1).split("."):
            place = place[step]
        return str(place)

    return re.sub(r"{{ \$run\.([\w.]+) }}", value, template)


def test_a_simulated_pod_leaves_what_the_stand_in_and_the_exporter_leave() -> None:
    told = rendered(nodes.message(), json.loads(SPEC.to_json()))
    assert json.loads(told) == json.loads(standin.outcome(JOB))


def test_a_simulated_pod_runs_for_half_to_one_and_a_half_of_its_time() -> None:
    delays = [stage["spec"].get("delay") for stage in nodes.stages(20.0)]
    assert delays == [None, {"durationMilliseconds": 10_000, "jitterDurationMilliseconds": 30_000}, None]


@pytest.mark.parametrize(("percent", "value"), [(1, 1.0), (50, 2.0), (75, 3.0), (76, 4.0), (99, 4.0), (100, 4.0)])
def test_so_many_per_cent_of_the_values_do_not_exceed_a_percentile(percent: float, value: float) -> None:
    assert percentile([3.0, 1.0, 4.0, 2.0], percent) == value


REFUSED = 'apiserver_flowcontrol_rejected_requests_total{flow_schema="a",priority_level="b",reason='
METRICS = f"""\
# TYPE apiserver_flowcontrol_dispatched_requests_total counter
apiserver_flowcontrol_dispatched_requests_total{{flow_schema="c",priority_level="workload-low"}} 812
{REFUSED}"queue-full"}} 3
{REFUSED}"time-out"}} 4
apiserver_flowcontrol_current_inqueue_requests{{flow_schema="c",priority_level="workload-low"}} 9
"""


def test_flows_are_told_by_schema_and_level_whatever_the_reasons() -> None:
    assert fairness.flows_of(METRICS) == {
        "a → b": [0, 7],
        "c → workload-low": [812, 0],
    }


def renewal(seconds: int, code: int, resource: str = "leases") -> str:
    event = {
        "verb": "patch",
        "objectRef": {"resource": resource},
        "requestReceivedTimestamp": "2026-11-24T12:00:00.000000Z",
        "stageTimestamp": f"2026-11-24T12:00:0{seconds}.500000Z",
        "responseStatus": {"code": code},
    }
    return json.dumps(event) + "\n"


def test_renewals_are_those_of_the_lease_since_a_moment_and_whole_lines_alone(tmp_path: Path) -> None:
    log, before = tmp_path / "audit.log", renewal(9, 200)
    log.write_text(before + renewal(1, 200) + renewal(3, 409) + renewal(8, 200, "jobs") + renewal(7, 200)[:-9])
    assert fairness.renewals_of(log, since=len(before)) == Waits(2, 1.5, 3.5, 3.5, 1)


def test_an_object_is_made_anew_without_what_the_api_server_gave_it() -> None:
    mark = {"batch.kubernetes.io/controller-uid": "1", "batch.kubernetes.io/job-name": "a", "kept": "b"}
    document = {
        "metadata": {"name": "a", "uid": "1", "labels": dict(mark), "annotations": {"c": "d"}, "resourceVersion": "9"},
        "spec": {"selector": {"matchLabels": {}}, "template": {"metadata": {"labels": dict(mark)}, "spec": {}}},
        "status": {"succeeded": 1},
    }
    assert population.unmade(document) == {
        "metadata": {"name": "a", "labels": {"kept": "b"}, "annotations": {"c": "d"}},
        "spec": {"template": {"metadata": {"labels": {"kept": "b"}}, "spec": {}}},
    }


def flow() -> Flow:
    samples = [Sample(minute, 10, 0.1, 0.4, 100 << 20, 2.5, 50) for minute in range(1, 7)]
    return Flow(
        10.0, 6, samples, 0.1, 0.4, 110 << 20, 60, 60, {"Succeeded": 60}, 1200.0, {"log get": 120, "x": 480}, {}
    )


def crowd() -> Fairness:
    quiet, flood = Waits(75, 0.004, 0.01, 0.02, 0), Waits(500, 0.02, 0.2, 0.3, 0)
    return Fairness(1000, 100, 40, 20, 99.5, {"a": quiet}, {"a": flood}, flood, 1, {"f → l": [10, 0]})


def test_a_stream_of_which_all_are_delivered_once_has_no_fault() -> None:
    assert judging.stream_faults(flow()) == []


def test_a_stream_that_lost_a_request_has_two_faults() -> None:
    lossy = dataclasses.replace(flow(), started=59, ended={"Succeeded": 59, "Failed": 1})
    assert judging.stream_faults(lossy) == [
        "60 requests had 59 Jobs",
        "phases are {'Succeeded': 59, 'Failed': 1}, not 60 Succeeded",
    ]


def test_a_flood_that_nobody_else_noticed_has_no_fault() -> None:
    assert judging.fairness_faults(crowd()) == []


def test_a_flood_that_cost_somebody_a_call_and_the_leader_its_lease_has_faults() -> None:
    starved = Waits(500, 0.02, 0.2, 0.3, 7)
    unfair = dataclasses.replace(crowd(), flood={"a": starved}, renewals=starved, leaders=2)
    assert judging.fairness_faults(unfair) == [
        "7 calls were refused: a",
        "7 calls were refused: renewals of the operator's Lease",
        "2 leaders, one after the other",
    ]


def found() -> Results:
    where = Circumstances.present()
    ours = Cost(4.0, 3.0, 90 << 20, 0.02, 0.001, 0.02, 2.0, 17.0, {"list": 9}, {"status update": 40})
    bare = Cost(2.0, 1.5, 60 << 20, 0.001, 0.0005)
    levels = [Level(1000, 100, 500, 50, ours, bare)]
    return Results(
        populations=Populations(where, 61.0, levels), stream=Stream(where, flow()), crowd=Crowd(where, crowd())
    )


def test_growth_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    written = found()
    written.write(tmp_path / "load.json")
    assert results.read(tmp_path / "load.json") == written


def test_the_page_tells_ratios_to_the_bare_operator_thirds_of_the_stream_and_who_waited() -> None:
    page = markdown.render(found(), "load.svg")
    assert "](load.svg)" in page
    assert "|  | ratio | 2.0 | 1.0 |  | 2.0 | 1.5 | 20.0 | 2.0 |" in page
    assert "| last | 100 | 400 | 100 | 2.5 | 50 |" in page
    assert "Reads of progress: **0.100** a second" in page
    assert "| a | 4 | 20 | 10 | 200 | 300 | 0 of 500 |" in page
    assert "| f → l | 10 | 0 |" in page


def test_the_page_on_capacity_gets_a_table_between_its_marks_and_keeps_the_rest(tmp_path: Path) -> None:
    page, populations = tmp_path / "capacity.md", found().populations
    assert populations is not None
    page.write_text(f"before\n{capacity.BEGIN}\nolder\n{capacity.END}\nafter\n")
    capacity.update(page, populations)
    capacity.update(page, populations)
    told = page.read_text()
    assert told.startswith(f"before\n{capacity.BEGIN}\n\n| requests that exist |")
    assert told.endswith(f"\n\n{capacity.END}\nafter\n")
    assert "older" not in told
    assert "| 1,000 | 90 | 4.0 | 2.0 | `128Mi` | `256Mi` | `200m` |" in told


def test_a_page_without_marks_is_not_written_to(tmp_path: Path) -> None:
    page, populations = tmp_path / "capacity.md", found().populations
    assert populations is not None
    page.write_text(f"text {capacity.BEGIN} and no end")
    with pytest.raises(ValueError, match="has no"):
        capacity.update(page, populations)
    assert page.read_text() == f"text {capacity.BEGIN} and no end"
