"""Earlier results of a request, read from their manifests on a real S3 server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from export_contract import names
from export_contract.manifest import Manifest, ObjectRef
from export_contract.runspec import Run
from export_operator.adapters.kube import Kube
from export_operator.adapters.recall import MAX_READ, manifests
from export_operator.adapters.storage import StorageError
from tests.services import host

from .test_storage import BUCKET, give, keys_of, place, put

pytestmark = pytest.mark.integration

FOLDER = "prod/team-a/compliance/users"


@pytest.fixture(scope="module")
def s3() -> Iterator[host.S3Server]:
    with host.s3_server() as server:
        server.create_bucket(BUCKET)
        yield server


def manifest(uid: str) -> Manifest:
    run = names.run_id(uid, "")
    key = f"{FOLDER}/{run}/users.csv"
    return Manifest(
        run=Run(id=run, namespace="team-a", name="users", uid=uid, requester="alice", digest="ab" * 32),
        source="app-db",
        dataset="users",
        format="CSV",
        compression="None",
        columns=(),
        rows=1,
        objects=(ObjectRef(bucket=BUCKET, key=key, rows=1, bytes=2, sha256="cd" * 32, etag="", parts=1),),
        complete=True,
        consistency="Snapshot",
        snapshot="1:1:",
        snapshot_time="2026-11-24T12:00:01Z",
        started_at="2026-11-24T12:00:00Z",
        finished_at="2026-11-24T12:00:02Z",
    )


def deliver(server: host.S3Server, found: Manifest, folder: str = FOLDER) -> None:
    put(server, f"{folder}/{found.run.id}/manifest.json", found.to_json().encode())
    put(server, f"{folder}/{found.run.id}/users.csv")


async def test_the_manifests_of_a_name_are_found_and_nothing_else(
    kube: Kube, namespace: str, s3: host.S3Server
) -> None:
    await give(kube, namespace, "bucket", keys_of(s3))
    expected = [manifest("one"), manifest("two")]
    for each in expected:
        deliver(s3, each)
    deliver(s3, manifest("other"), f"{FOLDER}-2025")
    deliver(s3, replace(manifest("forged"), run=manifest("one").run), "prod/team-b/compliance/users")
    put(s3, f"{FOLDER}/{manifest('forged').run.id}/manifest.json", manifest("one").to_json().encode())
    put(s3, f"{FOLDER}/{manifest('damaged').run.id}/manifest.json", b"{")
    put(s3, f"{FOLDER}/manifest.json", manifest("one").to_json().encode())
    found = await manifests(kube, namespace, place(s3, prefix="prod"), FOLDER)
    assert sorted(found, key=lambda each: each.run.uid) == expected
    assert await manifests(kube, namespace, place(s3, prefix="prod"), "prod/team-a/never") == []


async def test_of_many_no_more_are_read_than_one_waits_for(kube: Kube, namespace: str, s3: host.S3Server) -> None:
    await give(kube, namespace, "bucket", keys_of(s3))
    for number in range(MAX_READ + 4):
        deliver(s3, manifest(f"many-{number}"))
    assert len(await manifests(kube, namespace, place(s3, prefix="prod"), FOLDER)) <= MAX_READ


async def test_where_only_export_pods_may_read_nobody_looks(kube: Kube, namespace: str, s3: host.S3Server) -> None:
    assert await manifests(kube, namespace, place(s3, credentialsSecret=None), FOLDER) == []


async def test_a_store_that_is_away_is_told_from_one_that_says_no(
    kube: Kube, namespace: str, s3: host.S3Server
) -> None:
    await give(kube, namespace, "bucket", keys_of(s3))
    with pytest.raises(StorageError) as away:
        await manifests(kube, namespace, place(s3, endpoint="http://127.0.0.1:9"), FOLDER)
    with pytest.raises(StorageError) as refused:
        await manifests(kube, namespace, place(s3, bucket="nowhere"), FOLDER)
    assert (away.value.code, refused.value.code) == ("", "NoSuchBucket")
