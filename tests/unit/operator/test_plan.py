"""From a request to a plan, or to a refusal that says what to do."""

from __future__ import annotations

from typing import Any

import pytest

from export_contract import runspec
from export_operator.domain.lookup import RefusalError
from export_operator.domain.model import Catalogue, Named, Request
from export_operator.domain.plan import Effective, Secrets
from export_operator.domain.policy import Policy, SelectedBy
from export_operator.domain.slots import SlotLimits

from .builders import (
    BUCKET_FALLBACK,
    DATABASE_FALLBACK,
    MANIFEST_URI,
    RUN,
    SIGNUPS,
    UID,
    URI,
    USERS,
    catalogue,
    destination,
    limited,
    plan,
    request,
    source,
)

pytestmark = pytest.mark.unit

DIGEST = plan().effective.digest
"""Tested by itself, in test_digest.py."""
MEND = " The platform team must mend the ExportSource; then set a new spec.runID."
ASK = " Create a new request with another name, or ask the platform team."


def test_the_least_request_resolves_to_the_products_defaults() -> None:
    found = plan()
    assert (found.effective, found.run_spec, found.secrets, found.slot_limits, found.pod) == (
        Effective(
            policy="built-in",
            policy_selected_by=SelectedBy("BuiltIn"),
            source="app-db",
            dataset="users",
            columns=("id", "email", "created_at"),
            connections=1,
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
            resume="Auto",
            priority="Normal",
            ttl_seconds_after_finished=604_800,
            digest=DIGEST,
        ),
        runspec.RunSpec(
            run=runspec.Run(
                id=RUN, namespace="team-a", name="users-2026-11", uid=UID, requester="alice", digest=DIGEST
            ),
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
                checkpoint_key=f"prod/.export-operator/{RUN}/checkpoint.json",
            ),
            output=runspec.Output(format="CSV", compression="None"),
            limits=runspec.Limits(run_deadline_seconds=60),
        ),
        Secrets(source="app-db", destination="bucket-keys"),
        SlotLimits(total=20),
        {},
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
        resume="Never",
        priority="Low",
        ttlSecondsAfterFinished=0,
    )
    rules = limited({"defaults": {"format": "Parquet", "compression": "Gzip", "startDeadlineSeconds": 50}})
    effective = plan(wanted, rules=rules).effective
    assert effective.as_status() == {
        "digest": effective.digest,
        "policy": "built-in",
        "policySelectedBy": {"kind": "BuiltIn"},
        "source": "app-db",
        "dataset": "users",
        "columns": ["email", "id"],
        "connections": 1,
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
        "resume": "Never",
        "priority": "Low",
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
        "resume": "Always",
        "layout": "SingleObject",
        "priority": "High",
    }
    rules = Policy("mild", {"defaults": defaults, "maxima": {"priority": "High"}}, SelectedBy("User", "alice"))
    effective = plan(rules=rules).effective
    assert effective.as_status() == defaults | {
        "digest": effective.digest,
        "policy": "mild",
        "policySelectedBy": {"kind": "User", "name": "alice"},
        "source": "app-db",
        "dataset": "users",
        "columns": ["id", "email", "created_at"],
        "connections": 1,
        "keyPrefix": "",
    }


@pytest.mark.parametrize(
    ("field", "attribute"),
    [
        ("runDeadlineSeconds", "run_deadline_seconds"),
        ("queueDeadlineSeconds", "queue_deadline_seconds"),
        ("ttlSecondsAfterFinished", "ttl_seconds_after_finished"),
    ],
)
def test_a_default_above_the_maximum_is_lowered_to_it(field: str, attribute: str) -> None:
    rules = limited({"defaults": {field: 900}, "maxima": {field: 20}})
    assert getattr(plan(rules=rules).effective, attribute) == 20


