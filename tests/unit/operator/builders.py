"""Values that tests begin from: one good request and what it needs. Each test changes the one thing it is about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from export_contract import names
from export_contract.report import Delivered, FailureReport, Outcome
from export_operator.domain import policy
from export_operator.domain.actions import Observation, Settings
from export_operator.domain.identity import Enforcement
from export_operator.domain.jobs import PodSettings
from export_operator.domain.manifests import Delivery
from export_operator.domain.model import Catalogue, Job, Key, Named, Pod, Request
from export_operator.domain.pages import Entry
from export_operator.domain.places import Places, Uris
from export_operator.domain.plan import Plan, make_plan
from export_operator.domain.policy import BUILT_IN, Policy

NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)
KEY = Key("team-a", "users-2026-11")
UID = "0b5e9f5c-6c1d-4f0e-9a59-5d2f3c1b7a10"
RUN = names.run_id(UID, "")
SHA = "ab" * 32
URI = f"s3://exports/prod/team-a/users-2026-11/{RUN}/users-2026-11.csv"
MANIFEST_URI = f"s3://exports/prod/team-a/users-2026-11/{RUN}/manifest.json"
PLACES = Places(Uris(URI, MANIFEST_URI))
DELIVERY = Delivery(
    run=RUN,
    request=KEY,
    uid=UID,
    user="alice",
    source="app-db",
    destination="bucket",
    time=NOW + timedelta(seconds=61),
    rows=100,
    bytes=2048,
)
"""What a manifest tells of the run."""

USERS: Mapping[str, Any] = {
    "name": "users",
    "table": {"schema": "app", "name": "users"},
    "columns": ["id", "email", "created_at"],
    "orderBy": ["id"],
}
SIGNUPS: Mapping[str, Any] = {
    "name": "signups",
    "query": "SELECT id FROM app.users WHERE created_at >= {since} LIMIT {count}",
    "columns": ["id"],
    "parameters": [{"name": "since", "type": "date"}, {"name": "count", "type": "integer", "default": "10"}],
}


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def source(**changes: Any) -> Named:
    spec: dict[str, Any] = {
        "host": "db.prod.svc",
        "port": 5432,
        "database": "app",
        "sslMode": "Require",
        "credentialsSecret": {"name": "app-db"},
        "datasets": [USERS, SIGNUPS],
    }
    return Named("app-db", spec | changes)


def destination(**changes: Any) -> Named:
    spec: dict[str, Any] = {
        "bucket": "exports",
        "prefix": "prod",
        "region": "eu-central-1",
        "endpoint": "http://s3.svc:7070",
        "pathStyle": True,
        "credentialsSecret": {"name": "bucket-keys"},
    }
    return Named("bucket", spec | changes)


def catalogue(*objects: Named, policies: tuple[Named, ...] = ()) -> Catalogue:
    """Source `app-db` and destination `bucket`, or the given ones instead: a destination is what has a bucket."""
    found = objects or (source(), destination())
    return Catalogue(
        sources={item.name: item for item in found if "bucket" not in item.spec},
        destinations={item.name: item for item in found if "bucket" in item.spec},
        policies={item.name: item for item in policies},
    )


BUCKET_FALLBACK: Mapping[str, Any] = {
    "bucket": {
        "bucket": "spare",
        "prefix": "held",
        "region": "eu-west-1",
        "endpoint": "https://spare.svc",
        "pathStyle": True,
        "credentialsSecret": {"name": "spare-keys"},
    },
    "deadlineSeconds": 90,
    "maxBytes": 1000,
}
DATABASE_FALLBACK: Mapping[str, Any] = {
    "database": {
        "host": "spare.svc",
        "port": 5433,
        "database": "artifacts",
        "schema": "held",
        "sslMode": "VerifyFull",
        "credentialsSecret": {"name": "spare-db"},
    }
}


def spec(**changes: Any) -> dict[str, Any]:
    """The least that a tenant writes, as admission has stamped it. A change to None takes the field away."""
    fields: dict[str, Any] = {
        "source": {"name": "app-db", "dataset": "users"},
        "requester": {"username": "alice"},
        "submittedBy": {"username": "alice", "groups": ["analysts"]},
    }
    return {name: value for name, value in (fields | changes).items() if value is not None}


def request(
    *, key: Key = KEY, uid: str = UID, status: Mapping[str, Any] | None = None, created: datetime = NOW, **changes: Any
) -> Request:
    return Request(
        key=key,
        uid=uid,
        resource_version="7",
        generation=1,
        created=created,
        spec=spec(**changes),
        status={"observedGeneration": -1} if status is None else status,
    )


def limited(policy_spec: Mapping[str, Any] | None = None) -> Policy:
    return Policy(BUILT_IN, policy_spec or {})


def plan(given: Request | None = None, known: Catalogue | None = None, rules: Policy | None = None) -> Plan:
    wanted = given or request()
    return make_plan(wanted, known or catalogue(), rules or limited(), wanted.run, 20)


ENFORCED = Enforcement(enforced=True, message="", good=NOW)
SETTINGS = Settings(pods=PodSettings(namespace="export-runs", image="registry/exporter:1"), defaults=policy.Defaults())


def entry(run: str, time: datetime = NOW, *, namespace: str = "team-a", **changes: Any) -> Entry:
    """What the ledger has of a run."""
    base = Entry(
        run=run,
        request=Key(namespace, run),
        uid=f"uid-{run}",
        time=time,
        user="alice",
        source="app-db",
        destination="bucket",
    )
    return replace(base, **changes)


def job(**changes: Any) -> Job:
    base = Job(
        name=names.job_name(RUN),
        uid="job-uid",
        run=RUN,
        request_uid=UID,
        request=KEY,
        created=NOW,
        suspended=False,
        deleting=False,
    )
    return replace(base, **changes)


def pod(**changes: Any) -> Pod:
    return replace(Pod(name="export-pod-1", uid="pod-uid", run=RUN, created=NOW), **changes)


def running_pod(**changes: Any) -> Pod:
    return pod(phase="Running", running=True, started=later(1), **changes)


def ended_pod(exit_code: int, told: str = "", **changes: Any) -> Pod:
    fields: dict[str, Any] = {
        "phase": "Succeeded" if exit_code == 0 else "Failed",
        "started": later(1),
        "exit_code": exit_code,
        "exit_reason": "Completed" if exit_code == 0 else "Error",
        "exit_message": told,
        "finished": later(5),
    }
    return pod(**(fields | changes))


def delivered(**changes: Any) -> Delivered:
    base = Delivered(
        uri=URI,
        manifest_uri=MANIFEST_URI,
        rows=100,
        bytes=2048,
        sha256=SHA,
        snapshot_time="2026-11-24T12:00:01Z",
    )
    return replace(base, **changes)


def success(**changes: Any) -> str:
    """The termination message of an attempt that delivered."""
    return Outcome(
        run=RUN, delivered=delivered(**changes), timings={"total": 1.25}, peak_memory_bytes=1 << 20, rows=100
    ).to_json()


def failure(*, read: float | None = None, **changes: Any) -> str:
    """The termination message of an attempt that failed; `read`: after it had read rows for so many seconds."""
    base = FailureReport(
        reason="SourceAuthenticationFailed",
        failure_class="Source",
        message='password authentication failed for user "exporter"',
        retryable=False,
        exit_code=67,
    )
    timings = {} if read is None else {"read": read}
    return Outcome(run=RUN, failure=replace(base, **changes), timings=timings).to_json()


def seen(given: Request | None = None, **changes: Any) -> Observation:
    known: dict[str, Any] = {"catalogue": changes.pop("catalogue", None) or catalogue(), "identity": ENFORCED}
    return Observation(request=given or request(), **(known | changes))
