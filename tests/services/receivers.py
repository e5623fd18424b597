"""Receivers of notifications that are really spoken to: HTTP, well or hostile, and SMTP."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from aiosmtpd.smtp import SMTP, Envelope

HOST = "127.0.0.1"
ENOUGH = 64 * 1024 * 1024  # bytes after which an endless answer ends, so that a test that fails does


@dataclass
class Hook:
    """An HTTP receiver: what it got, and how it answers."""

    port: int = 0
    answer: Callable[[asyncio.StreamWriter], Awaitable[None]] | None = None
    status: str = "204 No Content"
    more: str = ""
    got: list[tuple[Mapping[str, str], bytes]] = field(default_factory=list)
    connections: int = 0
    sent: int = 0
    open: dict[asyncio.Task[Any], asyncio.StreamWriter] = field(default_factory=dict)

    def url(self, scheme: str = "http", host: str = HOST) -> str:
        return f"{scheme}://{host}:{self.port}/hook/with-a-token"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self.open[task] = writer
        with suppress(OSError, asyncio.IncompleteReadError, ssl.SSLError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            lines = [line.partition(": ") for line in head.split("\r\n")[1:] if line]
            headers = {name.lower(): value for name, _, value in lines}
            self.got.append((headers, await reader.readexactly(int(headers.get("content-length", 0)))))
            if self.answer is not None:
                await self.answer(writer)
            else:
                writer.write(f"HTTP/1.1 {self.status}\r\n{self.more}Content-Length: 0\r\n\r\n".encode())
                await writer.drain()
        writer.close()

    async def flood(self, writer: asyncio.StreamWriter, head: bytes, piece: bytes, enough: int = ENOUGH) -> None:
        """An answer without an end."""
        writer.write(head)
        while self.sent < enough:
            writer.write(piece)
            await writer.drain()
            self.sent += len(piece)


@asynccontextmanager
async def hook(tls: ssl.SSLContext | None = None, **how: Any) -> AsyncIterator[Hook]:
    """An HTTP receiver on a port of its own."""
    made = Hook(**how)
    server = await asyncio.start_server(made.serve, HOST, 0, ssl=tls)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        for writer in made.open.values():
            writer.transport.abort()
        await asyncio.gather(*made.open, return_exceptions=True)


@dataclass
class Mailbox:
    """What an SMTP server has taken."""

    port: int = 0
    mails: list[EmailMessage] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)

    async def handle_DATA(self, _server: SMTP, _session: Any, envelope: Envelope) -> str:  # noqa: N802  # by aiosmtpd
        assert isinstance(envelope.content, bytes)
        mail = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        self.recipients += envelope.rcpt_tos
        return "250 taken"


@asynccontextmanager
async def mailbox() -> AsyncIterator[Mailbox]:
    """An SMTP server on a port of its own."""
    made = Mailbox()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(made, loop=loop), HOST, 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
