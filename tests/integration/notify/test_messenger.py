"""Mail and chat by apprise, to servers that are really spoken to."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from export_operator.adapters.notify import DeliveryError, Messenger
from export_operator.adapters.notify.child import MEMORY
from export_operator.domain.channels import Channel
from tests.services.receivers import hook, mailbox

from .values import FOUND, channel

pytestmark = pytest.mark.integration

PASSWORD = "hunter2-hunter2"
LIMIT = 45.0  # seconds for a process to start on a machine that is busy
SHORT = 8.0  # and for one that is ended


def mail_url(port: int, host: str = "127.0.0.1", user: str = "") -> str:
    return f"mailto://{user}{host}:{port}/?from=exports@example.com&to=team@example.org&mode=insecure"


async def send(url: str, to: Channel | None = None, *, seconds: float = LIMIT) -> None:
    await Messenger(seconds).send(to or channel("Apprise"), {"url": url.encode()}, FOUND)


async def problem(url: str, to: Channel | None = None, *, seconds: float = LIMIT) -> str:
    with pytest.raises(DeliveryError) as error:
        await send(url, to, seconds=seconds)
    assert PASSWORD not in str(error.value)
    return str(error.value)


async def test_a_mail_reads_well() -> None:
    async with mailbox() as box:
        await send(mail_url(box.port))
    (mail,) = box.mails
    assert box.recipients == ["team@example.org"]
    assert mail["subject"] == "Export team-a/users-2026-11 is ready"
    plain, html = mail.get_body(("plain",)), mail.get_body(("html",))
    assert plain is not None
    assert plain.get_content().split() == FOUND.text(channel("Apprise"))[1].split()
    if html is not None:
        assert "<s3://" not in html.get_content()


async def test_a_template_of_the_channel_makes_subject_and_text() -> None:
    made = channel("Apprise", title="${name} by ${requester}", body="${rows} rows\nat ${uri}")
    async with mailbox() as box:
        await send(mail_url(box.port), made)
    (mail,) = box.mails
    assert mail["subject"] == "users-2026-11 by zoë@example.com"
    plain = mail.get_body(("plain",))
    assert plain is not None
    assert plain.get_content().split() == ["1,000", "rows", "at", str(FOUND.facts["uri"])]


async def test_a_chat_reads_what_a_mail_says() -> None:
    async with hook(status="200 OK") as receiver:
        await send(f"mmost://127.0.0.1:{receiver.port}/3ccdd113474722377935511fc85d3dd4")
    ((headers, body),) = receiver.got
    title, text = FOUND.text(channel("Apprise"))
    told = json.loads(body)["text"]
    assert headers["content-type"] == "application/json"
    assert [title in told, *(line in told for line in text.splitlines())] == [True] * (1 + len(text.splitlines()))


async def test_an_smtp_server_that_never_speaks_is_left_in_time() -> None:
    released = asyncio.Event()

    async def silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await released.wait()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    assert await problem(mail_url(port), seconds=SHORT)
    released.set()
    server.close()


async def test_the_secret_stands_in_no_error() -> None:
    async with mailbox() as box:
        found = await problem(mail_url(box.port, user=f"robot:{PASSWORD}@"))
    assert box.mails == []
    assert "robot" not in found


@pytest.mark.parametrize("scheme", ["mailto", "json"])
async def test_an_address_that_is_not_public_is_not_connected_to(scheme: str) -> None:
    async with hook() as receiver:
        url = mail_url(receiver.port, "localhost") if scheme == "mailto" else f"json://localhost:{receiver.port}/x"
        found = await problem(url, channel("Apprise", networks=()))
    assert "is not a public address" in found
    assert receiver.connections == 0


async def test_a_redirect_to_the_metadata_address_is_not_followed() -> None:
    async with hook(status="307 Temporary Redirect", more="Location: http://169.254.169.254/\r\n") as receiver:
        found = await problem(f"json://127.0.0.1:{receiver.port}/x")
    assert "169.254" not in found
    assert receiver.connections == 1


async def test_an_endless_answer_ends_its_own_process_when_its_memory_is_full() -> None:
    async def endless(writer: asyncio.StreamWriter) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n"
        await receiver.flood(writer, head, bytes(65_536), 100 * MEMORY)

    async with hook(answer=endless) as receiver:
        assert await problem(f"json://127.0.0.1:{receiver.port}/x")
    assert MEMORY / 4 < receiver.sent < 3 * MEMORY


@pytest.mark.parametrize("url", ["", "nonsense", "://", "mailto://"])
async def test_a_url_that_apprise_does_not_know_is_told(url: str) -> None:
    assert (await problem(url)) in {"the Secret has no url", "the Secret's url is none that apprise knows"}


async def test_one_message_is_sent_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    running, most = 0, 0
    begin = asyncio.create_subprocess_exec

    async def counted(*arguments: Any, **options: Any) -> asyncio.subprocess.Process:
        nonlocal running, most
        running += 1
        most = max(most, running)
        process = await begin(*arguments, **options)
        wait = process.communicate

        async def communicate(task: bytes | None = None) -> tuple[bytes, bytes]:
            nonlocal running
            found = await wait(task)
            running -= 1
            return found

        monkeypatch.setattr(process, "communicate", communicate)
        return process

    monkeypatch.setattr(asyncio, "create_subprocess_exec", counted)
    messenger = Messenger(LIMIT)
    async with mailbox() as box:
        secret = {"url": mail_url(box.port).encode()}
        await asyncio.gather(*(messenger.send(channel("Apprise"), secret, FOUND) for _ in range(3)))
    assert (most, len(box.mails)) == (1, 3)
