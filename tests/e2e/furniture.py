"""What the platform team has made for these tests, under names of their own: a demo beside them is left alone."""

from pathlib import Path
from typing import Any

from tests.cluster import templates
from tests.platform import catalogue
from tests.platform.api import Api, Json
from tests.platform.install import Platform
from tests.platform.names import RUN_NAMESPACE
from tests.platform.storage import Storage
from tests.services import data
from tests.services.cluster import NAMESPACE as SERVICES
from tests.services.cluster import Services

SOURCE, DESTINATION, BUCKET = "e2e-db", "e2e-bucket", "e2e"
FEW = 1000
"""Rows of the dataset for tests that are about something else than rows."""

# Groups whose policies differ; a user who is in none has what the product gives everybody.
PLENTY, HASTY, TINY, NARROW, ROWS = "e2e-plenty", "e2e-hasty", "e2e-tiny", "e2e-narrow", "e2e-rows"
NOWHERE, APART, FEIGNED = "e2e-nowhere", "e2e-apart", "e2e-feigned"
"""Whose pods no node takes, a node of their own takes, and are not what they should be."""
BOUNDED, HUMBLE, PROUD = "e2e-bounded", "e2e-humble", "e2e-proud"
"""Of a PriorityClass each: one that a quota can be about, one that all others go before, and one that goes before."""
PRIORITIES = {BOUNDED: 0, HUMBLE: -10, PROUD: 10}
SEAT = "e2e.export-operator.io/seat"
"""What a node may have one of: who sits there must rise for whoever goes before it."""

FULL = "e2e-full"
"""A source whose role may have no connection: PostgreSQL answers whoever asks, and refuses the export."""

READ_ONLY, FICKLE = "s3-read-only", "s3-fickle"
"""S3 servers beside the usual one: one refuses to write, one comes and goes and has keys of its own."""
DEAF = f"deaf.{SERVICES}.svc"
"""A Service without endpoints: connections to it are refused."""


def address(server: str) -> str:
    """The endpoint of one of these."""
    return f"http://{server}.{SERVICES}.svc:7070"


PLANTED = "pLantEd-s3cret-9f2b7c"
"""A password that must never show."""
MASK_KEY = "the key of the hashes of these tests"


def furnish(platform: Platform, storage: Storage) -> None:
    """Have it all; idempotent."""
    api, services = platform.api, platform.services
    manifest = (Path(__file__).with_name("manifests") / "s3.yaml").read_text()
    for name, option, place in (
        (READ_ONLY, "--readonly", f"/buckets/{BUCKET}"),
        (FICKLE, "--iam-dir=/tmp", "/buckets"),
    ):
        values = {"NAME": name, "OPTION": option, "PLACE": place, "S3_IMAGE": platform.images.s3}
        services.kubectl.apply(templates.render(manifest, values))
    services.psql(
        f"DROP TABLE IF EXISTS few; CREATE TABLE few AS SELECT * FROM users WHERE id <= {FEW};"
        " ALTER TABLE few ADD PRIMARY KEY (id)"
    )
    catalogue.reader(api, services, SOURCE, "e2e")
    catalogue.reader(api, services, FULL, "e2e_full")
    services.psql("ALTER ROLE e2e_full CONNECTION LIMIT 0")
    catalogue.writer(api, services, DESTINATION)
    storage.have_bucket(BUCKET)
    api.apply(_deaf_service())
    catalogue.secret(api, "e2e-mask", maskKey=MASK_KEY)
    catalogue.secret(api, "e2e-wrong", username="e2e", password=PLANTED)
    catalogue.secret(api, "e2e-wrong-key", AWS_ACCESS_KEY_ID=services.s3_access_key, AWS_SECRET_ACCESS_KEY=PLANTED)
    for document in (*sources(services), *destinations(services), *policies(), *priorities()):
        api.apply(document)
    for name in (READ_ONLY, FICKLE):
        services.kubectl.rolled_out(name)


def unfurnish(api: Api) -> None:
    """Leave nothing cluster-wide that a person would meet."""
    for kind in ("ExportPolicy", "ExportSource", "ExportDestination"):
        for document in api.items(kind):
            if document["metadata"]["name"].startswith("e2e-"):
                api.delete(kind, document["metadata"]["name"])
    for name in PRIORITIES:
        api.delete("PriorityClass", name)
    for secret in api.items("Secret", RUN_NAMESPACE):
        if secret["metadata"]["name"].startswith("e2e-"):
            api.delete("Secret", secret["metadata"]["name"], RUN_NAMESPACE)


def _deaf_service() -> Json:
    ports = [{"name": "postgres", "port": 5432}, {"name": "s3", "port": 7070}]
    metadata = {"name": "deaf", "namespace": SERVICES}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {"selector": {"app": "deaf"}, "ports": ports},
    }


def sources(services: Services) -> list[Json]:
    def source(name: str, host: str = "", secret: str = SOURCE, database: str = "") -> Json:
        spec = {
            "host": host or services.postgres_host,
            "port": services.postgres_port,
            "database": database or services.postgres_database,
            "sslMode": "Prefer",
            "credentialsSecret": {"name": secret},
            "maskKeySecret": {"name": "e2e-mask"},
            "datasets": DATASETS,
        }
        return catalogue.named("ExportSource", name, spec)

    return [
        source(SOURCE),
        source("e2e-down", host=DEAF),
        source(FULL, secret=FULL),
        source("e2e-wrong-password", secret="e2e-wrong"),
        source("e2e-no-database", database="nothing"),
        source("e2e-no-secret", secret="e2e-absent"),
    ]


