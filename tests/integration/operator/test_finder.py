"""Manifests of runs whose end nobody tells, looked for on a real S3 server."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from export_contract import names
from export_contract.manifest import Manifest, ObjectRef
from export_contract.runspec import Run
from export_operator.adapters import finder, storage
from export_operator.adapters.finder import Finder
from export_operator.adapters.kube import Kube, path_of
from export_operator.domain.actions import Seek
from export_operator.domain.manifests import Sought
from export_operator.domain.model import Key
from export_operator.domain.places import Coordinates
from tests.services import host

from .connections import until

pytestmark = pytest.mark.integration

KEY, RUN = Key("team-a", "users"), names.run_id("uid", "")
AT = Coordinates(
    namespace="team-a", key_prefix="x", name="users", run=RUN, format="CSV", compression="None", layout="SingleObject"
)


@pytest.fixture(scope="module")
def s3() -> Iterator[host.S3Server]:
    with host.s3_server() as server:
        for bucket in ("exports", "spare"):
            server.create_bucket(bucket)
        yield server


@pytest.fixture
async def credentials(kube: Kube, namespace: str, s3: host.S3Server) -> None:
    values = {"AWS_ACCESS_KEY_ID": s3.access_key, "AWS_SECRET_ACCESS_KEY": s3.secret_key}
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    await kube.create(path_of("", "v1", "secrets", namespace=namespace), {"metadata": {"name": "keys"}, "data": data})


def place(server: host.S3Server, bucket: str = "exports", **more: Any) -> dict[str, Any]:
    usual = {"endpoint": server.endpoint, "pathStyle": True, "credentialsSecret": {"name": "keys"}}
    return {"bucket": bucket, "prefix": "prod", **usual, **more}


def put(server: host.S3Server, spec: Mapping[str, Any], text: str) -> None:
    path = server.data / spec["bucket"] / AT.keys(spec).manifest
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def manifest(spec: Mapping[str, Any], *, used_fallback: bool = False) -> Manifest:
    stored = ObjectRef(
        bucket=spec["bucket"], key=AT.keys(spec).object, rows=7, bytes=99, sha256="ab" * 32, etag="e", parts=1
    )
    return Manifest(
        run=Run(id=RUN, namespace="team-a", name="users", uid="uid", requester="alice"),
        source="app-db",
        dataset="users",
        format="CSV",
        compression="None",
        columns=(),
        rows=7,
        objects=(stored,),
        complete=True,
        consistency="Snapshot",
        snapshot="1:1:",
        snapshot_time="",
        started_at="2026-11-24T12:00:00Z",
        finished_at="2026-11-24T12:00:00Z",
        used_fallback=used_fallback,
    )


async def found(kube: Kube, namespace: str, spec: Mapping[str, Any] | None) -> Sought:
    """The answer, which the request is woken for."""
    woken: list[Key] = []
    looking = Finder(kube, namespace, woken.append)
    assert looking.answer(KEY, RUN) is None
    looking.ask(Seek(RUN, KEY, "bucket", spec, AT))
    looking.ask(Seek(RUN, KEY, "bucket", spec, AT))  # which is under way
    await until(lambda: bool(woken), "the request is woken", 60)
    assert woken == [KEY]
    answer = looking.answer(KEY, RUN)
    assert looking.answer(KEY, "another") is None
    looking.forget(KEY)
    assert looking.answer(KEY, RUN) is None
    assert answer is not None
    return answer


@pytest.mark.usefixtures("credentials")
async def test_a_manifest_in_its_place_is_the_answer(kube: Kube, namespace: str, s3: host.S3Server) -> None:
    spec = place(s3)
    put(s3, spec, manifest(spec).to_json())
    folder = f"s3://exports/prod/team-a/x/users/{RUN}"
    expected = manifest(spec).delivered(f"{folder}/users.csv", f"{folder}/manifest.json")
    assert await found(kube, namespace, spec) == Sought(expected)


@pytest.mark.usefixtures("credentials")
async def test_a_manifest_in_the_fallbacks_bucket_is_found_there(kube: Kube, namespace: str, s3: host.S3Server) -> None:
    spare = place(s3, "spare", prefix="held")
    put(s3, spare, manifest(spare, used_fallback=True).to_json())
    answer = await found(kube, namespace, place(s3, prefix="empty", fallback={"bucket": spare}))
    assert answer.delivered is not None
    assert (answer.delivered.used_fallback, answer.delivered.uri.startswith("s3://spare/held/")) == (True, True)


@pytest.mark.usefixtures("credentials")
@pytest.mark.parametrize("text", ["", "{}", "another's"], ids=["empty", "no manifest", "another run's"])
async def test_what_is_none_is_no_delivery(kube: Kube, namespace: str, s3: host.S3Server, text: str) -> None:
    spec = place(s3, prefix="strange")
    other = replace(manifest(spec), run=replace(manifest(spec).run, id=names.run_id("uid", "2"), run_id="2"))
    put(s3, spec, other.to_json() if text == "another's" else text)
    assert await found(kube, namespace, spec) == Sought()


@pytest.mark.usefixtures("credentials")
@pytest.mark.parametrize("bucket", ["exports", "absent"], ids=["no manifest", "no bucket"])
async def test_where_there_is_none_there_is_no_delivery(
    kube: Kube, namespace: str, s3: host.S3Server, bucket: str
) -> None:
    assert await found(kube, namespace, place(s3, bucket, prefix="nothing")) == Sought()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not answer is given up soon."""
    monkeypatch.setattr(storage, "ATTEMPTS", 1)
    monkeypatch.setattr(finder, "PAUSES", (0.01,))


@pytest.mark.usefixtures("credentials", "hasty")
@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        pytest.param(
            {"credentialsSecret": {"name": "none"}},
            "ExportDestination 'bucket': Secret 'none' in namespace '{}': 404 NotFound",
            id="no Secret",
        ),
        pytest.param(
            {"credentialsSecret": None},
            "ExportDestination 'bucket': bucket 'exports': no Secret;"
            " only the service account of export pods has access",
            id="an account of its own",
        ),
        pytest.param(
            {"prefix": "nothing", "fallback": {"database": {"host": "db"}}},
            "the fallback is a database, which only export pods reach",
            id="a fallback in a database",
        ),
        pytest.param(
            {"endpoint": "http://127.0.0.1:1"},
            "ExportDestination 'bucket': bucket 'exports': EndpointConnectionError",
            id="no answer",
        ),
    ],
)
async def test_where_nobody_can_look_nobody_knows(
    kube: Kube,
    namespace: str,
    s3: host.S3Server,
    changes: dict[str, Any],
    fault: str,
) -> None:
    assert await found(kube, namespace, place(s3, **changes)) == Sought(fault=fault.format(namespace))


async def test_of_a_destination_that_is_gone_nobody_knows(kube: Kube, namespace: str) -> None:
    assert await found(kube, namespace, None) == Sought(fault="ExportDestination 'bucket' is gone")
