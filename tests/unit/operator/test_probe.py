"""The prober at work: servers on the loopback address are real, the API server is a record of what it is told."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from export_operator.adapters.kube import ApiError
from export_operator.adapters.probe import Prober, address, endpoint
from export_operator.domain.actions import Emit
from export_operator.domain.breaker import DESTINATION, SOURCE
from export_operator.domain.identity import Subject
from export_operator.gates import Gates
from export_operator.store import Store
from tests.services.processes import free_port

pytestmark = pytest.mark.unit


class Cluster:
    """Keeps statuses, Events and Secrets."""

    run_namespace = "export-runs"

    def __init__(self) -> None:
        self.secrets: dict[str, dict[str, bytes]] = {"keys": {"username": b"u", "password": b"p"}}
        self.annotations: dict[str, str] = {}
        self.conditions: dict[str, Mapping[str, Any]] = {}
        self.events: list[tuple[str, str, str]] = []
        self.away = False
        self.changed = asyncio.Event()
        self._versions = 1

    async def secret_object(self, name: str) -> dict[str, Any] | None:
        if self.away:
            raise ApiError(0, "Unreachable", "TimeoutError")
        if name not in self.secrets:
            return None
        data = {key: base64.b64encode(value).decode() for key, value in self.secrets[name].items()}
        return {"metadata": {"name": name, "annotations": self.annotations}, "data": data}

    async def write_status(self, path: str, document: Mapping[str, Any], status: Mapping[str, Any]) -> dict[str, Any]:
        self.conditions[path.rpartition("/")[2]] = status["conditions"][0]
        self.changed.set()
        metadata = document["metadata"] | {"resourceVersion": self.next()}
        return {**document, "metadata": metadata, "status": status}

    def next(self) -> str:
        self._versions += 1
        return str(self._versions)

    async def tell(self, document: Mapping[str, Any], event: Emit, now: datetime) -> None:
        assert now.tzinfo
        self.events.append((document["kind"], event.kind, event.reason))
        self.changed.set()

    def reason(self, name: str) -> str:
        return str(self.conditions.get(name, {}).get("reason"))


class World:
    """A prober with its gates, and sources to be probed. Its clock runs a hundred times as fast as others."""

    def __init__(self) -> None:
        self.cluster = Cluster()
        self.store = Store(lambda _: None)
        self.gates = Gates(self._gate_changed, lambda _: None)
        self.expiries: dict[Subject, datetime | None] = {}
        self.prober = Prober(cast("Any", self.cluster), self.store, self.gates, self.clock, self._expires)
        self._began = datetime.now(UTC)

    def _gate_changed(self, subject: Subject, _: object) -> None:
        self.prober.touch(subject)
        self.cluster.changed.set()

    def _expires(self, kind: str, name: str, moment: datetime | None) -> None:
        self.expiries[Subject(kind, name)] = moment

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait until what happens has made it true."""
        async with asyncio.timeout(20):
            while not true():
                self.cluster.changed.clear()
                await self.cluster.changed.wait()

    def clock(self) -> datetime:
        return self._began + (datetime.now(UTC) - self._began) * 100

    def source(self, name: str, port: int, generation: int = 1, **changes: Any) -> None:
        self._put("exportsources", name, generation, {"host": "127.0.0.1", "port": port} | changes)

    def destination(self, name: str, port: int, **changes: Any) -> None:
        self._put("exportdestinations", name, 1, {"endpoint": f"http://127.0.0.1:{port}"} | changes)

    def _put(self, plural: str, name: str, generation: int, spec: Mapping[str, Any]) -> None:
        metadata = {"name": name, "uid": name, "resourceVersion": self.cluster.next(), "generation": generation}
        known = self.store.documents[plural].get(name, {})
        self.store.put_named(plural, {"metadata": metadata, "spec": spec, "status": known.get("status") or {}})

    def limit(self, kind: str, name: str) -> int | None:
        return self.gates.limit(kind, name, self.clock())

    @asynccontextmanager
    async def probing(self) -> AsyncIterator[None]:
        self.prober.restore()
        task = asyncio.create_task(self.prober.run())
        try:
            yield
            assert not task.done(), task.exception()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr("export_operator.adapters.probe.TICK_SECONDS", 0.01)
    monkeypatch.setattr("export_operator.adapters.probe.RETRY_SECONDS", 0.01)
    return World()


@asynccontextmanager
async def server(answer: bytes, asked: asyncio.Event | None = None, port: int = 0) -> AsyncIterator[int]:
    """Answers whatever comes; with `asked` it says nothing and tells that it was asked."""
    gone = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4096)
        if asked is not None:
            asked.set()
            await gone.wait()
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", port) as served:
        yield served.sockets[0].getsockname()[1]
        gone.set()


POSTGRESQL, S3 = b"N", b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"


async def test_what_answers_is_available_without_an_event(world: World) -> None:
    async with server(POSTGRESQL) as database, server(S3) as bucket:
        world.source("db", database, credentialsSecret={"name": "keys"})
        world.destination("bucket", bucket)
        async with world.probing():
            await world.until(lambda: len(world.cluster.conditions) == 2)
    found = {name: (condition["status"], condition["reason"]) for name, condition in world.cluster.conditions.items()}
    assert (found, world.cluster.events) == ({"db": ("True", "Reachable"), "bucket": ("True", "Reachable")}, [])


