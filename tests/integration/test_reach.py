"""What the operator sees of real servers without logging in, and what it says when nobody is there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from export_operator.adapters import reach
from tests.services import host
from tests.services.processes import free_port
from tests.services.tls import Authority

pytestmark = pytest.mark.integration

REFUSED = "connection refused"
CLOSED = "the connection was closed without an answer"


@pytest.fixture(scope="module", params=["plain", "TLS"])
def postgres(request: pytest.FixtureRequest) -> Iterator[host.PostgresServer]:
    with host.postgres_server(tls=request.param == "TLS") as server:
        yield server


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def secure_s3(authority: Authority) -> Iterator[host.S3Server]:
    with host.s3_server(tls=authority.issue("s3", "IP:127.0.0.1")) as server:
        yield server


@asynccontextmanager
async def answering(answer: bytes | None) -> AsyncIterator[int]:
    """A server that says `answer` to whatever comes, or nothing at all until it is gone, and its port."""
    gone = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4096)
        if answer is None:
            await gone.wait()
        else:
            writer.write(answer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1") as server:
        yield server.sockets[0].getsockname()[1]
        gone.set()


async def test_postgresql_is_found_and_writes_no_line_about_it(postgres: host.PostgresServer) -> None:
    before = postgres.log.read_text()
    assert [await reach.postgresql_fault(postgres.host, postgres.port) for _ in range(3)] == ["", "", ""]
    postgres.psql("SELECT 1")  # what the probes might have caused is written before it is answered
    assert postgres.log.read_text() == before


async def test_s3_is_found_though_it_refuses_strangers() -> None:
    with host.s3_server() as server:
        assert await reach.s3_fault(server.endpoint) == ""


async def test_s3_is_found_by_tls_of_its_own_authority(secure_s3: host.S3Server, authority: Authority) -> None:
    assert await reach.s3_fault(secure_s3.endpoint, authority.certificate.read_text()) == ""


async def test_s3_with_a_certificate_of_strangers_is_a_fault(secure_s3: host.S3Server, tmp_path: Path) -> None:
    other = Authority(tmp_path).certificate.read_text()
    found = [await reach.s3_fault(secure_s3.endpoint, trusted) for trusted in ("", other)]
    assert found == ["its certificate is not accepted"] * 2


@pytest.mark.parametrize("authority_text", ["nonsense", "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"])
async def test_an_authority_that_is_none_is_a_fault(authority_text: str) -> None:
    assert await reach.s3_fault("https://127.0.0.1:1", authority_text) != ""


async def test_where_nobody_listens_is_refused() -> None:
    port = free_port()
    found = [await reach.postgresql_fault("127.0.0.1", port), await reach.s3_fault(f"http://127.0.0.1:{port}")]
    assert found == [REFUSED, REFUSED]


async def test_a_name_that_nobody_knows_cannot_be_resolved() -> None:
    found = [await reach.postgresql_fault("nobody.invalid", 5432), await reach.s3_fault("http://nobody.invalid")]
    assert found == ["its name cannot be resolved"] * 2


async def test_a_name_that_is_none_cannot_be_resolved() -> None:
    assert await reach.postgresql_fault("a" * 64, 5432) == "its name cannot be resolved"


async def test_a_silent_server_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "SECONDS", 0.2)
    async with answering(None) as port:
        found = [await reach.postgresql_fault("127.0.0.1", port), await reach.s3_fault(f"http://127.0.0.1:{port}")]
    assert found == ["no answer within 0.2 s"] * 2


async def test_a_proxy_that_accepts_and_hangs_up_is_no_server() -> None:
    async with answering(b"") as port:
        found = [await reach.postgresql_fault("127.0.0.1", port), await reach.s3_fault(f"http://127.0.0.1:{port}")]
    assert found == [CLOSED, CLOSED]


async def test_something_else_than_postgresql_is_a_fault() -> None:
    async with answering(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        assert await reach.postgresql_fault("127.0.0.1", port) == "something else than PostgreSQL answers there"


@pytest.mark.parametrize(
    ("status", "fault"),
    [("307 Moved", ""), ("403 Forbidden", ""), ("404 Not Found", ""), ("503 Slow Down", "it answers HTTP 503")],
)
async def test_any_answer_below_500_is_one_of_s3(status: str, fault: str) -> None:
    answer = f"HTTP/1.1 {status}\r\nLocation: http://nobody.invalid/\r\nContent-Length: 0\r\n\r\n"
    async with answering(answer.encode()) as port:
        assert await reach.s3_fault(f"http://127.0.0.1:{port}") == fault


async def test_what_does_not_speak_http_is_a_fault() -> None:
    async with answering(b"SSH-2.0-nothing\r\n") as port:
        assert await reach.s3_fault(f"http://127.0.0.1:{port}") == "it does not answer as it should"


async def test_no_fault_tells_an_address() -> None:
    """Tenants read them."""
    port = free_port()
    async with answering(b"") as other:
        found = [
            await reach.postgresql_fault("127.0.0.1", port),
            await reach.s3_fault(f"https://127.0.0.1:{port}"),
            await reach.s3_fault(f"https://127.0.0.1:{other}"),
            await reach.postgresql_fault("nobody.invalid", 5432),
        ]
    assert [fault for fault in found if "127.0.0.1" in fault or "invalid" in fault or not fault] == []
