"""Bad input is refused by the API server itself, with a sentence that says what is allowed."""

from typing import Any

import pytest

from tests.e2e.api.kubectl import Kubectl, Object, cluster_wide, download, request, schedule

pytestmark = [pytest.mark.e2e, pytest.mark.older]

SOURCE: Object = {
    "host": "db.example.com",
    "database": "app",
    "credentialsSecret": {"name": "db"},
    "datasets": [{"name": "users", "table": {"name": "users"}, "columns": ["id", "email"]}],
}
DESTINATION: Object = {"bucket": "exports", "credentialsSecret": {"name": "s3"}}


def dataset(**given: Any) -> Object:
    return {**SOURCE, "datasets": [{"name": "users", "columns": ["id", "email"], **given}]}


# Where Kubernetes 1.30 words the rest of a message otherwise, its beginning is enough.
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
        "an unknown layout",
        {"output": {"layout": "Folder"}},
        'spec.output.layout: Unsupported value: "Folder": supported values: "SingleObject", "PartObjects"',
    ),
    (
        "options of CSV for NDJSON",
        {"output": {"format": "NDJSON", "csv": {"header": False}}},
        "spec.output.csv is for format CSV: set format to CSV or remove csv",
    ),
    (
        "options of JSON for Parquet",
        {"output": {"format": "Parquet", "json": {"bytea": "Hex"}}},
        "spec.output.json is for formats JSON and NDJSON: set format to one of them or remove json",
    ),
    (
        "an unknown way to resume",
        {"resume": "Sometimes"},
        'spec.resume: Unsupported value: "Sometimes": supported values: "Auto", "Always", "Never"',
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
        "spec.source.columns[0]: Too long: may not be",
    ),
    (
        "a parameter that is too long",
        {"source": {"name": "a", "parameters": {"since": "x" * 1025}}},
        "spec.source.parameters.since: Too long: may not be",
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
        "spec.destination.keyPrefix: Too long: may not be",
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
        "an expiry that nobody knows",
        {"expiry": "Never"},
        'spec.expiry: Unsupported value: "Never": supported values: "Auto", "Delete", "Keep"',
    ),
    (
        "a deletionPolicy that nobody knows",
        {"deletionPolicy": "Archive"},
        'spec.deletionPolicy: Unsupported value: "Archive": supported values: "Retain", "Delete"',
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
    stamped = set() if admin.declares else {"submittedBy"}
    assert set(made["spec"]) == {"source", "requester"} | stamped
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
        "a key of another column",
        dataset(table={"name": "users"}, key=["uid"]),
        "key may name only columns of the dataset: add the column to columns or remove it here",
    ),
    (
        "a mask of another column",
        dataset(table={"name": "users"}, masks=[{"column": "phone", "kind": "Null"}]),
        "masks may name only columns of the dataset: add the column to columns or remove the mask",
    ),
    (
        "a masked key",
        dataset(table={"name": "users"}, key=["id"], masks=[{"column": "id", "kind": "Null"}]),
        "a column of key must not be masked, for its values stand in the checkpoint",
    ),
    (
        "a hash without a key",
        dataset(table={"name": "users"}, masks=[{"column": "email", "kind": "Hash"}]),
        "masks of kind Hash need a key: name a Secret of the run namespace with the key maskKey here",
    ),
    (
        "a redaction that keeps something",
        dataset(table={"name": "users"}, masks=[{"column": "email", "kind": "Redact", "keepFirst": 1}]),
        "keepFirst and keepLast are for masks of kind Partial: set kind to Partial or remove them",
    ),
    (
        "a NULL with a text",
        dataset(table={"name": "users"}, masks=[{"column": "email", "kind": "Null", "text": "x"}]),
        "text is for masks of kind Redact and Partial: choose one of these kinds or remove text",
    ),
    (
        "two masks of a column",
        dataset(table={"name": "users"}, masks=[{"column": "email", "kind": "Null"}] * 2),
        "spec.datasets[0].masks[1]: Duplicate value",
    ),
    (
        "too many connections",
        {**SOURCE, "connections": 9},
        "spec.connections in body should be less than or equal to 8",
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
        "spec.datasets[1]: Duplicate value",
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
        "spec.datasets[0].query: Too long: may not be",
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
    (
        "a key without KMS",
        {**DESTINATION, "encryption": {"mode": "S3", "kmsKeyID": "alias/exports"}},
        "kmsKeyID and bucketKey are for mode KMS: set mode to KMS or remove them",
    ),
    (
        "an archive",
        {**DESTINATION, "storageClass": "DEEP_ARCHIVE"},
        "spec.storageClass must be one whose objects can be read at once, such as STANDARD_IA or GLACIER_IR",
    ),
    (
        "metadata that no header takes",
        {**DESTINATION, "metadata": {"origin": "caf\u00e9"}},
        "spec.metadata: a value may have only printable ASCII characters",
    ),
    (
        "metadata with capitals",
        {**DESTINATION, "metadata": {"Origin": "app"}},
        "spec.metadata: a name has up to 63 of a-z 0-9 -, with a letter or digit at both ends",
    ),
    (
        "too many tags",
        {**DESTINATION, "tags": {f"t{number}": "" for number in range(11)}},
        "spec.tags: Too many: 11: must have at most 10 items",
    ),
    (
        "a fallback to nowhere",
        {**DESTINATION, "fallback": {"deadlineSeconds": 60}},
        "a fallback needs exactly one of bucket and database: give the one that shall take the rows",
    ),
    (
        "a fallback to two places",
        {
            **DESTINATION,
            "fallback": {
                "bucket": {"bucket": "spare", "credentialsSecret": {"name": "spare"}},
                "database": {"host": "db", "database": "spare", "credentialsSecret": {"name": "spare"}},
            },
        },
        "a fallback needs exactly one of bucket and database: give the one that shall take the rows",
    ),
]