async def test_an_outage_is_told_and_its_end_as_well(world: World) -> None:
    port = free_port()
    world.source("db", port)
    async with world.probing():
        await world.until(lambda: world.cluster.reason("db") == "Unreachable")
        assert world.limit(SOURCE, "db") == 0
        async with server(POSTGRESQL, port=port):
            await world.until(lambda: world.cluster.reason("db") == "Reachable")
    events = [("ExportSource", kind, reason) for kind, reason in (("Warning", "Unreachable"), ("Normal", "Recovering"))]
    assert world.cluster.events == [*events, ("ExportSource", "Normal", "Reachable")]


async def test_a_slow_server_delays_no_other(world: World) -> None:
    asked = asyncio.Event()
    async with server(b"", asked) as slow, server(POSTGRESQL) as quick:
        for number in range(20):
            world.source(f"slow-{number}", slow)
        world.source("quick", quick)
        async with world.probing():
            await asked.wait()
            await world.until(lambda: world.cluster.reason("quick") == "Reachable")
            assert list(world.cluster.conditions) == ["quick"]


async def test_one_that_is_not_to_be_probed_is_not(world: World) -> None:
    asked = asyncio.Event()
    async with server(POSTGRESQL, asked) as port:
        world.source("db", port, probe="Disabled")
        async with world.probing():
            await world.until(lambda: world.cluster.reason("db") == "NotProbed")
    assert (asked.is_set(), world.cluster.conditions["db"]["status"], world.limit(SOURCE, "db")) == (
        False,
        "Unknown",
        None,
    )


@pytest.mark.parametrize(
    ("secret", "reason"), [("absent", "SecretNotFound"), ("half", "SecretIncomplete"), ("keys", "Reachable")]
)
async def test_a_secret_that_is_missing_is_told_and_holds_nothing(world: World, secret: str, reason: str) -> None:
    world.cluster.secrets["half"] = {"username": b"u"}
    async with server(POSTGRESQL) as port:
        world.source("db", port, credentialsSecret={"name": secret})
        async with world.probing():
            await world.until(lambda: "db" in world.cluster.conditions)
    assert (world.cluster.reason("db"), world.limit(SOURCE, "db")) == (reason, None)


async def test_a_change_of_the_spec_is_looked_at_at_once(world: World) -> None:
    world.source("db", free_port())
    async with world.probing():
        await world.until(lambda: world.cluster.reason("db") == "Unreachable")
        async with server(POSTGRESQL) as port:
            world.source("db", port, generation=2)
            await world.until(lambda: world.cluster.reason("db") == "Recovering")


async def test_a_destination_with_a_fallback_holds_nothing(world: World) -> None:
    world.destination("bucket", free_port(), fallback={"bucket": {"bucket": "spare"}})
    async with world.probing():
        await world.until(lambda: world.cluster.reason("bucket") == "Unreachable")
        assert world.limit(DESTINATION, "bucket") is None
    assert "exports go to the fallback" in world.cluster.conditions["bucket"]["message"]


async def test_what_is_deleted_is_forgotten(world: World) -> None:
    world.source("db", free_port())
    async with world.probing():
        await world.until(lambda: world.limit(SOURCE, "db") == 0)
        world.store.drop_named("exportsources", "db")
        await world.until(lambda: Subject(SOURCE, "db") not in world.gates.breakers)


async def test_an_api_server_that_is_away_ends_no_probing(world: World) -> None:
    async with server(POSTGRESQL) as port:
        world.source("db", port, credentialsSecret={"name": "keys"})
        world.cluster.away = True
        async with world.probing():
            await world.until(lambda: Subject(SOURCE, "db") in world.gates.breakers)
            world.cluster.away = False
            await world.until(lambda: world.cluster.reason("db") == "Reachable")


async def test_a_restart_begins_as_the_condition_stood(world: World) -> None:
    world.source("db", free_port())
    async with world.probing():
        await world.until(lambda: world.cluster.reason("db") == "Unreachable")
    again = World()
    again.store.put_named("exportsources", world.store.documents["exportsources"]["db"])
    again.prober.restore()
    assert again.limit(SOURCE, "db") == 0


@pytest.mark.parametrize(
    ("kind", "spec", "expected"),
    [
        (SOURCE, {"host": "db.svc", "port": 5433}, "db.svc:5433"),
        (SOURCE, {"host": "db.svc"}, "db.svc:5432"),
        (DESTINATION, {"endpoint": "https://s3.svc:9000/x"}, "s3.svc:9000"),
        (DESTINATION, {"region": "eu-west-1"}, "s3.eu-west-1.amazonaws.com"),
    ],
)
def test_the_address_is_told_to_those_who_own_it(kind: str, spec: Mapping[str, Any], expected: str) -> None:
    assert address(kind, spec) == expected


def test_without_an_endpoint_it_is_awss() -> None:
    assert endpoint({}) == "https://s3.us-east-1.amazonaws.com"


async def test_until_when_a_credential_is_good_is_told_if_its_secret_says_so(world: World) -> None:
    world.cluster.annotations["export-operator.io/expires"] = "2027-01-31T00:00:00Z"
    async with server(POSTGRESQL) as port:
        world.source("db", port, credentialsSecret={"name": "keys"})
        world.source("other", port)
        async with world.probing():
            await world.until(lambda: {"db", "other"} <= set(world.cluster.conditions))
    told = {Subject(SOURCE, "db"): datetime(2027, 1, 31, tzinfo=UTC), Subject(SOURCE, "other"): None}
    assert world.expiries == told
