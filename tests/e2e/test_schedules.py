"""Schedules of every minute, all watched through the same two minutes, in which the operator is killed."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from tests.e2e.conftest import World
from tests.e2e.furniture import DESTINATION, FEW, PLENTY, SOURCE
from tests.e2e.killer import Killer
from tests.e2e.team import Team, one_object
from tests.platform.api import Json
from tests.platform.names import API_VERSION, NAMESPACE
from tests.platform.waiting import until

pytestmark = pytest.mark.e2e

SECONDS = 90.0
"""Until a time of a schedule has come and been acted on, other work on the machine included."""
AFTER_DEATH = 180.0
"""Until a new operator has started, has won the Lease that the dead one holds, and has acted."""
LABEL = "export-operator.io/schedule"
EVERY = "* * * * *"


@dataclass(frozen=True)
class Plan:
    """A tenant's schedules."""

    team: Team

    def make(self, name: str, schedule: str = EVERY, dataset: str = "few", **spec: object) -> None:
        template = {
            "spec": {
                "source": {"name": SOURCE, "dataset": dataset},
                "destination": {"name": DESTINATION},
                "output": {"format": "CSV"},
            }
        }
        metadata = {"name": name, "namespace": self.team.namespace}
        whole = {"schedule": schedule, "template": template, **spec}
        self.team.api.create(
            {"apiVersion": API_VERSION, "kind": "ScheduledExport", "metadata": metadata, "spec": whole}
        )

    def status(self, name: str) -> Json:
        return dict(self.team.api.get("ScheduledExport", name, self.team.namespace).get("status") or {})

    def made(self, name: str) -> list[Json]:
        """Its requests, the first of them first."""
        found = self.team.api.items("ExportRequest", self.team.namespace, f"{LABEL}={name}")
        return sorted(found, key=lambda each: str(each["metadata"]["name"]))

    def until_made(self, name: str, count: int = 1, seconds: float = SECONDS) -> list[Json]:
        def look() -> list[Json]:
            found = self.made(name)
            return found if len(found) >= count else []

        return until(f"{count} requests of {name}", look, seconds)

    def written_down(self, name: str) -> tuple[list[Json], int]:
        """Its requests, and how many times it has missed, at a moment when its status knows of all of them."""

        def look() -> tuple[list[Json], int] | None:
            status, found = self.status(name), self.made(name)
            if status.get("lastRequestName") != found[-1]["metadata"]["name"]:
                return None
            return found, int(status.get("missedSchedules") or 0)

        return until(f"the status of {name} to know of its requests", look, 30)

    def until_reason(self, name: str, reason: str, seconds: float = SECONDS) -> Json:
        def look() -> Json | None:
            status = self.status(name)
            return status if status.get("reason") == reason else None

        return until(f"{name} to be {reason}", look, seconds)


def time_of(request: Json) -> datetime:
    """The time in its name."""
    return datetime.strptime(request["metadata"]["name"].rpartition("-")[2], "%y%m%d%H%M").replace(tzinfo=UTC)


@pytest.fixture(scope="module")
def plan(world: World) -> Iterator[Plan]:
    """Everything that needs a minute to pass, begun at once."""
    made = Plan(world.team(PLENTY, label="schedules"))
    made.make("beside", concurrencyPolicy="Allow", successfulHistoryLimit=50)
    made.make("waits", dataset="slow")
    made.make("replaces", dataset="slow", concurrencyPolicy="Replace")
    made.make("forgets", successfulHistoryLimit=0)
    made.make("rests", suspend=True)
    yield made
    world.leave(made.team)


@pytest.fixture(scope="module")
def leaver(world: World) -> Iterator[Plan]:
    """Somebody who makes a schedule and leaves the team."""
    made = Plan(world.team(PLENTY, label="leaver"))
    made.make("stays")
    made.until_reason("stays", "Waiting", 30)
    world.platform.api.delete("RoleBinding", f"edit-{made.team.user}", made.team.namespace)
    yield made
    world.leave(made.team)


@pytest.fixture(scope="module", autouse=True)
def _begun(plan: Plan, leaver: Plan) -> None:
    """Both, before the first test waits."""


def test_each_minute_a_request_in_the_tenants_name_succeeds(world: World, plan: Plan) -> None:
    before = datetime.now(UTC)
    request = plan.until_made("beside")[0]
    metadata, spec = request["metadata"], request["spec"]
    assert time_of(request) > before - timedelta(minutes=2)
    assert metadata["annotations"]["export-operator.io/scheduled-time"] == f"{time_of(request):%Y-%m-%dT%H:%M:%SZ}"
    assert [(each["kind"], each["name"]) for each in metadata["ownerReferences"]] == [("ScheduledExport", "beside")]
    assert spec["requester"] == {"username": plan.team.user}
    assert spec["submittedBy"]["username"] == f"system:serviceaccount:{NAMESPACE}:export-operator"
    result = plan.team.succeeded(metadata["name"])
    assert result["rows"] == FEW
    one_object(world.storage, result)