def test_a_fallback_gets_the_usual_port_schema_and_deadline(admin: Kubectl) -> None:
    database = {"host": "db", "database": "spare", "credentialsSecret": {"name": "spare"}}
    spec = {**DESTINATION, "fallback": {"database": database}}
    made = admin.dry_run(cluster_wide("ExportDestination", spec)).json()["spec"]["fallback"]
    assert made == {
        "database": {**database, "port": 5432, "schema": "public", "sslMode": "Prefer"},
        "deadlineSeconds": 60,
    }


def test_a_destination_without_a_secret_is_left_to_the_identity_of_the_export_pods(admin: Kubectl) -> None:
    made = admin.dry_run(cluster_wide("ExportDestination", {"bucket": "exports"})).json()["spec"]
    assert made == {"bucket": "exports", "probe": "Enabled", "region": "us-east-1"}


@pytest.mark.parametrize(("spec", "message"), [pytest.param(s, m, id=i) for i, s, m in REFUSED_DESTINATIONS])
def test_a_destination_is_refused_with_a_reason(admin: Kubectl, spec: Object, message: str) -> None:
    answer = admin.dry_run(cluster_wide("ExportDestination", spec))
    assert not answer.ok
    assert message in answer.error


def channel(**changes: Any) -> Object:
    """Of a policy."""
    return {"name": "ops", "type": "Webhook", "secretRef": {"name": "ops"}} | changes


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
        "an unknown layout",
        {"allowed": {"layouts": ["Folder"]}},
        'supported values: "SingleObject", "PartObjects"',
    ),
    (
        "memory that is no quantity",
        {"pod": {"resources": {"limits": {"memory": "much"}}}},
        "spec.pod.resources.limits.memory in body should match",
    ),
    (
        "a toleration of every taint that does not say so",
        {"pod": {"tolerations": [{"effect": "NoSchedule"}]}},
        "spec.pod.tolerations: without a key every taint is meant: set operator to Exists, or name the key",
    ),
    (
        "a toleration of any value, and of one",
        {"pod": {"tolerations": [{"key": "pool", "operator": "Exists", "value": "batch"}]}},
        "spec.pod.tolerations: operator Exists takes every value: leave value out, or set operator to Equal",
    ),
    (
        "a toleration for a time, of a taint that moves nobody",
        {
            "pod": {
                "tolerations": [{"key": "pool", "operator": "Exists", "effect": "NoSchedule", "tolerationSeconds": 9}]
            }
        },
        "spec.pod.tolerations: tolerationSeconds is for effect NoExecute: set that effect, or leave it out",
    ),
    ("a misspelt limit", {"limits": {"user": {"request": 5}}}, 'unknown field "spec.limits.user.request"'),
    (
        "a sliding window by calendar",
        {"limits": {"windowSeconds": 3600, "calendar": {"timeZone": "UTC"}}},
        "spec.limits: windowSeconds (sliding) and calendar exclude each other: remove one of them",
    ),
    *[
        (
            f"the time zone {zone}",
            {"limits": {"calendar": {"timeZone": zone}}},
            "spec.limits.calendar.timeZone must be a name of the IANA time zone database, such as Europe/Berlin or UTC",
        )
        for zone in ("Europe/Berlim", "+02:00", "Local", "europe/berlin", "../etc/passwd")
    ],
    *[
        (
            f"a default {field} above the maximum",
            {"defaults": {field: 61}, "maxima": {field: 60}},
            f"spec.defaults.{field} exceeds spec.maxima.{field}: lower one or raise the other",
        )
        for field in ("runDeadlineSeconds", "queueDeadlineSeconds", "ttlSecondsAfterFinished")
    ],
    *[
        (
            f"a default priority above {maxima.get('priority', 'what holds without a maximum')}",
            {"defaults": {"priority": priority}, "maxima": maxima},
            "spec.defaults.priority exceeds spec.maxima.priority (Normal where it is left out)",
        )
        for priority, maxima in (
            ("High", {}),
            ("High", {"priority": "Normal"}),
            ("High", {"priority": "Low"}),
            ("Normal", {"priority": "Low"}),
        )
    ],
    *[
        (
            f"a default {field} that is not allowed",
            {"defaults": {field: default}, "allowed": {f"{field}s": [other]}},
            f"spec.defaults.{field} is not one of spec.allowed.{field}s: add it there or name another",
        )
        for field, default, other in (
            ("destination", "a", "b"),
            ("format", "CSV", "Parquet"),
            ("layout", "SingleObject", "PartObjects"),
        )
    ],
    (
        "a dataset of a source that is not allowed",
        {"allowed": {"sources": ["a"], "datasets": [{"source": "b", "dataset": "users"}]}},
        "spec.allowed.datasets names a source that spec.allowed.sources does not allow: add it there",
    ),
    (
        "a dataset twice",
        {"allowed": {"datasets": [{"source": "a", "dataset": "users"}] * 2}},
        "spec.allowed.datasets[1]: Duplicate value",
    ),
    (
        "a dataset without columns",
        {"allowed": {"datasets": [{"source": "a", "dataset": "users", "columns": []}]}},
        "spec.allowed.datasets[0].columns in body should have at least 1 items",
    ),
    (
        "a refund of nothing known",
        {"limits": {"refundOn": ["Bad luck"]}},
        'supported values: "Infrastructure", "Quota", "Source", "Destination", "Preflight", "Deadline", "User"',
    ),
    ("no weight", {"weight": 0}, "spec.weight in body should be greater than or equal to 1"),
    (
        "a webhook with a template",
        {"notifications": {"channels": [channel(template={"title": "x"})]}},
        "a Webhook gets CloudEvents, which have no template: remove template",
    ),
    (
        "a chat without TLS",
        {"notifications": {"channels": [channel(type="Apprise", allowPlainHTTP=True)]}},
        "allowPlainHTTP is for type Webhook: remove it",
    ),
    *[
        (
            f"a network of {network}",
            {"notifications": {"channels": [channel(allowedNetworks=[network])]}},
            "spec.notifications.channels.allowedNetworks must be networks such as 10.20.0.0/16 or fd00::/8",
        )
        for network in ("10.0.0.0", "everywhere", "example.com/8", "/8", "abcd/8")
    ],
    (
        "an event that nobody knows",
        {"notifications": {"channels": [channel(events=["Done"])]}},
        'Unsupported value: "Done"',
    ),
    (
        "a channel twice",
        {"notifications": {"channels": [channel(), channel()]}},
        "spec.notifications.channels[1]: Duplicate value",
    ),
]


