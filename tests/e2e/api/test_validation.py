"""Bad input is refused by the API server itself, with a sentence that says what is allowed."""

from typing import Any

import pytest

from tests.e2e.api.kubectl import Kubectl, Object, cluster_wide, request

pytestmark = pytest.mark.e2e

SOURCE: Object = {
    "host": "db.example.com",
    "database": "app",
    "credentialsSecret": {"name": "db"},
    "datasets": [{"name": "users", "table": {"name": "users"}, "columns": ["id", "email"]}],
}
DESTINATION: Object = {"bucket": "exports", "credentialsSecret": {"name": "s3"}}


def dataset(**given: Any) -> Object:
    return {**SOURCE, "datasets": [{"name": "users", "columns": ["id", "email"], **given}]}


REFUSED_REQUESTS: list[tuple[str, Object, str]] = [
    ("no source", {"source": None}, "spec.source: Required value"),
    ("no source name", {"source": {"dataset": "users"}}, "spec.source.name: Required value"),
    (
        "a source with capitals",
        {"source": {"name": "App"}},
        'spec.source.name: Invalid value: "App": spec.source.name in body should match',
    ),
    (
        "an unknown format",
        {"output": {"format": "XML"}},
        (
            'spec.output.format: Unsupported value: "XML": supported values: '
            '"CSV", "JSON", "NDJSON", "Parquet", "ArrowStream"'
        ),
    ),
    (
        "an unknown compression",
        {"output": {"compression": "LZ4"}},
        'spec.output.compression: Unsupported value: "LZ4": supported values: "None", "Gzip", "Zstd"',
    ),
    (
        "a layout of a later release",
        {"output": {"layout": "PartObjects"}},
        'spec.output.layout: Unsupported value: "PartObjects": supported values: "SingleObject"',
    ),
    (
        "a column twice",
        {"source": {"name": "a", "columns": ["id", "email", "id"]}},
        "spec.source.columns must not name a column twice: remove the duplicate",
    ),
    (
        "no column",
        {"source": {"name": "a", "columns": []}},
        "spec.source.columns in body should have at least 1 items",
    ),
    (
        "too many columns",
        {"source": {"name": "a", "columns": [f"c{number}" for number in range(257)]}},
        "spec.source.columns: Too many: 257: must have at most 256 items",
    ),
    (
        "a column name that is too long",
        {"source": {"name": "a", "columns": ["x" * 64]}},
        "spec.source.columns[0]: Too long: may not be more than 63 bytes",
    ),
    (
        "a parameter that is too long",
        {"source": {"name": "a", "parameters": {"since": "x" * 1025}}},
        "spec.source.parameters.since: Too long: may not be more than 1024 bytes",
    ),
    (
        "too many parameters",
        {"source": {"name": "a", "parameters": {f"p{number}": "" for number in range(33)}}},
        "spec.source.parameters: Too many: 33: must have at most 32 items",
    ),
    (
        "a parameter that is no string",
        {"source": {"name": "a", "parameters": {"since": 2026}}},
        'spec.source.parameters.since: Invalid value: "integer"',
    ),
    (
        "a parameter's name that is too long",
        {"source": {"name": "a", "parameters": {"x" * 64: ""}}},
        "spec.source.parameters: names have 1 to 63 characters",
    ),
    (
        "an absolute key prefix",
        {"destination": {"keyPrefix": "/etc"}},
        "spec.destination.keyPrefix must be segments of A-Z a-z 0-9 . _ - joined by single slashes",
    ),
    (
        "a key prefix that climbs",
        {"destination": {"keyPrefix": "a/../../other"}},
        "spec.destination.keyPrefix must not have a segment '.' or '..': an export stays within its namespace's part",
    ),
    (
        "a key prefix that is too long",
        {"destination": {"keyPrefix": "x" * 257}},
        "spec.destination.keyPrefix: Too long: may not be more than 256 bytes",
    ),
    (
        "a deadline of nothing",
        {"runDeadlineSeconds": 0},
        "spec.runDeadlineSeconds in body should be greater than or equal to 1",
    ),
    (
        "a deadline of more than a day",
        {"runDeadlineSeconds": 86401},
        "spec.runDeadlineSeconds in body should be less than or equal to 86400",
    ),
    (
        "a negative time to live",
        {"ttlSecondsAfterFinished": -1},
        "spec.ttlSecondsAfterFinished in body should be greater than or equal to 0",
    ),
    (
        "a runID with a slash",
        {"runID": "a/b"},
        "spec.runID may hold only A-Z a-z 0-9 . _ -, for example 2026-11-24",
    ),
    (
        "an expiry of a later release",
        {"expiry": "Delete"},
        'spec.expiry: Unsupported value: "Delete": supported values: "Auto", "Keep"',
    ),
    (
        "a deletionPolicy of a later release",
        {"deletionPolicy": "Delete"},
        'spec.deletionPolicy: Unsupported value: "Delete": supported values: "Retain"',
    ),
    ("SQL in a request", {"source": {"name": "a", "query": "SELECT 1"}}, 'unknown field "spec.source.query"'),
    (
        "an endpoint in a request",
        {"destination": {"endpoint": "http://x"}},
        'unknown field "spec.destination.endpoint"',
    ),
]