def destination(services: Services, name: str, **changes: Any) -> Json:
    """The tests' bucket, unless `changes` say otherwise."""
    spec = {
        "bucket": BUCKET,
        "prefix": "tests",
        "region": "us-east-1",
        "endpoint": services.s3_endpoint,
        "pathStyle": True,
        "credentialsSecret": {"name": DESTINATION},
    }
    return catalogue.named("ExportDestination", name, spec | changes)


def destinations(services: Services) -> list[Json]:
    return [
        destination(services, DESTINATION),
        destination(services, "e2e-no-bucket", bucket="e2e-nowhere"),
        destination(services, "e2e-wrong-key", credentialsSecret={"name": "e2e-wrong-key"}),
        destination(services, "e2e-unreachable", endpoint=f"http://{DEAF}:7070"),
        destination(services, "e2e-read-only", endpoint=address(READ_ONLY)),
    ]


def policies() -> list[Json]:
    def policy(group: str, **spec: Json) -> Json:
        limits = {"windowSeconds": 86_400, "user": {"requests": 1000, **spec.pop("user", {})}}
        defaults = {"destination": DESTINATION, **spec.pop("defaults", {})}
        return catalogue.named(
            "ExportPolicy", group, {"selector": {"groups": [group]}, "limits": limits, "defaults": defaults, **spec}
        )

    seated = {"requests": {"cpu": "50m", "memory": "192Mi", SEAT: "1"}, "limits": {"memory": "512Mi", SEAT: "1"}}
    small = {"requests": {"cpu": "50m", "memory": "24Mi"}, "limits": {"memory": "24Mi"}}
    return [
        policy(PLENTY),
        policy(HASTY, defaults={"startDeadlineSeconds": 10}),
        policy(TINY, pod={"resources": small}),
        policy(NOWHERE, defaults={"startDeadlineSeconds": 10}, pod={"nodeSelector": {NOWHERE: "yes"}}),
        policy(BOUNDED, defaults={"startDeadlineSeconds": 20}, pod={"priorityClassName": BOUNDED}),
        policy(HUMBLE, pod={"priorityClassName": HUMBLE, "resources": seated}),
        policy(FEIGNED, defaults={"startDeadlineSeconds": 45}),
        policy(APART, pod={"nodeSelector": {APART: "yes"}}),
        policy(ROWS, user={"rows": FEW + FEW // 2}),
        policy(NARROW, allowed={"formats": ["CSV"]}, maxima={"runDeadlineSeconds": 60}),
    ]


def priorities() -> list[Json]:
    made = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "description": "Of the tests."}
    return [{**made, "metadata": {"name": name}, "value": value} for name, value in PRIORITIES.items()]


def table(name: str, relation: str) -> Json:
    columns = ["aid", "bid", "abalance", "filler"] if relation == "pgbench_accounts" else list(data.COLUMNS)
    order = columns[0]
    return {"name": name, "table": {"schema": "public", "name": relation}, "columns": columns, "orderBy": [order]}


DATASETS: list[Json] = [
    table("users", "users"),
    table("few", "few"),
    table("accounts", "pgbench_accounts"),
    {
        "name": "masked",
        "table": {"schema": "public", "name": "few"},
        "columns": ["id", "email", "full_name", "bio", "country"],
        "key": ["id"],
        "orderBy": ["id"],
        "rowFilter": "id <= 3",
        "masks": [
            {"column": "email", "kind": "Hash"},
            {"column": "full_name", "kind": "Partial", "keepFirst": 1},
            {"column": "bio", "kind": "Null"},
            {"column": "country", "kind": "Redact", "text": "somewhere"},
        ],
    },
    {
        "name": "since",
        "query": "SELECT id, email, country, created_at FROM public.users WHERE created_at >= {since}"
        " AND ({country} = '' OR country = {country}) AND id <= {most}",
        "columns": ["id", "email", "country", "created_at"],
        "orderBy": ["id"],
        "parameters": [
            {"name": "since", "type": "timestamptz", "required": True},
            {"name": "country", "type": "text", "default": ""},
            {"name": "most", "type": "integer", "default": "2147483647"},
        ],
    },
    {
        "name": "slow",
        "query": "SELECT id, email FROM public.few WHERE id <= {rows} AND pg_sleep(0.02) IS NOT NULL",
        "columns": ["id", "email"],
        "parameters": [{"name": "rows", "type": "integer", "default": "1000"}],
    },
    {
        "name": "paced",
        "query": "SELECT * FROM public.users WHERE id % 1000 <> 0 OR pg_sleep({milliseconds} / 1000.0) IS NOT NULL",
        "columns": list(data.COLUMNS),
        "key": ["id"],
        "parameters": [{"name": "milliseconds", "type": "integer", "default": "100"}],
    },
    {"name": "broken", "query": "SELECT id FROM public.no_such_table", "columns": ["id"]},
    {"name": "forbidden", "query": "SELECT pg_read_file('/etc/hosts') AS hosts", "columns": ["hosts"]},
]
"""`slow` takes as long as is wished: pg_sleep is volatile, so it is called for each row of the cheaper test. `paced` is
all users, in the order of a key, in about a dozen seconds: time to do something between two parts of the object."""


def paced(milliseconds: int) -> Json:
    """The source of a request for `paced` that pauses so long after each thousandth user: there are a hundred."""
    return {"name": SOURCE, "dataset": "paced", "parameters": {"milliseconds": str(milliseconds)}}
