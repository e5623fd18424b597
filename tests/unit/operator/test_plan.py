"""From a request to a plan, or to a refusal that says what to do."""

from __future__ import annotations

from typing import Any

import pytest

from export_contract import runspec
from export_operator.domain.lookup import RefusalError
from export_operator.domain.model import Catalogue, Named, Request
from export_operator.domain.plan import Effective, Plan
from export_operator.domain.policy import Policy
from export_operator.domain.quota import SlotLimits

from .builders import MANIFEST_URI, RUN, SIGNUPS, UID, URI, catalogue, destination, limited, plan, request, source

pytestmark = pytest.mark.unit

ASK = " Create a new request with another name, or ask the platform team."


def test_the_least_request_resolves_to_the_products_defaults() -> None:
    assert plan() == Plan(
        effective=Effective(
            policy="built-in",
            source="app-db",
            dataset="users",
            columns=("id", "email", "created_at"),
            destination="bucket",
            key_prefix="",
            format="CSV",
            compression="None",
            layout="SingleObject",
            run_deadline_seconds=60,
            queue_deadline_seconds=604_800,
            start_deadline_seconds=300,
            on_deadline="Fail",
            on_quota_exceeded="Queue",
            consistency="Auto",
            ttl_seconds_after_finished=604_800,
        ),
        run_spec=runspec.RunSpec(
            run=runspec.Run(id=RUN, namespace="team-a", name="users-2026-11", uid=UID, run_id="", requester="alice"),
            source=runspec.Source(
                name="app-db",
                dataset="users",
                host="db.prod.svc",
                database="app",
                columns=("id", "email", "created_at"),
                port=5432,
                ssl_mode="Require",
                relation=runspec.Relation(schema="app", table="users"),
                order_by=("id",),
            ),
            destination=runspec.Destination(
                name="bucket",
                bucket="exports",
                key=URI.removeprefix("s3://exports/"),
                manifest_key=MANIFEST_URI.removeprefix("s3://exports/"),
                region="eu-central-1",
                endpoint="http://s3.svc:7070",
                path_style=True,
            ),
            output=runspec.Output(format="CSV", compression="None"),
            limits=runspec.Limits(run_deadline_seconds=60),
        ),
        source_secret="app-db",
        destination_secret="bucket-keys",
        slot_limits=SlotLimits(total=20),
        pod={},
    )


def test_what_the_request_says_goes_before_every_default() -> None:
    wanted = request(
        source={"name": "app-db", "dataset": "users", "columns": ["email", "id"]},
        destination={"name": "bucket", "keyPrefix": "compliance/2026"},
        output={"format": "NDJSON", "compression": "Zstd", "layout": "SingleObject"},
        runDeadlineSeconds=30,
        queueDeadlineSeconds=40,
        onDeadline="Partial",
        onQuotaExceeded="Reject",
        consistency="Snapshot",
        ttlSecondsAfterFinished=0,
    )
    rules = limited({"defaults": {"format": "Parquet", "compression": "Gzip", "startDeadlineSeconds": 50}})
    assert plan(wanted, rules=rules).effective.as_status() == {
        "policy": "built-in",
        "source": "app-db",
        "dataset": "users",
        "columns": ["email", "id"],
        "destination": "bucket",
        "keyPrefix": "compliance/2026",
        "format": "NDJSON",
        "compression": "Zstd",
        "layout": "SingleObject",
        "runDeadlineSeconds": 30,
        "queueDeadlineSeconds": 40,
        "startDeadlineSeconds": 50,
        "onDeadline": "Partial",
        "onQuotaExceeded": "Reject",
        "consistency": "Snapshot",
        "ttlSecondsAfterFinished": 0,
    }


def test_the_policy_fills_in_what_the_request_leaves_out() -> None:
    defaults = {
        "destination": "bucket",
        "format": "Parquet",
        "compression": "Gzip",
        "runDeadlineSeconds": 11,
        "queueDeadlineSeconds": 12,
        "startDeadlineSeconds": 13,
        "ttlSecondsAfterFinished": 14,
        "onDeadline": "Partial",
        "onQuotaExceeded": "Reject",
        "consistency": "Segmented",
    }
    effective = plan(rules=Policy("mild", {"defaults": defaults})).effective.as_status()
    assert effective == defaults | {
        "policy": "mild",
        "source": "app-db",
        "dataset": "users",
        "columns": ["id", "email", "created_at"],
        "keyPrefix": "",
        "layout": "SingleObject",
    }


@pytest.mark.parametrize(
    ("field", "attribute"),
    [
        ("runDeadlineSeconds", "run_deadline_seconds"),
        ("ttlSecondsAfterFinished", "ttl_seconds_after_finished"),
    ],
)
def test_a_default_above_the_maximum_is_lowered_to_it(field: str, attribute: str) -> None:
    rules = limited({"defaults": {field: 900}, "maxima": {field: 20}})
    assert getattr(plan(rules=rules).effective, attribute) == 20


