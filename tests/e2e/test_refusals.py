"""What cannot run is refused before anything runs: with a reason, a sentence that says what to do, an Event, no Job."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.e2e.conftest import World
from tests.e2e.furniture import NARROW, PLENTY
from tests.e2e.team import Team
from tests.platform.api import ApiError, Json
from tests.platform.waiting import until

pytestmark = pytest.mark.e2e


@dataclass(frozen=True)
class Wrong:
    """A request that the operator refuses: what is asked, and what it answers."""

    name: str
    spec: Json
    reason: str
    message: str
    group: str = PLENTY
    seconds: float = 15.0


WRONG = [
    Wrong(
        "an-unknown-source",
        {"source": {"name": "e2e-bd"}},
        "SourceNotFound",
        "spec.source.name: there is no ExportSource 'e2e-bd' for namespace '{namespace}'. Did you mean 'e2e-db'?",
        seconds=30,
    ),
    Wrong(
        "an-unknown-destination",
        {"destination": {"name": "e2e-buckets"}},
        "DestinationNotFound",
        "spec.destination.name: there is no ExportDestination 'e2e-buckets' for namespace '{namespace}'."
        " Did you mean 'e2e-bucket'?",
        seconds=30,
    ),
    Wrong(
        "an-unknown-dataset",
        {"source": {"name": "e2e-db", "dataset": "user"}},
        "DatasetNotFound",
        "spec.source.dataset: source 'e2e-db' has no dataset 'user'. Did you mean 'users'?",
    ),
    Wrong(
        "no-dataset-where-there-are-several",
        {"source": {"name": "e2e-db"}},
        "DatasetRequired",
        "spec.source.dataset: source 'e2e-db' has several; name one of ",
    ),
    Wrong(
        "an-unknown-column",
        {"source": {"name": "e2e-db", "dataset": "users", "columns": ["id", "e_mail"]}},
        "ColumnNotFound",
        "spec.source.columns[1]: dataset 'users' has no column 'e_mail'. Did you mean 'email'?",
    ),
    Wrong(
        "a-parameter-of-the-wrong-type",
        {"source": {"name": "e2e-db", "dataset": "since", "parameters": {"since": "yesterday"}}},
        "ParameterInvalid",
        "spec.source.parameters.since: 'yesterday' is not a value of type timestamptz; give a time with its offset",
    ),
    Wrong(
        "a-parameter-with-sql-in-it",
        {
            "source": {
                "name": "e2e-db",
                "dataset": "since",
                "parameters": {"since": "2026-01-01T00:00Z", "most": "1; DROP"},
            }
        },
        "ParameterInvalid",
        "spec.source.parameters.most: '1; DROP' is not a value of type integer; give a whole number",
    ),
    Wrong(
        "an-unknown-parameter",
        {"source": {"name": "e2e-db", "dataset": "since", "parameters": {"sinse": "2026-01-01"}}},
        "ParameterNotFound",
        "spec.source.parameters.sinse: dataset 'since' takes no such parameter. Did you mean 'since'?",
    ),
    Wrong(
        "no-parameter-where-one-is-needed",
        {"source": {"name": "e2e-db", "dataset": "since"}},
        "ParameterRequired",
        "spec.source.parameters.since: dataset 'since' needs it, of type timestamptz.",
    ),
    Wrong(
        "a-format-that-the-policy-forbids",
        {"output": {"format": "Parquet"}},
        "FormatNotAllowed",
        "spec.output.format: policy 'e2e-narrow' does not allow 'Parquet'. Allowed: CSV.",
        group=NARROW,
    ),
    Wrong(
        "a-deadline-beyond-the-maximum",
        {"runDeadlineSeconds": 61},
        "LimitExceeded",
        "spec.runDeadlineSeconds: 61 is more than policy 'e2e-narrow' allows (60).",
        group=NARROW,
    ),
]


@pytest.fixture(scope="module")
def asked(world: World) -> Iterator[dict[str, Team]]:
    """All of them at once, each tenant under its policy."""
    by_group = {group: world.team(group, label="refusals") for group in (PLENTY, NARROW)}
    for wrong in WRONG:
        by_group[wrong.group].ask(wrong.name, **wrong.spec)
    yield by_group
    for team in by_group.values():
        world.leave(team)


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.name)
def test_is_rejected_with_a_sentence_an_event_and_no_job(asked: dict[str, Team], wrong: Wrong) -> None:
    team = asked[wrong.group]
    status = team.until(wrong.name, "Rejected", seconds=wrong.seconds)
    message = wrong.message.format(namespace=team.namespace)
    assert status["reason"] == wrong.reason
    assert message in status["message"]
    conditions = {each["type"]: each for each in status["conditions"]}
    assert conditions["Failed"]["status"] == "True"
    assert conditions["Accepted"]["status"] == "False"
    assert conditions["Accepted"]["reason"] == wrong.reason
    (event,) = until("its Event", lambda: team.events(wrong.name), 5)
    assert event["type"] == "Warning"
    assert event["reason"] == "Rejected"
    assert message in event["message"]
    assert team.jobs(wrong.name) == []
    assert "jobRef" not in status


def test_a_source_that_is_applied_a_moment_after_the_request_is_found(team: Team, world: World) -> None:
    team.ask("early", source={"name": "e2e-late", "dataset": "few"})
    team.until("early", "Pending", reason="SourceNotFound")
    late = world.platform.api.get("ExportSource", "e2e-db")
    world.platform.api.apply({**late, "metadata": {"name": "e2e-late"}, "status": {}})
    try:
        team.succeeded("early")
    finally:
        world.platform.api.delete("ExportSource", "e2e-late")


@pytest.mark.parametrize(
    ("name", "spec", "message"),
    [
        (
            "an unknown format",
            {"output": {"format": "XML"}},
            (
                'spec.output.format: Unsupported value: "XML": supported values: '
                '"CSV", "JSON", "NDJSON", "Parquet", "ArrowStream"'
            ),
        ),
        (
            "a column name that is too long",
            {"source": {"name": "e2e-db", "columns": ["x" * 64]}},
            "spec.source.columns[0]: Too long: may not be more than 63 bytes",
        ),
        (
            "too many columns",
            {"source": {"name": "e2e-db", "columns": [f"c{number}" for number in range(257)]}},
            "spec.source.columns: Too many: 257: must have at most 256 items",
        ),
        (
            "a parameter that is too long",
            {"source": {"name": "e2e-db", "parameters": {"since": "x" * 1025}}},
            "spec.source.parameters.since: Too long: may not be more than 1024 bytes",
        ),
    ],
)
def test_what_the_schema_forbids_is_not_even_stored(team: Team, name: str, spec: Json, message: str) -> None:
    with pytest.raises(ApiError) as refusal:
        team.ask("never", **spec)
    assert refusal.value.status == 422, name
    assert message in refusal.value.message
    assert team.api.items("ExportRequest", team.namespace) == []


def test_a_spec_cannot_be_changed_afterwards(team: Team) -> None:
    team.ask("fixed")
    for change in ({"source": {"dataset": "users"}}, {"output": {"format": "JSON"}}, {"runDeadlineSeconds": 5}):
        with pytest.raises(ApiError, match=r"immutable|cannot be changed|create a new"):
            team.patch("fixed", **change)
    assert team.succeeded("fixed")["rows"] == 1000
    assert len(team.jobs("fixed")) == 1
