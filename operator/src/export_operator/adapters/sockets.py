"""Connections that forget: what the other side has not acknowledged in time is never sent again.

A call that is given up may still be in the kernel, which goes on sending it for minutes, also when the process has
ended. After a partition it would arrive, and take effect, while somebody else leads.
"""

from __future__ import annotations

import socket

import aiohttp
from aiohttp.connector import AddrInfoType
from kubernetes.aio.client import Configuration
from kubernetes.aio.client.rest import RESTClientObject


class ForgetfulClient(RESTClientObject):
    """What the client sends its requests by, with a bound in seconds on how long the kernel keeps what it has sent."""

    def __init__(self, configuration: Configuration, seconds: float) -> None:
        super().__init__(configuration)
        self._milliseconds = int(seconds * 1000)

    def _create_connector(self) -> aiohttp.TCPConnector:
        return aiohttp.TCPConnector(limit=self.maxsize, ssl=self.ssl_context, socket_factory=self._socket)

    def _socket(self, address: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, _ = address
        made = socket.socket(family, kind, protocol)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, self._milliseconds)
        return made
