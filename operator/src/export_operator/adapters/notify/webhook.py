"""CloudEvents over HTTP, signed as Standard Webhooks says (spec v1, symmetric), to receivers that are not trusted:
no redirect is followed, no answer is read beyond its head, and no address is connected to that was not looked at."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import hashlib
import hmac
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime

import aiohttp
from aiohttp import AddrInfoType
from yarl import URL

from export_operator import __version__
from export_operator.adapters.certificates import CA
from export_operator.adapters.notify.delivery import DeliveryError, text_of
from export_operator.domain.addresses import refusal
from export_operator.domain.channels import Channel
from export_operator.domain.notifications import Notification

CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"
SECONDS = 15.0  # for all of it, the answer's beginning within
PREFIX = "whsec_"
SHORTEST, LONGEST = 24, 64  # bytes of a key, by the standard
NOT_TAKEN = frozenset({400, 406, 409, 413, 415, 422})
"""The receiver has understood, and does not want this one. Other answers speak of the receiver, or of its set-up."""


class Webhook:
    """Sends to `url` of a channel's Secret, signed with each key in `signingKeys` (`whsec_…`, separated by white space:
    an old and a new one while they are changed). `authorization` and `ca.crt` may be in it. `clock`: UTC."""

    def __init__(self, clock: Callable[[], datetime], seconds: float = SECONDS) -> None:
        self._clock = clock
        self._seconds = seconds

    async def send(self, channel: Channel, secret: Mapping[str, bytes], found: Notification) -> None:
        """One POST. Raises `DeliveryError` unless it was answered by 2xx."""
        url = _url(channel, text_of(secret, "url"))
        body, moment = found.cloud_event(), str(int(self._clock().timestamp()))
        headers = {
            "content-type": CONTENT_TYPE,
            "user-agent": f"export-operator/{__version__}",
            "webhook-id": found.id,
            "webhook-timestamp": moment,
            "webhook-signature": signatures(text_of(secret, "signingKeys"), found.id, moment, body),
        }
        if authorization := text_of(secret, "authorization"):
            headers["authorization"] = authorization
        refusals: list[str] = []
        try:
            async with (
                asyncio.timeout(self._seconds),
                _session(channel, secret, refusals) as session,
                session.post(url, data=body, headers=headers, allow_redirects=False) as answer,
            ):
                code = answer.status
                answer.close()  # what is in it is of no interest, however much it is
        except TimeoutError as error:
            raise DeliveryError(f"no answer within {self._seconds:.0f} s") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise DeliveryError(refusals[0] if refusals else _fault(error)) from error
        if 300 <= code < 400:
            raise DeliveryError(f"HTTP {code}: redirects are not followed")
        if not 200 <= code < 300:
            raise DeliveryError(f"HTTP {code}", refused=code in NOT_TAKEN)


def signatures(keys: str, identity: str, moment: str, body: bytes) -> str:
    """The header `webhook-signature`. Raises `DeliveryError` where there is no key, or what is no key."""
    found = []
    for key in keys.split():
        try:
            raw = base64.b64decode(key.removeprefix(PREFIX), validate=True)
        except (binascii.Error, ValueError) as error:
            raise DeliveryError(f"the Secret's signingKeys: a key is {PREFIX} and base64") from error
        if not SHORTEST <= len(raw) <= LONGEST:
            raise DeliveryError(f"the Secret's signingKeys: a key has {SHORTEST} to {LONGEST} bytes, not {len(raw)}")
        digest = hmac.digest(raw, f"{identity}.{moment}.".encode() + body, hashlib.sha256)
        found.append(f"v1,{base64.b64encode(digest).decode()}")
    if not found:
        raise DeliveryError(f"the Secret has no signingKeys ({PREFIX} and {SHORTEST} to {LONGEST} bytes as base64)")
    return " ".join(found)


def _url(channel: Channel, text: str) -> URL:
    """Raises `DeliveryError`."""
    try:
        url = URL(text)
    except ValueError:
        url = URL()
    schemes = ("https", "http") if channel.plain else ("https",)
    if url.scheme not in schemes or not url.host:
        raise DeliveryError(f"the Secret's url is no URL of {' or '.join(schemes)}")
    return url


def _sockets(networks: Sequence[str], refusals: list[str]) -> Callable[[AddrInfoType], socket.socket]:
    """Makes the sockets of a connection, for addresses alone that may be connected to. It is asked with the very
    address that is connected to, so no name can mean one thing when it is looked at and another later."""

    def make(info: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, address = info
        if problem := refusal(str(address[0]), networks):
            refusals.append(problem)
            raise OSError(problem)
        return socket.socket(family, kind, protocol)

    return make


@contextlib.asynccontextmanager
async def _session(
    channel: Channel, secret: Mapping[str, bytes], refusals: list[str]
) -> AsyncIterator[aiohttp.ClientSession]:
    """Of one call: nothing of one receiver's, cookies among it, is shown to another. No proxy of the environment."""
    trusted: ssl.SSLContext | bool = True
    if authorities := text_of(secret, CA):
        try:
            trusted = ssl.create_default_context(cadata=authorities)
        except ssl.SSLError as error:
            raise DeliveryError(f"the Secret's {CA} holds no certificates") from error
    connector = aiohttp.TCPConnector(
        socket_factory=_sockets(channel.networks, refusals), ssl=trusted, use_dns_cache=False
    )
    async with aiohttp.ClientSession(
        connector=connector,
        trust_env=False,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
    ) as session:
        yield session


def _fault(error: Exception) -> str:
    """Without the URL, which is in the Secret."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
        return "the receiver's certificate is not trusted"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "the receiver's name is not known"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"no connection: {error.os_error.strerror or type(error.os_error).__name__}"
    return f"the connection broke: {type(error).__name__}"
