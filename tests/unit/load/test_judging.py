"""The judge of the load tests finds what is wrong, the counter counts, and the page holds what was measured."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.load import audit, judging, markdown, results
from tests.load.results import Deciding, Results, Timing
from tests.load.scenario import Scenario, Seen
from tests.load.standin import Truth

pytestmark = pytest.mark.unit

STORM = Scenario(name="small", title="small", users=2, each=3, limit=2, slots=3)


def sound() -> Seen:
    """Two people, two runs each."""
    shares = Counter({"user-000": 2, "user-001": 2})
    return Seen(
        phases=Counter({"Succeeded": 4, "Rejected": 2}),
        truth=Truth(created=Counter(["a", "b", "c", "d"]), by_user=Counter(shares), most_live=3),
        reserved=Counter(shares),
    )


def test_what_went_well_has_no_fault() -> None:
    assert judging.faults(STORM, sound()) == []


def spoil(change: Callable[[Seen], object]) -> Seen:
    seen = sound()
    change(seen)
    return seen


FAULTS: dict[str, tuple[Callable[[Seen], object], str]] = {
    "a request that was lost": (
        lambda seen: seen.phases.subtract(["Rejected"]),
        "phases are {'Succeeded': 4, 'Rejected': 1}, not {'Succeeded': 4, 'Rejected': 2}",
    ),
    "a second Job of a run": (
        lambda seen: seen.truth.created.update(["a"]),
        "1 runs had more than one Job: ['a']",
    ),
    "a run without a Job": (lambda seen: seen.truth.created.pop("a"), "3 runs had a Job"),
    "somebody who got more": (
        lambda seen: seen.truth.by_user.update(["user-001"]),
        "runs of users other than 2: {'user-001': 3}",
    ),
    "a place that was never written down": (
        lambda seen: seen.reserved.subtract(["user-000"]),
        "places in their window of users other than 2: {'user-000': 1}",
    ),
    "too many at once": (
        lambda seen: setattr(seen.truth, "most_live", 4),
        "4 were live at once, over 3",
    ),
    "a run that was never settled": (
        lambda seen: setattr(seen, "unsettled", 2),
        "2 places of runs that are over are not settled",
    ),
    "a slot that nobody gave back": (lambda seen: setattr(seen, "slots_held", 1), "1 slots are held by nobody"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_the_judge_finds(name: str) -> None:
    change, sentence = FAULTS[name]
    assert judging.faults(STORM, spoil(change)) == [sentence]


ROOT = "/apis/export-operator.io/v1alpha1/namespaces"
JOBS = "/apis/batch/v1/namespaces/export-runs/jobs"
CALLS: dict[str, tuple[str, str, int]] = {
    "status update": (f"{ROOT}/team-a/exportrequests/x/status?fieldManager=y", "update", 200),
    "ledger update": (f"{ROOT}/export-runs/exportusages/slots", "update", 409),
    "job create": (JOBS, "create", 201),
    "job delete": (f"{JOBS}/export-1", "delete", 200),
    "event create": ("/api/v1/namespaces/team-a/events", "create", 403),
    "pod list": ("/api/v1/namespaces/export-runs/pods?labelSelector=x", "list", 200),
    "log get": ("/api/v1/namespaces/export-runs/pods/a/log?tailLines=5", "get", 200),
    "watch": (f"{JOBS}?watch=true", "watch", 200),
    "request get": (f"{ROOT}/team-a/exportrequests/x", "get", 404),
}


def test_calls_are_counted_by_purpose_and_verb_with_conflicts_and_refusals(tmp_path: Path) -> None:
    def event(path: str, verb: str, code: int) -> dict[str, Any]:
        return {"verb": verb, "requestURI": path, "responseStatus": {"code": code}}

    log = tmp_path / "audit.log"
    log.write_text("".join(json.dumps(event(*call)) + "\n" for call in CALLS.values()))
    assert audit.read(log) == audit.Calls(
        made=Counter(dict.fromkeys(CALLS, 1)),
        conflicts=Counter({"ledger update": 1}),
        refused=Counter({"event create: 403": 1, "request get: 404": 1}),
    )


def found() -> Results:
    seen = dataclasses.replace(sound(), decided_seconds=1.25, settled_seconds=9.5, admitted_seconds=2.0)
    seen.calls = audit.Calls(made=Counter({"ledger update": 6, "status update": 12, "lease patch": 2, "log get": 40}))
    where = results.Circumstances.present()
    timings = {"whole": Timing("a whole decision", [40.0, 44.0, 60.0])}
    deciding = Deciding(where, 10_000, timings)
    return Results({"small": results.storm(STORM, where, seen, [])}, deciding=deciding)


def test_results_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    written = found()
    written.write(tmp_path / "load.json")
    assert results.read(tmp_path / "load.json") == written


def test_without_results_there_are_none(tmp_path: Path) -> None:
    assert results.read(tmp_path / "load.json") == Results()


def test_the_page_tells_calls_for_each_run_and_progress_apart() -> None:
    page = markdown.render(found())
    assert "| small | none | 6 | 2 | 4 | **1.2** | 9.5 | 2 | 3 of 3 |" in page
    assert "| **all told** (goal: at most 10) | **5.00** |" in page
    assert "| **of these, not with time** | **4.50** |" in page
    assert "| **of these, ledger** (goal: at most 2) | **1.50** |" in page
    assert "| all told, for each request | 3.33 |" in page
    assert "| log get, apart | 10.00 |" in page
    assert "| a whole decision | **44.0** | 40.0–60.0 | 10.0 | 3 |" in page