def test_a_value_at_the_maximum_is_allowed() -> None:
    rules = limited({"maxima": {"runDeadlineSeconds": 20}})
    assert plan(request(runDeadlineSeconds=20), rules=rules).effective.run_deadline_seconds == 20


def test_maxima_of_rows_and_bytes_go_to_the_pod() -> None:
    limits = plan(rules=limited({"maxima": {"rows": 10, "bytes": 20}})).run_spec.limits
    assert limits == runspec.Limits(run_deadline_seconds=60, max_rows=10, max_bytes=20)


def test_slot_limits_come_from_policy_source_and_destination() -> None:
    rules = limited({"limits": {"user": {"maxConcurrent": 1}, "namespace": {"maxConcurrent": 2}}})
    known = catalogue(source(maxConcurrent=3), destination(maxConcurrent=4))
    assert plan(known=known, rules=rules).slot_limits == SlotLimits(
        total=20, user=1, namespace=2, source=3, destination=4
    )


def test_the_only_dataset_needs_no_name() -> None:
    known = catalogue(source(datasets=[SIGNUPS]), destination())
    wanted = request(source={"name": "app-db", "parameters": {"since": "2026-01-01"}})
    assert plan(wanted, known).effective.dataset == "signups"


def test_parameters_of_a_query_are_given_or_defaulted_in_the_order_of_their_declaration() -> None:
    wanted = request(source={"name": "app-db", "dataset": "signups", "parameters": {"since": "2026-01-01"}})
    assert plan(wanted).run_spec.source == runspec.Source(
        name="app-db",
        dataset="signups",
        host="db.prod.svc",
        database="app",
        columns=("id",),
        ssl_mode="Require",
        query=SIGNUPS["query"],
        parameters=(
            runspec.Parameter(name="since", type="date", value="2026-01-01"),
            runspec.Parameter(name="count", type="integer", value="10"),
        ),
    )


def test_a_pod_of_the_policy_is_kept_for_the_job() -> None:
    assert plan(rules=limited({"pod": {"priorityClassName": "low"}})).pod == {"priorityClassName": "low"}


def reading(**changes: Any) -> dict[str, Any]:
    return {"source": {"name": "app-db", "dataset": "users"} | changes}


HIDDEN = Named("app-db-2", source(allowedNamespaces=["team-b"]).spec)
HIDDEN_BUCKET = Named("bucket-2", destination(allowedNamespaces=["team-b"]).spec)
ONLY_OTHERS = Policy("strict", {"allowed": {"sources": ["dwh"], "destinations": ["vault"], "formats": ["Parquet"]}})
CAPPED = Policy("strict", {"maxima": {"runDeadlineSeconds": 60, "ttlSecondsAfterFinished": 10}})

