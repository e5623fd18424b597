"""Connections that forget: what the other side has not acknowledged in time is never sent again.

A call that is given up may still be in the kernel, which goes on sending it for minutes, also when the process has
ended. After a partition it would arrive, and take effect, while somebody else leads.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from weakref import WeakSet

import aiohttp
from aiohttp.connector import AddrInfoType
from kubernetes.aio.client import Configuration
from kubernetes.aio.client.rest import RESTClientObject

CLOSE_TURNS = 100
"""Of the event loop, for what was shut down to be closed; it takes a few."""


class ForgetfulClient(RESTClientObject):
    """What the client sends its requests by, with a bound in seconds on how long the kernel keeps what it has sent."""

    def __init__(self, configuration: Configuration, seconds: float) -> None:
        super().__init__(configuration)
        self._milliseconds = int(seconds * 1000)
        self._sockets: WeakSet[socket.socket] = WeakSet()

    async def close(self) -> None:
        """Nothing is open afterwards, nor what the pool does not know: asyncio leaves a connection behind that is given
        up when its handshake is about to begin or has just ended."""
        await super().close()
        await asyncio.sleep(0)  # what the pool closes is closed at the loop's next turn
        for each in self._open():
            with suppress(OSError):  # the other side was first
                each.shutdown(socket.SHUT_RDWR)
        for _ in range(CLOSE_TURNS):
            if not self._open():
                break
            await asyncio.sleep(0)

    def _open(self) -> list[socket.socket]:
        return [each for each in self._sockets if each.fileno() >= 0]

    def _create_connector(self) -> aiohttp.TCPConnector:
        return aiohttp.TCPConnector(limit=self.maxsize, ssl=self.ssl_context, socket_factory=self._socket)

    def _socket(self, address: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, _ = address
        made = socket.socket(family, kind, protocol)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, self._milliseconds)
        self._sockets.add(made)
        return made