def test_a_policy_may_say_everything_at_once(admin: Kubectl) -> None:
    limits = {"requests": 100000, "rows": 10**15, "bytes": 2**50, "maxConcurrent": 1000, "maxQueued": 100000}
    spec = {
        "selector": {"users": ["alice"], "groups": ["analysts"], "namespaces": ["team-a"]},
        "weight": 100,
        "limits": {
            "calendar": {"timeZone": "America/Argentina/Buenos_Aires"},
            **dict.fromkeys(("user", "namespace", "all"), limits),
            "refundOn": ["Infrastructure", "Quota", "Source", "Destination", "Preflight", "Deadline", "User"],
        },
        "allowed": {
            "sources": ["db"],
            "destinations": ["bucket"],
            "formats": ["CSV"],
            "layouts": ["SingleObject"],
            "datasets": [{"source": "db", "dataset": "users", "columns": ["id", "Großbuchstabe"]}],
        },
        "defaults": {
            "destination": "bucket",
            "format": "CSV",
            "layout": "SingleObject",
            "runDeadlineSeconds": 60,
            "queueDeadlineSeconds": 60,
            "ttlSecondsAfterFinished": 60,
            "priority": "High",
        },
        "maxima": {
            "runDeadlineSeconds": 60,
            "queueDeadlineSeconds": 60,
            "ttlSecondsAfterFinished": 60,
            "priority": "High",
            "rows": 1,
            "bytes": 1,
            "connections": 1,
        },
        "kueue": {"queueName": "exports"},
        "notifications": {
            "channels": [
                channel(
                    events=["Started"], always=True, allowedNetworks=["10.0.0.0/8", "fd00::/8"], allowPlainHTTP=True
                ),
                channel(name="chat", type="Apprise", template={"title": "${name}", "body": "${message}"}),
            ],
            "queuedLongSeconds": 60,
            "expiringSeconds": 3600,
            "quotaNearPercent": 90,
        },
    }
    made = admin.dry_run(cluster_wide("ExportPolicy", spec))
    assert made.json()["spec"] == spec