@pytest.mark.parametrize(("spec", "message"), [pytest.param(s, m, id=i) for i, s, m in REFUSED_REQUESTS])
def test_a_request_is_refused_with_a_reason(admin: Kubectl, spec: Object, message: str) -> None:
    answer = admin.dry_run(request(**spec))
    assert not answer.ok
    assert message in answer.error


def test_a_name_that_cannot_become_a_label_is_refused(admin: Kubectl) -> None:
    answer = admin.dry_run(request("x" * 64))
    assert "metadata.name must have at most 63 characters" in answer.error
    assert admin.dry_run(request("x" * 63)).ok


def test_only_the_source_is_required_and_nothing_is_filled_in_that_a_policy_gives(admin: Kubectl) -> None:
    made = admin.dry_run(request()).json()
    assert set(made["spec"]) == {"source", "requester", "submittedBy"}
    assert made["status"] == {"observedGeneration": -1}


REFUSED_SOURCES: list[tuple[str, Object, str]] = [
    (
        "neither table nor query",
        dataset(),
        "a dataset needs exactly one of table and query: give the one that holds the rows",
    ),
    (
        "both table and query",
        dataset(table={"name": "users"}, query="SELECT 1"),
        "a dataset needs exactly one of table and query",
    ),
    (
        "parameters of a table",
        dataset(table={"name": "users"}, parameters=[{"name": "since", "type": "date"}]),
        "parameters are for datasets with a query: use query instead of table, or remove parameters",
    ),
    (
        "an order by another column",
        dataset(table={"name": "users"}, orderBy=["created_at"]),
        "orderBy may name only columns of the dataset: add the column to columns or remove it here",
    ),
    (
        "a column twice",
        {**SOURCE, "datasets": [{"name": "users", "table": {"name": "users"}, "columns": ["id", "id"]}]},
        'spec.datasets[0].columns[1]: Duplicate value: "id"',
    ),
    ("no dataset", {**SOURCE, "datasets": []}, "spec.datasets in body should have at least 1 items"),
    (
        "a dataset twice",
        {**SOURCE, "datasets": [*SOURCE["datasets"], *SOURCE["datasets"]]},
        'spec.datasets[1]: Duplicate value: {"name":"users"}',
    ),
    (
        "a parameter that is required and has a default",
        dataset(query="SELECT {a}", parameters=[{"name": "a", "type": "text", "required": True, "default": ""}]),
        "a required parameter has no default: remove required or default",
    ),
    (
        "a parameter of an unknown type",
        dataset(query="SELECT {a}", parameters=[{"name": "a", "type": "json"}]),
        'Unsupported value: "json": supported values: "text", "integer", "bigint"',
    ),
    (
        "a query that is too long",
        dataset(query="x" * 8193),
        "spec.datasets[0].query: Too long: may not be more than 8192 bytes",
    ),
    (
        "a URL for a host",
        {**SOURCE, "host": "postgres://db/app"},
        "spec.host must be one host name or address, such as db.prod.svc",
    ),
    ("an unknown TLS mode", {**SOURCE, "sslMode": "verify-full"}, 'supported values: "Disable", "Prefer", "Require"'),
    ("a password", {**SOURCE, "password": "hunter2"}, 'unknown field "spec.password"'),
]


@pytest.mark.parametrize(("spec", "message"), [pytest.param(s, m, id=i) for i, s, m in REFUSED_SOURCES])
def test_a_source_is_refused_with_a_reason(admin: Kubectl, spec: Object, message: str) -> None:
    answer = admin.dry_run(cluster_wide("ExportSource", spec))
    assert not answer.ok
    assert message in answer.error


def test_a_source_gets_the_usual_port_schema_and_tls_mode(admin: Kubectl) -> None:
    spec = admin.dry_run(cluster_wide("ExportSource", SOURCE)).json()["spec"]
    assert (spec["port"], spec["sslMode"], spec["datasets"][0]["table"]["schema"]) == (5432, "Prefer", "public")


REFUSED_DESTINATIONS: list[tuple[str, Object, str]] = [
    ("a bucket with capitals", {**DESTINATION, "bucket": "Exports"}, "spec.bucket must be an S3 bucket name"),
    ("a bucket with two dots", {**DESTINATION, "bucket": "ex..ports"}, "spec.bucket must be an S3 bucket name"),
    ("an endpoint without scheme", {**DESTINATION, "endpoint": "s3.svc:9000"}, "spec.endpoint must be a URL such as"),
    ("an endpoint of another kind", {**DESTINATION, "endpoint": "ftp://s3.svc"}, "spec.endpoint must be a URL such as"),
    ("a prefix that climbs", {**DESTINATION, "prefix": "a/.."}, "spec.prefix must not have a segment '.' or '..'"),
    ("no credentials", {"bucket": "exports"}, "spec.credentialsSecret: Required value"),
]