def test_a_value_at_the_maximum_is_allowed() -> None:
    rules = limited({"maxima": {"runDeadlineSeconds": 20}})
    assert plan(request(runDeadlineSeconds=20), rules=rules).effective.run_deadline_seconds == 20


def test_a_priority_up_to_the_maximum_is_given_and_a_default_is_lowered_to_it() -> None:
    high, low = limited({"maxima": {"priority": "High"}}), limited({"maxima": {"priority": "Low"}})
    assert [
        plan(wanted, rules=rules).effective.priority
        for wanted, rules in (
            (request(priority="High"), high),
            (request(priority="Low"), high),
            (request(), high),
            (request(), low),
        )
    ] == ["High", "Low", "Normal", "Low"]


def test_a_request_that_names_no_columns_gets_those_that_the_policy_allows_in_the_datasets_order() -> None:
    assert plan(rules=ONLY_IDS).effective.columns == ("id", "created_at")


def test_a_request_that_names_no_dataset_gets_the_only_one_that_the_policy_allows() -> None:
    assert plan(request(source={"name": "app-db"}), rules=ONLY_IDS).effective.dataset == "users"


def test_a_dataset_listed_without_columns_is_allowed_whole() -> None:
    rules = limited({"allowed": {"datasets": [{"source": "app-db", "dataset": "users"}]}})
    assert plan(rules=rules).effective.columns == ("id", "email", "created_at")


def test_maxima_of_rows_and_bytes_go_to_the_pod() -> None:
    limits = plan(rules=limited({"maxima": {"rows": 10, "bytes": 20}})).run_spec.limits
    assert limits == runspec.Limits(run_deadline_seconds=60, max_rows=10, max_bytes=20)


