"""A proxy in front of an API server that has bad days: it refuses calls, loses answers, is slow, breaks off watches.

    with api_proxy(plane.settings.api_url, ca) as between:
        between.fault = lambda call: Refusal(429) if call.writes else None

It speaks plain HTTP on a loopback port, and passes on whatever credentials a client sends.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from aiohttp import web
from yarl import URL

NOT_PASSED = {"host", "connection", "transfer-encoding", "content-length", "accept-encoding", "content-encoding"}


@dataclass(frozen=True)
class Call:
    """`path` is without the query."""

    method: str
    path: str
    watch: bool

    @property
    def writes(self) -> bool:
        return self.method != "GET"


@dataclass(frozen=True)
class Refusal:
    """The API server answers so, and has done nothing."""

    status: int

    @property
    def name(self) -> str:
        return str(self.status)


@dataclass(frozen=True)
class Loss:
    """The connection breaks: after the API server has done what it was asked (`done`), or before it has heard of it."""

    done: bool

    @property
    def name(self) -> str:
        return "answer lost" if self.done else "call lost"


@dataclass(frozen=True)
class Delay:
    """The answer comes so many seconds later."""

    seconds: float
    name = "delay"


@dataclass(frozen=True)
class Break:
    """A watch breaks after so many seconds; with `expired` the API server says that its resourceVersion is too old."""

    seconds: float
    expired: bool = False

    @property
    def name(self) -> str:
        return "watch expired" if self.expired else "watch broken"


Fault = Refusal | Loss | Delay | Break

REASONS = {
    401: "Unauthorized",
    403: "Forbidden",
    409: "Conflict",
    429: "TooManyRequests",
    500: "InternalError",
    504: "Timeout",
}


class ApiProxy:
    """`fault` is asked about each call. `befallen` counts what was done. `stall` lets nothing pass in any direction
    until `resume`; what waits then goes on, unless its client has left."""

    host = "127.0.0.1"

    def __init__(self, to: str, authority: Path) -> None:
        self._to = URL(to)
        self._trust = ssl.create_default_context(cafile=str(authority))
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._stop = asyncio.Event()
        self._watches: set[asyncio.Transport] = set()
        self._open = asyncio.Event()
        self._open.set()
        self.port = 0
        self.fault: Callable[[Call], Fault | None] = lambda _: None
        self.befallen: Counter[str] = Counter()

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def serve(self) -> None:
        """Until `close`."""
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    def wait(self) -> None:
        assert self._started.wait(10)

    def sever(self) -> None:
        """Break every watch that is under way."""
        for transport in list(self._watches):
            self._loop.call_soon_threadsafe(transport.abort)

    def stall(self) -> None:
        self._loop.call_soon_threadsafe(self._open.clear)

    def resume(self) -> None:
        self._loop.call_soon_threadsafe(self._open.set)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)

    async def _serve(self) -> None:
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1)
        await runner.setup()
        site = web.TCPSite(runner, self.host, 0)
        await site.start()
        self.port = runner.addresses[0][1]
        connector = aiohttp.TCPConnector(limit=0, ssl=self._trust)
        async with aiohttp.ClientSession(
            connector=connector, auto_decompress=False, read_bufsize=2**21
        ) as self._session:
            self._started.set()
            await self._stop.wait()
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        await self._open.wait()
        call = Call(request.method, request.path, "watch" in request.query)
        fault = self.fault(call)
        if fault is not None:
            self.befallen[fault.name] += 1
        match fault:
            case Refusal(status):
                return _status(status)
            case Loss(done=False):
                return _broken(request)
            case Break(expired=True):
                return _expired()
            case _:
                pass
        headers = {name: value for name, value in request.headers.items() if name.lower() not in NOT_PASSED}
        headers["Accept-Encoding"] = "identity"
        target = self._to.join(URL(request.raw_path, encoded=True))
        body = await request.read() or None  # an empty one would get a Content-Type
        bounds = aiohttp.ClientTimeout(None)
        async with self._session.request(request.method, target, headers=headers, data=body, timeout=bounds) as answer:
            if isinstance(fault, Loss):
                await answer.read()
                return _broken(request)
            if isinstance(fault, Delay):
                await asyncio.sleep(fault.seconds)
            await self._open.wait()
            seconds = fault.seconds if isinstance(fault, Break) else None
            if not call.watch or request.transport is None:
                return await self._pass(request, answer, seconds)
            self._watches.add(request.transport)
            try:
                return await self._pass(request, answer, seconds)
            finally:
                self._watches.discard(request.transport)

    async def _pass(
        self, request: web.Request, answer: aiohttp.ClientResponse, seconds: float | None
    ) -> web.StreamResponse:
        headers = {name: value for name, value in answer.headers.items() if name.lower() not in NOT_PASSED}
        passed = web.StreamResponse(status=answer.status, headers=headers)
        try:
            await passed.prepare(request)
            async with asyncio.timeout(seconds):
                async for piece in answer.content.iter_any():
                    await self._open.wait()
                    await passed.write(piece)
        except (TimeoutError, aiohttp.ClientError):
            _broken(request)
        return passed


def _status(code: int) -> web.Response:
    reason = REASONS[code]
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code}
    headers = {"Retry-After": "1"} if code == 429 else {}
    text = json.dumps({**body, "message": f"{reason}, says the proxy of the tests"})
    return web.Response(status=code, text=text, content_type="application/json", headers=headers)


def _expired() -> web.Response:
    """As an API server begins a watch from a resourceVersion that it has forgotten."""
    status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired", "code": 410}
    event = {"type": "ERROR", "object": {**status, "message": "too old resource version, says the proxy of the tests"}}
    return web.Response(text=json.dumps(event) + "\n", content_type="application/json")


def _broken(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


@contextmanager
def api_proxy(to: str, authority: Path) -> Iterator[ApiProxy]:
    """An `ApiProxy` in front of the API server at the URL `to`, whose certificate `authority` has signed."""
    made = ApiProxy(to, authority)
    thread = threading.Thread(target=made.serve, name="api proxy", daemon=True)
    thread.start()
    made.wait()
    try:
        yield made
    finally:
        with suppress(RuntimeError):
            made.close()
        thread.join(10)