@pytest.mark.parametrize(("spec", "message"), [pytest.param(s, m, id=i) for i, s, m in REFUSED_DESTINATIONS])
def test_a_destination_is_refused_with_a_reason(admin: Kubectl, spec: Object, message: str) -> None:
    answer = admin.dry_run(cluster_wide("ExportDestination", spec))
    assert not answer.ok
    assert message in answer.error


REFUSED_POLICIES: list[tuple[str, Object, str]] = [
    (
        "a window of a second",
        {"limits": {"windowSeconds": 1}},
        "spec.limits.windowSeconds in body should be greater than or equal to 60",
    ),
    (
        "an unknown format",
        {"allowed": {"formats": ["XML"]}},
        'supported values: "CSV", "JSON", "NDJSON", "Parquet", "ArrowStream"',
    ),
    (
        "memory that is no quantity",
        {"pod": {"resources": {"limits": {"memory": "much"}}}},
        "spec.pod.resources.limits.memory in body should match",
    ),
    ("a misspelt limit", {"limits": {"user": {"request": 5}}}, 'unknown field "spec.limits.user.request"'),
]


@pytest.mark.parametrize(("spec", "message"), [pytest.param(s, m, id=i) for i, s, m in REFUSED_POLICIES])
def test_a_policy_is_refused_with_a_reason(admin: Kubectl, spec: Object, message: str) -> None:
    answer = admin.dry_run(cluster_wide("ExportPolicy", spec))
    assert not answer.ok
    assert message in answer.error


FULL = {
    "destination": {"name": "bucket", "keyPrefix": "a"},
    "output": {"format": "CSV"},
    "runDeadlineSeconds": 60,
    "queueDeadlineSeconds": 60,
    "onDeadline": "Fail",
    "onQuotaExceeded": "Queue",
    "consistency": "Auto",
    "expiry": "Auto",
    "deletionPolicy": "Retain",
}


OTHER = {
    "destination": {"name": "other", "keyPrefix": "a"},
    "output": {"format": "JSON"},
    "runDeadlineSeconds": 61,
    "queueDeadlineSeconds": 61,
    "onDeadline": "Partial",
    "onQuotaExceeded": "Reject",
    "consistency": "Snapshot",
    "expiry": "Keep",
}


@pytest.mark.parametrize(
    ("created", "later"),
    [
        pytest.param(FULL, OTHER, id="change"),
        pytest.param(FULL, dict.fromkeys(FULL), id="vanish"),
        pytest.param({}, FULL, id="appear"),
    ],
)
def test_a_field_cannot_change_or_vanish_or_appear_later(alice: Kubectl, created: Object, later: Object) -> None:
    assert alice.apply(request(**created)).ok
    error = alice.patch("one", {"spec": later}).error
    for field in later:
        assert f"spec.{field}: Forbidden: spec.{field} is immutable: create a new ExportRequest" in error


def test_the_source_and_the_order_of_its_columns_are_immutable(alice: Kubectl) -> None:
    assert alice.apply(request(source={"name": "nowhere", "columns": ["id", "email"]})).ok
    for source in ({"name": "other"}, {"columns": ["email", "id"]}, {"columns": None}, {"parameters": {"a": ""}}):
        answer = alice.patch("one", {"spec": {"source": source}})
        assert "spec.source: Forbidden: spec.source is immutable: create a new ExportRequest" in answer.error


def test_what_steers_a_request_may_change(alice: Kubectl) -> None:
    assert alice.apply(request()).ok
    for spec in (
        {"suspend": True},
        {"suspend": None},
        {"runID": "2"},
        {"ttlSecondsAfterFinished": 0},
        {"cancel": True},
    ):
        answer = alice.patch("one", {"spec": spec})
        assert answer.ok, answer.error


def test_requests_are_found_by_source_destination_and_requester(alice: Kubectl, bob: Kubectl) -> None:
    assert alice.apply(request("first", destination={"name": "here"})).ok
    assert bob.apply(request("second", source={"name": "elsewhere"})).ok
    for selector, expected in {
        "spec.source.name=elsewhere": ["second"],
        "spec.destination.name=here": ["first"],
        "spec.requester.username=bob": ["second"],
    }.items():
        found = alice("get", "exreq", "--field-selector", selector, "-o", "json").json()["items"]
        assert [item["metadata"]["name"] for item in found] == expected


def test_kubectl_shows_what_a_person_looks_for(alice: Kubectl) -> None:
    assert alice.apply(request()).ok
    assert alice("get", "exreq").out.split("\n")[0].split() == [
        "NAME",
        "PHASE",
        "SOURCE",
        "DATASET",
        "ROWS",
        "%",
        "AGE",
    ]
    wide = alice("get", "exportrequests", "-o", "wide").out.split("\n")[0].split()
    assert wide[-5:] == ["REASON", "BYTES", "RATE", "REQUESTER", "URI"]
    assert "Only spec.source is required" in " ".join(alice("explain", "exportrequest").out.split())
