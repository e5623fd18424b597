"""The operator's way to buckets, on a real S3 server and with Secrets of a real API server."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import urllib3

from export_operator.adapters import storage
from export_operator.adapters.elector import NotLeading
from export_operator.adapters.kube import Kube, path_of
from export_operator.adapters.storage import Held, StorageError, Upload, opened
from tests.services import host
from tests.services.recorder import recorder
from tests.services.tls import Authority

from .connections import until

pytestmark = pytest.mark.integration

BUCKET = "exports"


@pytest.fixture(scope="module")
def s3() -> Iterator[host.S3Server]:
    with host.s3_server() as server:
        server.create_bucket(BUCKET)
        yield server


async def give(kube: Kube, namespace: str, name: str, values: Mapping[str, str]) -> None:
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    await kube.create(path_of("", "v1", "secrets", namespace=namespace), {"metadata": {"name": name}, "data": data})


def keys_of(server: host.S3Server) -> dict[str, str]:
    return {"AWS_ACCESS_KEY_ID": server.access_key, "AWS_SECRET_ACCESS_KEY": server.secret_key}


def place(server: host.S3Server, **more: Any) -> dict[str, Any]:
    usual = {"bucket": BUCKET, "endpoint": server.endpoint, "pathStyle": True, "credentialsSecret": {"name": "bucket"}}
    return usual | more


def put(server: host.S3Server, key: str, text: bytes = b"{}") -> None:
    path = server.data / BUCKET / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text)


async def test_a_bucket_is_listed_page_by_page_and_only_under_the_prefix(
    kube: Kube, namespace: str, s3: host.S3Server
) -> None:
    await give(kube, namespace, "bucket", keys_of(s3))
    for number in range(1001):
        put(s3, f"many/{number:04}")
    put(s3, "manyfold/other")
    async with opened(kube, namespace, place(s3)) as bucket:
        pages = [[each.key for each in page] async for page in bucket.pages("many/")]
    assert pages == [[f"many/{number:04}" for number in range(1000)], ["many/1000"]]


async def test_what_is_written_over_tls_goes_as_one_piece_with_nothing_behind_it(
    kube: Kube, namespace: str, s3: host.S3Server, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    await give(kube, namespace, "bucket", keys_of(s3))
    await give(kube, namespace, "trust", {"ca.crt": authority.certificate.read_text()})
    with recorder(s3.port, tls=authority.issue("wire", "IP:127.0.0.1")) as wire:
        there = place(s3, endpoint=wire.endpoint, caSecret={"name": "trust"})
        async with opened(kube, namespace, there) as bucket:
            await bucket.create("mark", b"ours")
    assert [(call.operation, call.body) for call in wire.calls] == [("PutObject", b"ours")]


async def test_an_object_is_read_whole_or_not_at_all(kube: Kube, namespace: str, s3: host.S3Server) -> None:
    await give(kube, namespace, "bucket", keys_of(s3))
    put(s3, "one", b"12345678")
    async with opened(kube, namespace, place(s3)) as bucket:
        assert await bucket.read("one", 8) == b"12345678"
        with pytest.raises(StorageError, match=r"^bucket 'exports': 'one' has more than 7 bytes$"):
            await bucket.read("one", 7)


async def test_what_s3_answers_is_told_by_its_code(kube: Kube, namespace: str, s3: host.S3Server) -> None:
    await give(kube, namespace, "bucket", keys_of(s3))
    await give(kube, namespace, "other", keys_of(s3) | {"AWS_SECRET_ACCESS_KEY": "not the key"})
    async with opened(kube, namespace, place(s3)) as bucket:
        with pytest.raises(StorageError, match=r"^bucket 'exports': S3 answers NoSuchKey$"):
            await bucket.read("none", 8)
    async with opened(kube, namespace, place(s3, credentialsSecret={"name": "other"})) as bucket:
        with pytest.raises(StorageError, match=r"^bucket 'exports': S3 answers SignatureDoesNotMatch$") as caught:
            await bucket.read("none", 8)
    assert caught.value.code == "SignatureDoesNotMatch"


async def test_a_server_that_is_away_is_an_error_of_the_bucket(
    kube: Kube, namespace: str, s3: host.S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "ATTEMPTS", 1)
    await give(kube, namespace, "bucket", keys_of(s3))
    async with opened(kube, namespace, place(s3, endpoint="http://127.0.0.1:1")) as bucket:
        with pytest.raises(StorageError, match=r"^bucket 'exports': EndpointConnectionError$"):
            await bucket.read("one", 8)


@pytest.mark.parametrize(
    ("secret", "message"),
    [
        ({}, "no Secret; only the service account of export pods has access"),
        ({"credentialsSecret": {"name": "none"}}, "Secret 'none' in namespace '{}': 404 NotFound"),
        ({"credentialsSecret": {"name": "half"}}, "Secret 'half' in namespace '{}' holds no access key"),
    ],
    ids=["web identity", "no Secret", "half a Secret"],
)
async def test_a_place_without_a_key_says_what_is_missing(
    kube: Kube, namespace: str, s3: host.S3Server, secret: dict[str, Any], message: str
) -> None:
    await give(kube, namespace, "half", {"AWS_ACCESS_KEY_ID": s3.access_key})
    with pytest.raises(StorageError) as caught:
        async with opened(kube, namespace, {**place(s3), "credentialsSecret": None, **secret}):
            pass
    assert str(caught.value).removeprefix("bucket 'exports': ") == message.format(namespace)


async def test_an_authority_of_its_own_is_trusted_and_none_else(
    kube: Kube, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path)
    monkeypatch.setattr(storage, "ATTEMPTS", 1)
    with host.s3_server(tls=authority.issue("s3", "IP:127.0.0.1")) as server:
        server.create_bucket(BUCKET)
        put(server, "one")
        await give(kube, namespace, "bucket", keys_of(server))
        await give(kube, namespace, "trust", {"ca.crt": authority.certificate.read_text()})
        async with opened(kube, namespace, place(server, caSecret={"name": "trust"})) as bucket:
            assert await bucket.read("one", 8) == b"{}"
        async with opened(kube, namespace, place(server)) as bucket:
            with pytest.raises(StorageError, match=r"^bucket 'exports': SSLError$"):
                await bucket.read("one", 8)


async def test_the_callers_own_aws_configuration_is_not_used(
    kube: Kube, namespace: str, s3: host.S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = {"AWS_PROFILE": "none", "AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_SESSION_TOKEN": "mine"}
    for name, value in (mine | {"AWS_CA_BUNDLE": os.devnull, "AWS_ACCESS_KEY_ID": "mine"}).items():
        monkeypatch.setenv(name, value)
    await give(kube, namespace, "bucket", keys_of(s3))
    put(s3, "one")
    async with opened(kube, namespace, place(s3)) as bucket:
        assert await bucket.read("one", 8) == b"{}"


def fetch(url: str) -> tuple[int, bytes]:
    """Plain HTTP, with nothing but the link."""
    answer = urllib3.request("GET", url, timeout=30, retries=False)
    return answer.status, answer.data


async def test_a_link_needs_no_account_and_leads_to_its_object_alone(
    kube: Kube, namespace: str, s3: host.S3Server
) -> None:
    await give(kube, namespace, "bucket", keys_of(s3))
    put(s3, "a/one.csv", b"1\n")
    put(s3, "a/two.csv", b"2\n")
    async with opened(kube, namespace, place(s3)) as bucket:
        one, two = await bucket.presign(["a/one.csv", "a/two.csv"], 60)
    assert (fetch(one), fetch(two)) == ((200, b"1\n"), (200, b"2\n"))
    assert fetch(one.replace("one.csv", "two.csv"))[0] == 403
    assert fetch(one.partition("?")[0])[0] == 403


async def test_a_link_is_for_the_host_that_it_was_signed_for(kube: Kube, namespace: str, s3: host.S3Server) -> None:
    await give(kube, namespace, "bucket", keys_of(s3))
    put(s3, "one", b"1")
    outside = s3.endpoint.replace("127.0.0.1", "localhost")
    assert outside != s3.endpoint
    async with opened(kube, namespace, place(s3, endpoint=outside)) as bucket:
        (url,) = await bucket.presign(["one"], 60)
    assert url.startswith(f"{outside}/{BUCKET}/one?")
    assert fetch(url) == (200, b"1")
    assert fetch(url.replace("localhost", "127.0.0.1"))[0] == 403


async def test_a_link_ends_by_itself(kube: Kube, namespace: str, s3: host.S3Server) -> None:
    await give(kube, namespace, "bucket", keys_of(s3))
    put(s3, "one", b"1")
    async with opened(kube, namespace, place(s3)) as bucket:
        (url,) = await bucket.presign(["one"], 1)
    await until(lambda: fetch(url)[0] == 403, "the end of the link")


async def test_an_object_is_looked_at_without_reading_it(kube: Kube, namespace: str, s3: host.S3Server) -> None:
    await give(kube, namespace, "bucket", keys_of(s3))
    put(s3, "one", b"12345678")
    async with opened(kube, namespace, place(s3)) as bucket:
        assert await bucket.look("one") == Held(8, archived=False)
        assert await bucket.look("none") is None


async def test_who_does_not_lead_changes_nothing_in_a_bucket(kube: Kube, namespace: str, s3: host.S3Server) -> None:
    def shut(_: float) -> None:
        raise NotLeading("the Lease is not held")

    await give(kube, namespace, "bucket", keys_of(s3))
    put(s3, "kept/one")
    async with opened(kube, namespace, place(s3), fence=shut) as bucket:
        for change in (
            bucket.delete(["kept/one"]),
            bucket.create("kept/two", b"{}"),
            bucket.abort(Upload("kept/three", "none", datetime.now(UTC))),
        ):
            with pytest.raises(StorageError, match=r"^bucket 'exports': the Lease is not held$"):
                await change
        assert [[each.key for each in page] async for page in bucket.pages("kept/")] == [["kept/one"]]


async def test_a_key_that_ends_says_when(kube: Kube, namespace: str, s3: host.S3Server) -> None:
    token = {"AWS_SESSION_TOKEN": "t"}
    end = {"AWS_CREDENTIAL_EXPIRATION": "2026-11-26T09:00:00+00:00"}
    wrong = {"AWS_CREDENTIAL_EXPIRATION": "tomorrow"}
    for name, more in {"bucket": {}, "session": token, "ending": token | end, "wrong": wrong}.items():
        await give(kube, namespace, name, keys_of(s3) | more)
    found = []
    for name in ("bucket", "session", "ending"):
        async with opened(kube, namespace, place(s3, credentialsSecret={"name": name})) as bucket:
            found.append((bucket.temporary, bucket.until))
    assert found == [(False, None), (True, None), (True, datetime(2026, 11, 26, 9, tzinfo=UTC))]
    with pytest.raises(StorageError, match="AWS_CREDENTIAL_EXPIRATION in Secret 'wrong' is no time"):
        async with opened(kube, namespace, place(s3, credentialsSecret={"name": "wrong"})):
            pass
