"""Is anybody there? What a server answers to a stranger: nobody logs in, and no secret leaves the process.

A fault is told in words without an address, since tenants read it; "" means that there is none."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from contextlib import suppress

import aiohttp

SECONDS = 5.0  # in all: connection, TLS and answer
SSL_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"
"""PostgreSQL: SSLRequest (Frontend/Backend Protocol, "SSL Session Encryption"). Every server answers it with one byte,
before it knows user or database; one that only accepts connections, as a proxy without a server does, does not."""


async def postgresql_fault(host: str, port: int) -> str:
    """What is wrong with the PostgreSQL server there."""
    try:
        async with asyncio.timeout(SECONDS):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(SSL_REQUEST)
                answer = await reader.readexactly(1)
                if answer == b"S":
                    await _end_politely(writer)
            finally:
                writer.close()
    except (OSError, EOFError, ValueError) as error:
        return _words(error)
    return "" if answer in {b"S", b"N"} else "something else than PostgreSQL answers there"


async def _end_politely(writer: asyncio.StreamWriter) -> None:
    """Shake hands and say good-bye: a server writes a line to its log about a client that agrees on TLS and leaves.
    The certificate is for those to check who trust the server with something."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with suppress(OSError, EOFError):  # it has answered: it is there
        await writer.start_tls(context)
        writer.close()
        await writer.wait_closed()


async def s3_fault(url: str, authority: str = "") -> str:
    """What is wrong with the S3 server there: it answers anybody, be it with a refusal. `authority` is what TLS trusts,
    as PEM; empty for the system's."""
    try:
        trust = ssl.create_default_context(cadata=authority) if authority else True
        async with (
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=trust, force_close=True),
                timeout=aiohttp.ClientTimeout(total=SECONDS),
            ) as session,
            session.get(url, allow_redirects=False) as answer,
        ):
            return f"it answers HTTP {answer.status}" if answer.status >= 500 else ""
    except (aiohttp.ClientError, OSError, EOFError, ValueError) as error:
        return _words(error)


def _words(error: Exception) -> str:
    cause = getattr(error, "certificate_error", None) or getattr(error, "os_error", None) or error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return "its certificate is not accepted"
    if isinstance(cause, ssl.SSLError):
        return f"TLS failed: {cause.reason or 'no agreement'}"
    if isinstance(cause, TimeoutError):
        return f"no answer within {SECONDS:g} s"
    if isinstance(cause, socket.gaierror | UnicodeError):
        return "its name cannot be resolved"
    if isinstance(cause, ConnectionRefusedError):
        return "connection refused"
    if isinstance(cause, ConnectionError | EOFError | aiohttp.ServerDisconnectedError):
        return "the connection was closed without an answer"
    if isinstance(cause, OSError) and cause.errno:
        return os.strerror(cause.errno).lower()
    return "it does not answer as it should"