def test_slot_limits_come_from_policy_source_and_destination() -> None:
    limits = {"user": {"maxConcurrent": 1}, "namespace": {"maxConcurrent": 2}, "all": {"maxConcurrent": 5}}
    rules = limited({"limits": limits})
    known = catalogue(source(maxConcurrent=3), destination(maxConcurrent=4))
    assert plan(known=known, rules=rules).slot_limits == SlotLimits(
        total=20, user=1, namespace=2, policy=5, source=3, destination=4
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


def with_users(source_changes: dict[str, Any] | None = None, **changes: Any) -> Catalogue:
    """A catalogue whose dataset `users` and source have these fields besides."""
    return catalogue(source(datasets=[{**USERS, **changes}], **(source_changes or {})), destination())


def test_key_masks_and_row_filter_of_a_dataset_go_to_the_pod() -> None:
    masks = [
        {"column": "email", "kind": "Partial", "text": "#", "keepFirst": 1, "keepLast": 4},
        {"column": "created_at", "kind": "Hash"},
    ]
    extra = {"maskKeySecret": {"name": "mask"}, "allowPrivilegedRole": True, "connections": 4}
    found = plan(known=with_users(extra, key=["id"], rowFilter="deleted_at IS NULL", masks=masks))
    told = found.run_spec.source
    assert (told.key, told.masks, told.row_filter, told.allow_privileged_role, told.connections) == (
        ("id",),
        (
            runspec.Mask(column="email", kind="Partial", text="#", keep_first=1, keep_last=4),
            runspec.Mask(column="created_at", kind="Hash"),
        ),
        "deleted_at IS NULL",
        True,
        4,
    )
    assert found.secrets == Secrets(source="app-db", destination="bucket-keys", mask_key="mask")


def test_a_mask_of_a_column_that_is_not_exported_is_left_out() -> None:
    wanted = request(source={"name": "app-db", "dataset": "users", "columns": ["id"]})
    assert plan(wanted, with_users(masks=[{"column": "email", "kind": "Null"}])).run_spec.source.masks == ()


def test_a_policys_maximum_lowers_the_connections_of_a_source() -> None:
    found = plan(known=with_users({"connections": 8}), rules=limited({"maxima": {"connections": 2}}))
    assert (found.run_spec.source.connections, found.effective.connections) == (2, 2)


def test_how_objects_are_written_goes_to_the_pod() -> None:
    known = catalogue(
        source(),
        destination(
            encryption={"mode": "KMS", "kmsKeyID": "alias/exports", "bucketKey": True},
            storageClass="STANDARD_IA",
            tags={"team": "data"},
            metadata={"origin": "app"},
            caSecret={"name": "s3-ca"},
            checkpointBucket="checkpoints",
        ),
    )
    found, told = plan(known=known), plan(known=known).run_spec.destination
    assert (told.encryption, told.storage_class, told.tags, told.metadata, told.checkpoint_bucket) == (
        runspec.Encryption(mode="KMS", kms_key_id="alias/exports", bucket_key=True),
        "STANDARD_IA",
        {"team": "data"},
        {"origin": "app"},
        "checkpoints",
    )
    assert found.secrets == Secrets(source="app-db", destination="bucket-keys", destination_ca="s3-ca")


def test_a_second_bucket_holds_the_run_under_a_prefix_of_its_own() -> None:
    found = plan(known=catalogue(source(), destination(fallback=BUCKET_FALLBACK)))
    assert found.run_spec.destination.fallback == runspec.Fallback(
        name="bucket",
        bucket=runspec.FallbackBucket(
            bucket="spare",
            key=URI.removeprefix("s3://exports/").replace("prod/", "held/", 1),
            manifest_key=MANIFEST_URI.removeprefix("s3://exports/").replace("prod/", "held/", 1),
            region="eu-west-1",
            endpoint="https://spare.svc",
            path_style=True,
        ),
        deadline_seconds=90,
        max_bytes=1000,
    )
    assert found.secrets.fallback == "spare-keys"


def test_a_database_takes_the_run_when_the_destination_cannot() -> None:
    found = plan(known=catalogue(source(), destination(fallback=DATABASE_FALLBACK)))
    assert found.run_spec.destination.fallback == runspec.Fallback(
        name="bucket",
        database=runspec.FallbackDatabase(
            host="spare.svc", port=5433, database="artifacts", ssl_mode="VerifyFull", schema="held"
        ),
        deadline_seconds=60,
    )
    assert found.secrets.fallback == "spare-db"


def test_the_form_of_csv_goes_to_the_pod() -> None:
    options = {
        "delimiter": ";",
        "header": False,
        "nullText": "NULL",
        "quoting": "All",
        "lineEnd": "CRLF",
        "neutraliseFormulas": True,
    }
    wanted = request(output={"format": "CSV", "csv": options, "onUnrepresentable": "Null"})
    assert plan(wanted).run_spec.output == runspec.Output(
        format="CSV",
        on_unrepresentable="Null",
        csv=runspec.CsvOptions(
            delimiter=";", header=False, null_text="NULL", quoting="All", line_end="CRLF", neutralise_formulas=True
        ),
    )


def test_the_form_of_json_goes_to_the_pod() -> None:
    options = {"bigNumbers": "String", "nonFinite": "Refuse", "bytea": "Base64"}
    wanted = request(output={"format": "NDJSON", "json": options})
    assert plan(wanted).run_spec.output == runspec.Output(
        format="NDJSON", json=runspec.JsonOptions(big_numbers="String", non_finite="Refuse", bytea="Base64")
    )


def reading(**changes: Any) -> dict[str, Any]:
    return {"source": {"name": "app-db", "dataset": "users"} | changes}


HIDDEN = Named("app-db-2", source(allowedNamespaces=["team-b"]).spec)
HIDDEN_BUCKET = Named("bucket-2", destination(allowedNamespaces=["team-b"]).spec)
CAPPED = Policy(
    "strict",
    {
        "maxima": {
            "runDeadlineSeconds": 60,
            "ttlSecondsAfterFinished": 10,
            "queueDeadlineSeconds": 30,
            "priority": "Low",
        }
    },
)
ONLY_IDS = Policy(
    "ids",
    {"allowed": {"datasets": [{"source": "app-db", "dataset": "users", "columns": ["created_at", "id", "phone"]}]}},
)

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
    "a channel that the policy does not have": (
        request(notify=["ops", "opps"]),
        catalogue(),
        limited({"notifications": {"channels": [{"name": "ops", "type": "Webhook", "secretRef": {"name": "x"}}]}}),
        "ChannelNotFound",
        (
            "spec.notify[1]: policy 'built-in' has no channel 'opps'. Did you mean 'ops'? Known: ops. Create a new"
            " request that names one of them."
        ),
        True,
    ),
    "a dataset that is nearly right": (
        request(**reading(dataset="user")),
        catalogue(),
        limited(),
        "DatasetNotFound",
        "spec.source.dataset: source 'app-db' has no dataset 'user'. Did you mean 'users'? Known: signups, users.",
        False,
    ),
    "a dataset that the policy does not allow": (
        request(**reading(dataset="signups")),
        catalogue(),
        ONLY_IDS,
        "DatasetNotAllowed",
        "spec.source.dataset: policy 'ids' does not allow 'signups' of source 'app-db'. Allowed: users.",
        False,
    ),
    "a dataset that is nearly one that the policy allows": (
        request(**reading(dataset="user")),
        catalogue(),
        ONLY_IDS,
        "DatasetNotFound",
        "spec.source.dataset: source 'app-db' has no dataset 'user'. Did you mean 'users'? Known: users.",
        False,
    ),
    "a source of which the policy allows no dataset": (
        request(),
        catalogue(),
        Policy("strict", {"allowed": {"datasets": [{"source": "dwh", "dataset": "users"}]}}),
        "SourceNotAllowed",
        "spec.source.name: policy 'strict' does not allow 'app-db'. Allowed: dwh.",
        False,
    ),
    "no dataset that the policy allows": (
        request(source={"name": "app-db"}),
        catalogue(),
        Policy("strict", {"allowed": {"datasets": [{"source": "app-db", "dataset": "orders"}]}}),
        "DatasetNotAllowed",
        "spec.source.dataset: source 'app-db' has none that policy 'strict' allows. Ask the platform team.",
        False,
    ),
    "a column that the policy does not allow": (
        request(**reading(columns=["id", "email"])),
        catalogue(),
        ONLY_IDS,
        "ColumnNotAllowed",
        "spec.source.columns[1]: policy 'ids' does not allow 'email' of dataset 'users'. Allowed: id, created_at.",
        False,
    ),
    "a column that is nearly one that the policy allows": (
        request(**reading(columns=["ids"])),
        catalogue(),
        ONLY_IDS,
        "ColumnNotFound",
        "spec.source.columns[0]: dataset 'users' has no column 'ids'. Did you mean 'id'? Known: created_at, id.",
        False,
    ),
    "no column that the policy allows": (
        request(),
        catalogue(),
        Policy("strict", {"allowed": {"datasets": [{"source": "app-db", "dataset": "users", "columns": ["phone"]}]}}),
        "ColumnNotAllowed",
        "spec.source.columns: dataset 'users' has no column that policy 'strict' allows. Ask the platform team.",
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
    "a layout that the policy does not allow": (
        request(output={"layout": "PartObjects"}),
        catalogue(),
        Policy("strict", {"allowed": {"layouts": ["SingleObject"]}}),
        "LayoutNotAllowed",
        "spec.output.layout: policy 'strict' does not allow 'PartObjects'. Allowed: SingleObject.",
        False,
    ),
    "a layout that this release does not write": (
        request(output={"layout": "Folder"}),
        catalogue(),
        limited(),
        "LayoutNotSupported",
        "spec.output.layout: 'Folder' is not one of SingleObject, PartObjects.",
        False,
    ),
    "options of CSV with a format that the policy gave": (
        request(output={"csv": {"header": False}}),
        catalogue(),
        Policy("modern", {"defaults": {"format": "NDJSON"}}),
        "OutputInvalid",
        (
            "spec.output.csv: these options are for CSV, and the format is NDJSON. Create a new request without them,"
            " or with spec.output.format CSV."
        ),
        False,
    ),
    "options of JSON with CSV": (
        request(output={"json": {"bytea": "Hex"}}),
        catalogue(),
        limited(),
        "OutputInvalid",
        (
            "spec.output.json: these options are for JSON and NDJSON, and the format is CSV. Create a new request"
            " without them, or with spec.output.format JSON."
        ),
        False,
    ),
    "a compression that the format does not have": (
        request(output={"format": "ArrowStream", "compression": "Gzip"}),
        catalogue(),
        limited(),
        "OutputInvalid",
        "spec.output.compression: an Arrow stream compresses its record batches, and has no Gzip; use Zstd or None.",
        False,
    ),
    "a delimiter that no reader could tell": (
        request(output={"csv": {"delimiter": "a"}}),
        catalogue(),
        limited(),
        "OutputInvalid",
        (
            "spec.output.csv.delimiter: 'a' must be a tab or one printable ASCII character, no letter or digit, and"
            ' none of " + - . which quotes and numbers are made of; comma, semicolon and | are usual.'
        ),
        False,
    ),
    "a mask of a column that the dataset does not have": (
        request(),
        with_users(masks=[{"column": "phone", "kind": "Null"}]),
        limited(),
        "SourceInvalid",
        "ExportSource 'app-db', dataset 'users', masks: 'phone' is not one of its columns: id, email, created_at."
        + MEND,
        False,
    ),
    "a hash without a key": (
        request(),
        with_users(masks=[{"column": "email", "kind": "Hash"}]),
        limited(),
        "SourceInvalid",
        "ExportSource 'app-db', spec.maskKeySecret: dataset 'users' hashes column 'email', which needs a Secret of the"
        " run namespace with the key maskKey." + MEND,
        False,
    ),
    "a key of a column that the dataset does not have": (
        request(),
        with_users(key=["uid"]),
        limited(),
        "SourceInvalid",
        "ExportSource 'app-db', dataset 'users', key: 'uid' is not one of its columns: id, email, created_at." + MEND,
        False,
    ),
    "a key that is masked": (
        request(),
        with_users(key=["email"], masks=[{"column": "email", "kind": "Null"}]),
        limited(),
        "SourceInvalid",
        "ExportSource 'app-db', dataset 'users', key: 'email' is masked, and a key's values stand in the checkpoint."
        + MEND,
        False,
    ),
    "a fallback that is the source": (
        request(),
        catalogue(
            source(),
            destination(
                fallback={
                    "database": {"host": "db.prod.svc", "database": "app", "credentialsSecret": {"name": "spare-db"}}
                }
            ),
        ),
        limited(),
        "FallbackIsSource",
        (
            "ExportDestination 'bucket', spec.fallback.database: 'app' on db.prod.svc:5432 is the database of"
            " ExportSource 'app-db' itself. Create a new request with another destination, or ask the platform team"
            " for a fallback elsewhere."
        ),
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
    "a longer wait than the policy allows": (
        request(queueDeadlineSeconds=31),
        catalogue(),
        CAPPED,
        "LimitExceeded",
        "spec.queueDeadlineSeconds: 31 is more than policy 'strict' allows (30).",
        False,
    ),
    "a higher priority than the policy allows": (
        request(priority="Normal"),
        catalogue(),
        CAPPED,
        "LimitExceeded",
        "spec.priority: Normal is more than policy 'strict' allows (Low).",
        False,
    ),
    "the highest priority, which nobody granted": (
        request(priority="High"),
        catalogue(),
        limited(),
        "LimitExceeded",
        "spec.priority: High is more than policy 'built-in' allows (Normal).",
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
