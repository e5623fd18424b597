"""A call that was given up while no packet passed does not arrive when they pass again; nothing of one stays open."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import aiohttp
import pytest
from aiohttp import AddrInfoType, web
from kubernetes.aio.client import Configuration
from kubernetes.aio.client.rest import RESTClientObject
from kubernetes.aio.config import load_kube_config

from export_operator.adapters.sockets import ForgetfulClient
from tests.cluster import apt, shell

from .connections import until

pytestmark = pytest.mark.integration

SECONDS = 1.0
TURNS = 200
"""Of the event loop, from a socket on: some are those of the handshake."""


class Listener:
    """Notes the paths of what arrives."""

    def __init__(self) -> None:
        self.arrived: list[str] = []
        self.port = 0

    async def take(self, request: web.Request) -> web.Response:
        self.arrived.append(request.path)
        return web.Response()


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    made, app = Listener(), web.Application()
    app.router.add_route("*", "/{path:.*}", made.take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.port = runner.addresses[0][1]
    yield made
    await runner.cleanup()


@contextmanager
def partition(port: int) -> Iterator[None]:
    """Not a packet passes to or from a loopback port while the block runs."""
    table = f"export-operator-test-{port}"
    rules = f"tcp dport {port} drop; tcp sport {port} drop"
    chain = f"chain input {{ type filter hook input priority -10; policy accept; {rules}; }}"
    shell.run(["nft", "-f", "-"], stdin=f"table ip {table} {{\n{chain}\n}}\n")
    try:
        yield
    finally:
        shell.run(["nft", "delete", "table", "ip", table])


class Observed(ForgetfulClient):
    """Tells what it opens."""

    opened: asyncio.Future[socket.socket]

    def _socket(self, address: AddrInfoType) -> socket.socket:
        made = super()._socket(address)
        self.opened.set_result(made)
        return made


async def test_a_connection_that_is_given_up_at_any_turn_of_its_handshake_is_closed(kubeconfig: str) -> None:
    configuration, left = Configuration(), list[int]()
    await load_kube_config(config_file=kubeconfig, client_configuration=configuration)
    url = f"{configuration.host}/version"
    for turns in range(TURNS):
        client = Observed(configuration, SECONDS)
        client.opened = asyncio.get_running_loop().create_future()
        calling = asyncio.create_task(client.request("GET", url))  # type: ignore[no-untyped-call]
        made = await asyncio.wait_for(client.opened, 20)
        for _ in range(turns):
            await asyncio.sleep(0)
        calling.cancel()
        await asyncio.gather(calling, return_exceptions=True)
        await client.close()
        if made.fileno() >= 0:
            left.append(turns)
    assert left == []


@pytest.mark.skipif(os.geteuid() != 0 or not apt.find("nft"), reason="packets are dropped by nft, as root")
async def test_what_was_given_up_during_a_partition_is_forgotten_by_the_kernel_too(listener: Listener) -> None:
    configuration = Configuration(host=f"http://127.0.0.1:{listener.port}")
    clients = {"/plain": RESTClientObject(configuration), "/forgetful": ForgetfulClient(configuration, SECONDS)}
    bounds = aiohttp.ClientTimeout(total=SECONDS)
    try:
        for client in clients.values():  # the connection is there already
            await client.request("POST", f"{configuration.host}/first", body={}, _request_timeout=bounds)
        with partition(listener.port):
            for path, client in clients.items():
                with pytest.raises(TimeoutError):
                    await client.request("POST", f"{configuration.host}{path}", body={}, _request_timeout=bounds)
        # Without the bound the kernel goes on sending what nobody waits for any more.
        await until(lambda: "/plain" in listener.arrived, "the late call of a plain client", 60)
        assert listener.arrived == ["/first", "/first", "/plain"]
    finally:
        for client in clients.values():
            await client.close()