REFUSALS: dict[str, tuple[Request, Catalogue, Policy, str, str, bool]] = {
    "a source that is nearly right": (
        request(**reading(name="app-bd")),
        catalogue(),
        limited(),
        "SourceNotFound",
        "spec.source.name: there is no ExportSource 'app-bd' for namespace 'team-a'. Did you mean 'app-db'?"
        " Known: app-db." + ASK,
        True,
    ),
    "no source at all": (
        request(),
        Catalogue(),
        limited(),
        "SourceNotFound",
        "spec.source.name: there is no ExportSource 'app-db' for namespace 'team-a'. There is none." + ASK,
        True,
    ),
    "a source of others": (
        request(**reading(name="app-db-2")),
        catalogue(source(), HIDDEN, destination()),
        limited(),
        "SourceNotFound",
        "spec.source.name: there is no ExportSource 'app-db-2' for namespace 'team-a'. Did you mean 'app-db'?"
        " Known: app-db." + ASK,
        True,
    ),
    "a source that the policy does not allow": (
        request(),
        catalogue(),
        Policy("strict", {"allowed": {"sources": ["dwh", "lake"]}}),
        "SourceNotAllowed",
        "spec.source.name: policy 'strict' does not allow 'app-db'. Allowed: dwh, lake.",
        False,
    ),
    "several datasets and no name": (
        request(source={"name": "app-db"}),
        catalogue(),
        limited(),
        "DatasetRequired",
        "spec.source.dataset: source 'app-db' has several; name one of signups, users.",
        False,
    ),
    "a dataset that is nearly right": (
        request(**reading(dataset="user")),
        catalogue(),
        limited(),
        "DatasetNotFound",
        "spec.source.dataset: source 'app-db' has no dataset 'user'. Did you mean 'users'? Known: signups, users.",
        False,
    ),
    "a column that is nearly right": (
        request(**reading(columns=["id", "e_mail"])),
        catalogue(),
        limited(),
        "ColumnNotFound",
        (
            "spec.source.columns[1]: dataset 'users' has no column 'e_mail'. Did you mean 'email'?"
            " Known: created_at, email, id."
        ),
        False,
    ),
    "a column that the allow-list leaves out": (
        request(**reading(columns=["password"])),
        catalogue(),
        limited(),
        "ColumnNotFound",
        "spec.source.columns[0]: dataset 'users' has no column 'password'. Known: created_at, email, id.",
        False,
    ),
    "an unknown parameter": (
        request(**reading(dataset="signups", parameters={"sinse": "2026-01-01"})),
        catalogue(),
        limited(),
        "ParameterNotFound",
        (
            "spec.source.parameters.sinse: dataset 'signups' takes no such parameter. Did you mean 'since'?"
            " Known: count, since."
        ),
        False,
    ),
    "a parameter of a table": (
        request(**reading(parameters={"since": "2026-01-01"})),
        catalogue(),
        limited(),
        "ParameterNotFound",
        "spec.source.parameters.since: dataset 'users' takes no such parameter. There is none.",
        False,
    ),
    "a missing parameter": (
        request(**reading(dataset="signups")),
        catalogue(),
        limited(),
        "ParameterRequired",
        "spec.source.parameters.since: dataset 'signups' needs it, of type date.",
        False,
    ),
    "a parameter of another type": (
        request(**reading(dataset="signups", parameters={"since": "2026-02-30"})),
        catalogue(),
        limited(),
        "ParameterInvalid",
        "spec.source.parameters.since: '2026-02-30' is not a value of type date; give a date such as 2026-01-31.",
        False,
    ),
    "several destinations and no name": (
        request(),
        catalogue(source(), destination(), Named("vault", destination().spec)),
        limited(),
        "DestinationRequired",
        "spec.destination.name: policy 'built-in' has no default destination; name one. Known: bucket, vault.",
        False,
    ),
    "no destination at all": (
        request(),
        catalogue(source()),
        limited(),
        "DestinationRequired",
        "spec.destination.name: policy 'built-in' has no default destination; name one. There is none.",
        True,
    ),
    "a destination of others": (
        request(destination={"name": "bucket-2"}),
        catalogue(source(), destination(), HIDDEN_BUCKET),
        limited(),
        "DestinationNotFound",
        "spec.destination.name: there is no ExportDestination 'bucket-2' for namespace 'team-a'."
        " Did you mean 'bucket'? Known: bucket." + ASK,
        True,
    ),
    "a destination that the policy does not allow": (
        request(destination={"name": "bucket"}),
        catalogue(),
        Policy("strict", {"allowed": {"destinations": ["vault"]}}),
        "DestinationNotAllowed",
        "spec.destination.name: policy 'strict' does not allow 'bucket'. Allowed: vault.",
        False,
    ),
    "a format that nobody writes": (
        request(output={"format": "XLSX"}),
        catalogue(),
        limited(),
        "FormatNotSupported",
        "spec.output.format: 'XLSX' is not one of CSV, JSON, NDJSON, Parquet, ArrowStream.",
        False,
    ),
    "a format that the policy does not allow": (
        request(),
        catalogue(),
        Policy("strict", {"allowed": {"formats": ["Parquet"]}}),
        "FormatNotAllowed",
        "spec.output.format: policy 'strict' does not allow 'CSV'. Allowed: Parquet.",
        False,
    ),
    "more time than the policy allows": (
        request(runDeadlineSeconds=61),
        catalogue(),
        CAPPED,
        "LimitExceeded",
        "spec.runDeadlineSeconds: 61 is more than policy 'strict' allows (60).",
        False,
    ),
    "a longer life than the policy allows": (
        request(ttlSecondsAfterFinished=11),
        catalogue(),
        CAPPED,
        "LimitExceeded",
        "spec.ttlSecondsAfterFinished: 11 is more than policy 'strict' allows (10).",
        False,
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_refusal_names_field_value_choices_and_what_to_do(case: str) -> None:
    wanted, known, rules, reason, message, may_appear = REFUSALS[case]
    with pytest.raises(RefusalError) as refused:
        plan(wanted, known, rules)
    assert (refused.value.reason, refused.value.message, refused.value.may_appear) == (reason, message, may_appear)


def test_a_refusal_lists_at_most_ten_names() -> None:
    known = catalogue(*(Named(f"db-{index:02}", source().spec) for index in range(12)), destination())
    with pytest.raises(RefusalError, match=r"Known: db-00, .*, db-09 and 2 more\. "):
        plan(request(), known)


def test_a_source_that_names_the_namespace_is_usable() -> None:
    known = catalogue(source(allowedNamespaces=["team-b", "team-a"]), destination())
    assert plan(known=known).effective.source == "app-db"


def test_destinations_of_others_do_not_stand_in_the_way_of_the_only_one() -> None:
    assert plan(known=catalogue(source(), destination(), HIDDEN_BUCKET)).effective.destination == "bucket"
