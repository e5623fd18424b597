"""Five runs a user and day: counted before a Job exists, and never given back by deleting."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from tests.e2e.conftest import MakeTeam, World
from tests.e2e.furniture import FEW, ROWS
from tests.e2e.team import Team
from tests.platform.api import Json
from tests.platform.waiting import until

pytestmark = pytest.mark.e2e

LIMIT = 5
SECONDS = 90.0


def use_up(team: Team) -> None:
    names = [f"run-{number}" for number in range(LIMIT)]
    for name in names:
        team.ask(name)
    for name in names:
        assert team.succeeded(name, SECONDS)["rows"] == FEW


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_the_sixth_request_waits_is_told_until_when_and_no_deleting_helps(teams: MakeTeam) -> None:
    team = teams()
    before = datetime.now(UTC) - timedelta(seconds=1)
    use_up(team)
    team.ask("sixth")
    status = team.until("sixth", "Queued")
    assert status["reason"] == "QuotaExceeded"
    (window,) = status["quota"]
    assert (window["scope"], window["used"], window["limit"]) == ("User", LIMIT, LIMIT)
    free = moment(status["queue"]["nextEligibleTime"])
    assert free == moment(window["nextEligibleTime"])
    assert before + timedelta(days=1) <= free <= datetime.now(UTC) + timedelta(days=1)
    assert f"5 of 5 requests of '{team.user}' within 24 h are used" in status["message"]

    team.ask("seventh", onQuotaExceeded="Reject")
    status = team.until("seventh", "Rejected")
    assert status["reason"] == "QuotaExceeded"
    assert f"The next one is possible at {window['nextEligibleTime']}" in status["message"]

    # Neither an earlier one deleted and created again, nor the queued one, nor the same name elsewhere.
    team.delete("run-0")
    team.ask("run-0")
    team.delete("sixth")
    team.ask("sixth")
    other = teams(user=team.user)
    other.ask("run-0")
    for there, name in ((team, "run-0"), (team, "sixth"), (other, "run-0")):
        assert there.until(name, "Queued")["reason"] == "QuotaExceeded"
        assert there.jobs(name) == []

    # Nor a new run of one that has run.
    team.patch("run-1", runID="again")
    assert team.until("run-1", "Queued", run_id="again")["reason"] == "QuotaExceeded"


def test_a_request_that_never_ran_costs_nothing(teams: MakeTeam) -> None:
    team = teams()
    for number in range(LIMIT + 1):
        team.ask(f"wrong-{number}", dataset="unknown")
    for number in range(LIMIT + 1):
        team.until(f"wrong-{number}", "Rejected")
    use_up(team)


def test_a_failure_that_is_no_fault_of_the_requesters_does_not_count(teams: MakeTeam) -> None:
    team = teams()
    team.ask("refunded", source={"name": "e2e-wrong-password", "dataset": "few"})
    assert team.until("refunded", "Failed", seconds=SECONDS)["failure"]["class"] == "Source"
    use_up(team)


def test_rows_count_as_they_were_delivered(teams: MakeTeam) -> None:
    """All is reserved for the first, and a third is left when it is over: too few for another."""
    team = teams(ROWS)
    team.ask("first")
    assert team.succeeded("first")["rows"] == FEW
    team.ask("second")

    def told() -> Json | None:
        status = team.status("second")
        rows = [each for each in status.get("quota") or () if each["resource"] == "rows"]
        return status if rows and rows[0]["used"] == FEW else None

    status = until("what was not delivered is given back", told, SECONDS)
    assert (status["phase"], status["reason"]) == ("Queued", "QuotaExceeded")
    assert f"of {FEW + FEW // 2} rows of '{team.user}' within 24 h {FEW // 2} are left" in status["message"]
    assert team.jobs("second") == []


def test_forty_applied_at_once_start_exactly_five(teams: MakeTeam, world: World) -> None:
    team = teams()
    names = [f"at-once-{number}" for number in range(40)]
    with ThreadPoolExecutor(10) as pool:
        list(pool.map(team.ask, names))

    def settled() -> list[str] | None:
        """The names that ran, when all others wait for quota: those that wait for a free place will run."""
        found = world.platform.api.items("ExportRequest", team.namespace)
        statuses = {each["metadata"]["name"]: each.get("status") or {} for each in found}
        ran = sorted(name for name, status in statuses.items() if status.get("phase") == "Succeeded")
        waiting = [name for name, status in statuses.items() if status.get("reason") == "QuotaExceeded"]
        return ran if len(ran) + len(waiting) == len(names) and ran else None

    ran = until("forty requests ended or queued", settled, SECONDS)
    assert len(ran) == LIMIT
    for name in names:
        status = team.status(name)
        assert len(team.jobs(name)) == (1 if name in ran else 0)
        if name not in ran:
            assert status["reason"] == "QuotaExceeded"
            assert status["queue"]["nextEligibleTime"]


def test_the_quota_of_one_user_is_nobody_elses(teams: MakeTeam) -> None:
    busy = teams()
    use_up(busy)
    fresh = teams()
    fresh.ask("first")
    assert fresh.succeeded("first")["rows"] == FEW
    assert fresh.status("first")["quota"][0]["used"] == 1