def test_kubectl_shows_the_last_and_the_next_time(plan: Plan) -> None:
    plan.until_made("beside")
    until("a last time", lambda: plan.status("beside").get("lastScheduleTime"), 30)
    out = plan.team.kubectl.output("get", "scheduledexports", "beside")
    header, row = (line.split() for line in out.splitlines())
    assert header == ["NAME", "SCHEDULE", "TIME", "ZONE", "SUSPEND", "LAST", "NEXT", "AGE"]
    assert row[-2].endswith(":00Z")


def test_what_it_does_is_told_by_events(plan: Plan) -> None:
    name = plan.until_made("beside")[0]["metadata"]["name"]

    def told() -> list[str]:
        events = plan.team.api.items("Event", plan.team.namespace)
        return [each["message"] for each in events if each["reason"] == "RequestMade" and name in each["message"]]

    assert until("the Event", told, 30)[0].startswith(f"made {name} for ")


def test_a_suspended_schedule_makes_nothing(plan: Plan) -> None:
    status = plan.until_reason("rests", "Suspended", 30)
    plan.until_made("beside")
    assert (plan.made("rests"), "nextScheduleTime" in status) == ([], False)


def test_whoever_may_not_ask_any_more_gets_nothing_by_a_schedule(leaver: Plan) -> None:
    def look() -> Json | None:
        found = leaver.team.admin.get("ScheduledExport", "stays", leaver.team.namespace)["status"]
        return found if found["reason"] == "RequesterNotAllowed" else None

    status = until("the refusal", look, SECONDS)
    assert f"{leaver.team.user!r}, who made this schedule, may not create exportrequests" in status["message"]
    assert leaver.team.admin.items("ExportRequest", leaver.team.namespace) == []


def test_what_is_kept_is_limited_and_its_success_remembered(plan: Plan) -> None:
    status = until(
        "a success",
        lambda: plan.status("forgets") if plan.status("forgets").get("lastSuccessfulTime") else None,
        SECONDS,
    )
    until("its request to go", lambda: status["lastRequestName"] not in names(plan.made("forgets")), 30)


def names(requests: list[Json]) -> list[str]:
    return [each["metadata"]["name"] for each in requests]


def test_each_minute_is_made_once_though_the_operator_is_killed_and_what_has_not_ended_is_waited_for_or_replaced(
    world: World, plan: Plan, executioner: Killer
) -> None:
    team = plan.team
    waited, replaced = (plan.until_made(name)[0]["metadata"]["name"] for name in ("waits", "replaces"))
    for name in (waited, replaced):  # so that it does not end before the next minute
        team.patch(name, suspend=True)
        team.until(name, "Queued", reason="Suspended")
    born = {each["metadata"]["name"]: each["metadata"]["uid"] for each in plan.made("beside")}
    for pod in team.admin.items("Pod", NAMESPACE, "app.kubernetes.io/component=operator"):
        executioner.kill(pod)
        # Another pod starts at once; a container that has died before would be kept waiting.
        team.admin.delete("Pod", pod["metadata"]["name"], NAMESPACE, grace=0)
    plan.until_made("beside", len(born) + 1, AFTER_DEATH)
    plan.until_made("replaces", 2, AFTER_DEATH)
    status = plan.until_reason("waits", "EarlierNotEnded", AFTER_DEATH)
    assert f"{waited} has not ended" in status["message"]
    requests, missed = plan.written_down("beside")
    uids = {each["metadata"]["name"]: each["metadata"]["uid"] for each in requests}
    assert {name: uids[name] for name in born} == born
    minutes = [time_of(each) for each in requests]
    assert len(minutes) + missed == (minutes[-1] - minutes[0]) / timedelta(minutes=1) + 1
    team.until(replaced, "Cancelled")
    assert len(plan.made("waits")) == 1
    team.patch(waited, cancel=True)
    plan.until_made("waits", 2)
    world.platform.kubectl.rolled_out("export-operator")


# What is wrong is said at once, and no minute has to pass.


@pytest.mark.parametrize(
    ("spec", "reason", "told"),
    [
        ({"schedule": "61 * * * *"}, "ScheduleInvalid", "spec.schedule: '61 * * * *' is no schedule (Bad minute)"),
        ({"timeZone": "Mars/Olympus"}, "TimeZoneNotFound", "spec.timeZone: 'Mars/Olympus' is no time zone"),
        (
            {"template": {"metadata": {"labels": {"a": "not a value"}}, "spec": {"source": {"name": SOURCE}}}},
            "RequestRefused",
            "a valid label must be an empty string or consist of alphanumeric characters",
        ),
    ],
    ids=["schedule", "time zone", "template"],
)
def test_what_is_wrong_is_said_when_it_is_applied(plan: Plan, spec: Json, reason: str, told: str) -> None:
    name = f"wrong-{reason.lower()}"
    plan.make(name, **spec)
    status = plan.until_reason(name, reason, 30)
    assert told in status["message"]
    conditions = {each["type"]: each["status"] for each in status["conditions"]}
    assert conditions == {"Accepted": "False", "Stalled": "True"}


def test_a_schedule_goes_with_its_requests(plan: Plan) -> None:
    team = plan.team
    plan.until_made("beside")
    team.api.delete("ScheduledExport", "beside", team.namespace)
    until("its requests to go", lambda: not plan.made("beside"), 60)
