"""Webhooks against receivers that are really spoken to, the slow, the dead and the hostile among them."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import standardwebhooks

from export_operator.adapters.notify import DeliveryError, Webhook
from export_operator.domain.channels import Channel
from tests.services.receivers import ENOUGH, Hook, hook
from tests.services.tls import Authority

from .values import FOUND, channel

pytestmark = pytest.mark.integration

OLD, NEW = (f"whsec_{base64.b64encode(bytes([number]) * 32).decode()}" for number in (1, 2))
SHORT = 0.5  # seconds, for receivers that never answer
LITTLE = 32 * 1024 * 1024  # bytes: what the buffers of two sockets hold


async def send(url: str, to: Channel | None = None, *, seconds: float = 20, **secret: str) -> None:
    given = {"url": url, "signingKeys": NEW} | {name.replace("_", "."): value for name, value in secret.items()}
    data = {name: value.encode() for name, value in given.items() if value}
    await Webhook(lambda: datetime.now(UTC), seconds).send(to or channel(), data, FOUND)


async def problem(url: str, to: Channel | None = None, *, seconds: float = 20, **secret: str) -> str:
    with pytest.raises(DeliveryError) as error:
        await send(url, to, seconds=seconds, **secret)
    assert "with-a-token" not in str(error.value)
    return f"{'refused: ' if error.value.refused else ''}{error.value}"


async def test_the_signature_is_good_by_the_library_of_the_standard() -> None:
    async with hook() as receiver:
        await send(receiver.url(), authorization="Bearer abc")
    ((headers, body),) = receiver.got
    assert headers["content-type"] == "application/cloudevents+json; charset=utf-8"
    assert headers["webhook-id"] == FOUND.id
    assert headers["authorization"] == "Bearer abc"
    assert standardwebhooks.Webhook(NEW).verify(body, dict(headers)) == json.loads(FOUND.cloud_event())
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(OLD).verify(body, dict(headers))


async def test_while_keys_are_changed_who_knows_either_can_verify() -> None:
    async with hook() as receiver:
        await send(receiver.url(), signingKeys=f"{OLD}\n{NEW}\n")
    ((headers, body),) = receiver.got
    for key in (OLD, NEW):
        standardwebhooks.Webhook(key).verify(body, dict(headers))


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("400 Bad Request", "refused: HTTP 400"),
        ("404 Not Found", "HTTP 404"),
        ("429 Too Many Requests", "HTTP 429"),
        ("503 Service Unavailable", "HTTP 503"),
    ],
)
async def test_an_answer_that_is_no_success_is_told(status: str, expected: str) -> None:
    async with hook(status=status) as receiver:
        assert await problem(receiver.url()) == expected


async def test_a_redirect_to_the_metadata_address_is_not_followed() -> None:
    more = "Location: http://169.254.169.254/latest/meta-data/\r\n"
    async with hook(status="307 Temporary Redirect", more=more) as receiver:
        assert await problem(receiver.url()) == "HTTP 307: redirects are not followed"
    assert receiver.connections == 1


async def test_a_redirect_to_anywhere_else_is_not_followed_either() -> None:
    async with hook() as other, hook(status="302 Found", more=f"Location: {other.url()}\r\n") as receiver:
        assert await problem(receiver.url()) == "HTTP 302: redirects are not followed"
    assert other.connections == 0


async def test_a_receiver_that_never_answers_is_left_in_time() -> None:
    released = asyncio.Event()

    async def silent(_: asyncio.StreamWriter) -> None:
        await released.wait()

    async with hook(answer=silent) as receiver:
        assert await problem(receiver.url(), seconds=SHORT) == "no answer within 0 s"
        released.set()


async def test_a_receiver_that_is_dead_is_told_as_such() -> None:
    async with hook() as receiver:
        url = receiver.url()
    assert (await problem(url)).startswith("no connection: ")


async def test_nothing_is_read_of_an_endless_answer() -> None:
    async def endless(writer: asyncio.StreamWriter) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 99999999999\r\n\r\n"
        await receiver.flood(writer, head, b"\x1f\x8b" + bytes(65_536))

    async with hook(answer=endless) as receiver:
        await send(receiver.url())
    assert receiver.sent < LITTLE < ENOUGH


async def test_an_answer_whose_head_is_endless_is_left() -> None:
    async def endless(writer: asyncio.StreamWriter) -> None:
        await receiver.flood(writer, b"HTTP/1.1 200 OK\r\n", b"x-more: " + b"y" * 4096 + b"\r\n")

    async with hook(answer=endless) as receiver:
        assert (await problem(receiver.url(), seconds=5)).startswith(("the connection broke: ", "no answer within"))
    assert receiver.sent < ENOUGH


async def test_a_head_that_drips_is_left_in_time() -> None:
    released = asyncio.Event()

    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nx-")
        while not released.is_set():
            writer.write(b"y")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with hook(answer=drip) as receiver:
        assert await problem(receiver.url(), seconds=SHORT) == "no answer within 0 s"
        released.set()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1"])
async def test_an_address_that_is_not_public_is_not_connected_to_however_it_is_written(host: str) -> None:
    async with hook() as receiver:
        found = await problem(receiver.url(host=host), channel(networks=()))
    assert "is not a public address: the platform team may allow its network" in found or "InvalidUrl" in found
    assert receiver.connections == 0


async def test_the_metadata_address_is_refused_though_another_network_is_allowed() -> None:
    found = await problem("http://169.254.169.254/latest/", channel(networks=("10.0.0.0/8",)))
    assert found.startswith("169.254.169.254 is not a public address")


async def test_without_tls_nothing_is_sent_unless_the_channel_says_so() -> None:
    async with hook() as receiver:
        assert await problem(receiver.url(), channel(plain=False)) == "the Secret's url is no URL of https"
    assert receiver.connections == 0


async def test_a_receiver_shows_a_certificate_of_an_authority_that_is_trusted(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*authority.issue("receiver", "DNS:localhost"))
    async with hook(context) as receiver:
        url = receiver.url("https", "localhost")
        assert await problem(url) == "the receiver's certificate is not trusted"
        await send(url, ca_crt=authority.certificate.read_text())
        other = receiver.url("https", "127.0.0.1")
        found = await problem(other, ca_crt=authority.certificate.read_text())
        assert found == "the receiver's certificate is not trusted"
    assert len(receiver.got) == 1


@pytest.mark.parametrize(
    ("secret", "expected"),
    [
        ({"url": ""}, "the Secret's url is no URL of https or http"),
        ({"url": "ftp://x/with-a-token"}, "the Secret's url is no URL of https or http"),
        ({"url": "http://[/with-a-token"}, "the Secret's url is no URL of https or http"),
        ({"signingKeys": ""}, "the Secret has no signingKeys (whsec_ and 24 to 64 bytes as base64)"),
        ({"signingKeys": "secret"}, "the Secret's signingKeys: a key is whsec_ and base64"),
        ({"signingKeys": "whsec_"}, "the Secret's signingKeys: a key has 24 to 64 bytes, not 0"),
        ({"signingKeys": "whsec_c2hvcnQ="}, "the Secret's signingKeys: a key has 24 to 64 bytes, not 5"),
        ({"ca_crt": "no certificate"}, "the Secret's ca.crt holds no certificates"),
    ],
)
async def test_a_secret_that_is_no_good_says_which_key(secret: dict[str, str], expected: str) -> None:
    async with hook() as receiver:
        given: dict[str, Any] = {"url": receiver.url()} | secret
        assert await problem(**given) == expected
    assert receiver.connections == 0


async def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with hook() as proxy, hook() as receiver:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setitem(os.environ, name, f"http://127.0.0.1:{proxy.port}")
        await send(receiver.url())
    assert (proxy.connections, receiver.connections) == (0, 1)


def test_receivers_are_what_they_say() -> None:
    assert Hook(port=7).url() == "http://127.0.0.1:7/hook/with-a-token"