def test_the_name_of_the_built_in_rule_is_no_policys(admin: Kubectl) -> None:
    policy = cluster_wide("ExportPolicy", {}) | {"metadata": {"name": "built-in"}}
    assert "built-in is what status calls the rule that holds without a policy: choose another name" in (
        admin.dry_run(policy).error
    )


@pytest.mark.parametrize(("spec", "message"), [pytest.param(s, m, id=i) for i, s, m in REFUSED_POLICIES])
def test_a_policy_is_refused_with_a_reason(admin: Kubectl, spec: Object, message: str) -> None:
    answer = admin.dry_run(cluster_wide("ExportPolicy", spec))
    assert not answer.ok
    assert message in answer.error


REFUSED_SCHEDULES: list[tuple[str, Object, str]] = [
    ("four fields", {"schedule": "30 2 * *"}, "spec.schedule must be five fields of cron"),
    ("a time zone in the schedule", {"schedule": "TZ=UTC 30 2 * * *"}, "spec.schedule must be five fields of cron"),
    ("an unknown macro", {"schedule": "@every 5m"}, "spec.schedule must be five fields of cron"),
    ("an offset for a time zone", {"timeZone": "+01:00"}, "spec.timeZone must be the IANA name of a time zone"),
    ("a time zone that depends on the host", {"timeZone": "Local"}, "spec.timeZone must be the IANA name"),
    ("a jitter of more than an hour", {"jitterSeconds": 3601}, "should be less than or equal to 3600"),
    ("an unknown policy", {"concurrencyPolicy": "Skip"}, 'supported values: "Allow", "Forbid", "Replace"'),
    ("no source", {"template": {"spec": {}}}, "spec.template.spec.source: Required value"),
    (
        "a key prefix that climbs",
        {"template": {"spec": {"source": {"name": "a"}, "destination": {"keyPrefix": "../b"}}}},
        "spec.destination.keyPrefix must not have a segment '.' or '..'",
    ),
    (
        "a requester in the template",
        {"template": {"spec": {"source": {"name": "a"}, "requester": {"username": "bob"}}}},
        'unknown field "spec.template.spec.requester"',
    ),
    (
        "a run in the template",
        {"template": {"spec": {"source": {"name": "a"}, "runID": "1"}}},
        'unknown field "spec.template.spec.runID"',
    ),
]


