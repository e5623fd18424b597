"""What a process that begins to lead does, in which order, while the API server or the ledger answers late."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from kubernetes.aio import client

from export_operator import beginning
from export_operator.adapters.cells import LedgerError
from export_operator.adapters.elector import Elector
from export_operator.adapters.kube import Kube
from export_operator.adapters.metrics import Metrics
from export_operator.beginning import Beginning
from export_operator.domain.model import Key
from export_operator.parts import Parts
from export_operator.settings import read_settings
from export_operator.workqueue import WorkQueue

from .builders import NOW
from .hand import unreachable

pytestmark = pytest.mark.unit

SECONDS = 10.0  # within which a test of it has to end
OVER, WAITING, GONE = Key("team-a", "over"), Key("team-a", "waiting"), Key("team-a", "gone")


@pytest.fixture
async def parts(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Parts]:
    monkeypatch.setattr(beginning, "RETRY_SECONDS", 0)
    kube = Kube(client.ApiClient())  # nobody is called
    settings = read_settings({"EXPORT_OPERATOR_RUN_NAMESPACE": "export-runs", "EXPORT_OPERATOR_RUNNER_IMAGE": "image"})
    yield Parts(settings, kube, Metrics(), Elector(kube, "exports", "me", lambda: NOW))
    await kube.close()


def document(key: Key, phase: str) -> dict[str, Any]:
    metadata = {"namespace": key.namespace, "name": key.name, "uid": f"uid-{key.name}", "resourceVersion": "7"}
    return {"metadata": metadata, "spec": {}, "status": {"phase": phase}}


async def test_who_leads_lists_until_it_is_answered_and_looks_first_at_what_is_not_over(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[Any] = []
    everybody_seen = asyncio.Event()

    async def look(key: Key) -> None:
        done.append(key)
        if len(done) == 6:
            everybody_seen.set()

    async def once() -> None:
        done.append("list")
        if done == ["list"]:
            raise unreachable()
        for key, phase in ((OVER, "Succeeded"), (WAITING, "Queued")):
            parts.store.put_request(document(key, phase))

    async def ask_who_attests() -> None:
        done.append("policies")

    parts.queue = WorkQueue(look, 1)
    monkeypatch.setattr(parts.resync, "once", once)
    monkeypatch.setattr(parts.canary, "look", ask_who_attests)
    monkeypatch.setattr(parts.runs, "requests", lambda: [GONE, OVER])
    parts.wake(WAITING)
    assert len(parts.queue) == 0, "a standby remembers no key"
    await Beginning(parts).lead()
    works = [asyncio.create_task(work()) for work in (parts.queue.run, parts.store.backlog.run)]
    try:
        await asyncio.wait_for(everybody_seen.wait(), SECONDS)
    finally:
        for work in works:
            work.cancel()
        await asyncio.gather(*works, return_exceptions=True)
    assert done == ["list", "list", "policies", WAITING, GONE, OVER]


@pytest.mark.parametrize("error", [unreachable(), LedgerError("a page is damaged")], ids=["API server", "ledger"])
async def test_nobody_is_admitted_before_slots_agree_with_jobs_and_everybody_who_waits_was_looked_at(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    done: list[str] = []
    told: list[str] = []
    begun = Beginning(parts)

    async def take_over(*_: object) -> None:
        done.append("slots")
        if done == ["slots"]:
            raise error
        # Whoever waits for the first look is not held up by a ledger that cannot be read.
        await asyncio.wait_for(begun.looked(), SECONDS)

    async def passed() -> None:
        done.append("everybody was looked at")

    async def serve() -> None:
        done.append("serve")

    monkeypatch.setattr(beginning, "take_over", take_over)
    monkeypatch.setattr(parts.queue, "passed", passed)
    monkeypatch.setattr(parts.queueing, "close", lambda why: told.append(str(why)))
    monkeypatch.setattr(parts.queueing, "open", lambda: done.append("open"))
    monkeypatch.setattr(parts.queueing, "run", serve)
    await begun.admit()
    assert done == ["slots", "slots", "everybody was looked at", "open", "serve"]
    assert told == [str(error)]


async def test_kopf_waits_until_those_who_wait_were_looked_at_but_not_for_ever(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beginning, "FIRST_LOOK_SECONDS", 0)
    await asyncio.wait_for(Beginning(parts).looked(), SECONDS)
