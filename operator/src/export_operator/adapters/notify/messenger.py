"""Chat and mail: each message by a process that apprise has for itself (see `child`), ended when its time is over."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping

import certifi

from export_operator.adapters.notify import child
from export_operator.adapters.notify.delivery import DeliveryError, text_of
from export_operator.domain.channels import Channel, Event
from export_operator.domain.notifications import Notification

SECONDS = 30.0
MAX_ANSWER = 4096  # bytes
MAX_PROBLEM = 300  # characters
KEPT = ("HOME", "LANG", "LD_LIBRARY_PATH", "PATH", "PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV")
"""What the process gets of the environment: no proxies, no addresses, no settings of ours."""
TYPES: Mapping[Event, str] = {
    Event.SUCCEEDED: "success",
    Event.PARTIALLY_SUCCEEDED: "warning",
    Event.FAILED: "failure",
    Event.REJECTED: "failure",
    Event.QUOTA_NEAR: "warning",
    Event.EXPIRING: "warning",
    Event.QUEUED_LONG: "warning",
}


class Messenger:
    """Sends to `url` of a channel's Secret, which is apprise's (mailtos://…, slack://…). One at a time, whatever the
    channel: a process has memory of its own."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._place = asyncio.Semaphore(1)

    async def send(self, channel: Channel, secret: Mapping[str, bytes], found: Notification) -> None:
        """Raises `DeliveryError` unless it was taken."""
        url = text_of(secret, "url")
        if not url:
            raise DeliveryError("the Secret has no url")
        title, body = found.text(channel)
        task = {
            "url": url,
            "title": title,
            "body": body,
            "type": TYPES.get(found.event, "info"),
            "networks": channel.networks,
        }
        async with self._place:
            problem = await self._run(json.dumps(task).encode())
        if problem:
            raise DeliveryError(" ".join(problem.split())[:MAX_PROBLEM])

    async def _run(self, task: bytes) -> str:
        environment = {name: os.environ[name] for name in KEPT if name in os.environ}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            child.__name__,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=environment | {"SSL_CERT_FILE": certifi.where()},
            start_new_session=True,  # a signal of the operator's is none of its
        )
        try:
            async with asyncio.timeout(self._seconds):
                answer, _ = await process.communicate(task)
        except TimeoutError:
            return f"no end within {self._seconds:.0f} s"
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        try:
            return str(json.loads(answer[:MAX_ANSWER])["problem"])
        except (KeyError, TypeError, ValueError):
            return (
                f"the process of apprise ended with code {process.returncode}: its receiver may have answered too much"
            )