@pytest.mark.parametrize(("spec", "message"), [pytest.param(s, m, id=i) for i, s, m in REFUSED_SCHEDULES])
def test_a_schedule_is_refused_with_a_reason(admin: Kubectl, spec: Object, message: str) -> None:
    answer = admin.dry_run(schedule(**spec))
    assert not answer.ok
    assert message in answer.error


@pytest.mark.parametrize("text", ["0 0 * * *", "*/5 8-18 1,15 JAN-DEC MON-FRI", "30 2 ? * 1-5", "@hourly", "@yearly"])
def test_a_schedule_is_as_cron_writes_it(admin: Kubectl, text: str) -> None:
    assert admin.dry_run(schedule(schedule=text, timeZone="America/Argentina/Buenos_Aires")).ok


def test_the_name_of_a_schedule_leaves_room_for_the_time(admin: Kubectl) -> None:
    assert "metadata.name must have at most 52 characters" in admin.dry_run(schedule("x" * 53)).error
    assert admin.dry_run(schedule("x" * 52)).ok


REFUSED_DOWNLOADS: list[tuple[str, Object, str]] = [
    ("another namespace's request", {"requestName": "team-b/users"}, "spec.requestName in body should match"),
    ("a URI", {"uri": "s3://exports/team-b"}, 'unknown field "spec.uri"'),
    ("a link for ever", {"expirationSeconds": 604801}, "should be less than or equal to 604800"),
    ("a link for a second", {"expirationSeconds": 1}, "should be greater than or equal to 60"),
]


@pytest.mark.parametrize(("spec", "message"), [pytest.param(s, m, id=i) for i, s, m in REFUSED_DOWNLOADS])
def test_a_download_is_refused_with_a_reason(admin: Kubectl, spec: Object, message: str) -> None:
    answer = admin.dry_run(download(**spec))
    assert not answer.ok
    assert message in answer.error


def test_a_download_never_changes(alice: Kubectl) -> None:
    assert alice.apply(download()).ok
    for change in ({"requestName": "two"}, {"runID": "1"}, {"expirationSeconds": 60}):
        answer = alice.patch("one", {"spec": change}, kind="ExportDownload")
        assert "spec of an ExportDownload is immutable: create a new ExportDownload" in answer.error


FULL = {
    "destination": {"name": "bucket", "keyPrefix": "a"},
    "output": {"format": "CSV"},
    "runDeadlineSeconds": 60,
    "queueDeadlineSeconds": 60,
    "onDeadline": "Fail",
    "onQuotaExceeded": "Queue",
    "consistency": "Auto",
    "resume": "Auto",
    "priority": "Normal",
    "expiry": "Auto",
    "deletionPolicy": "Retain",
    "notify": ["ops"],
}


OTHER = {
    "destination": {"name": "other", "keyPrefix": "a"},
    "output": {"format": "JSON"},
    "runDeadlineSeconds": 61,
    "queueDeadlineSeconds": 61,
    "onDeadline": "Partial",
    "onQuotaExceeded": "Reject",
    "consistency": "Snapshot",
    "resume": "Never",
    "priority": "Low",
    "expiry": "Keep",
    "notify": ["ops", "chat"],
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


def test_requests_are_found_by_source_destination_and_requester(admin: Kubectl, alice: Kubectl, bob: Kubectl) -> None:
    definition = admin.get("CustomResourceDefinition", "exportrequests.export-operator.io")
    if "selectableFields" not in definition["spec"]["versions"][0]:
        pytest.skip("this cluster (Kubernetes 1.30) selects custom resources by no field of theirs")
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
        "RATE",
        "ETA",
        "AGE",
    ]
    wide = alice("get", "exportrequests", "-o", "wide").out.split("\n")[0].split()
    assert wide[-5:] == ["REASON", "POSITION", "BYTES", "REQUESTER", "URI"]
    assert "Only spec.source is required" in " ".join(alice("explain", "exportrequest").out.split())
