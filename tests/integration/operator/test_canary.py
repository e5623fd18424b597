"""What the canary asks of the real API server, and what it makes of the answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from export_operator.adapters.canary import Canary
from export_operator.adapters.kube import Kube
from export_operator.domain.identity import Enforcement, Mode
from tests.cluster import shell, tools

from .connections import Connect

pytestmark = pytest.mark.integration

MANIFESTS = Path(__file__).resolve().parents[3] / "manifests"
NOW = datetime(2026, 11, 24, tzinfo=UTC)


@pytest.fixture(scope="module", autouse=True)
def installed(kubeconfig: str) -> None:
    kubectl: list[str | Path] = [tools.path("kubectl"), "--kubeconfig", kubeconfig]
    for folder in ("crds", "policies"):
        shell.run([*kubectl, "apply", "--server-side", "--force-conflicts", "-k", MANIFESTS / folder])


class Counting(Kube):
    """Counts what is tried."""

    tried = 0

    async def dry_run(self, verb: str, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        self.tried += 1
        return await super().dry_run(verb, path, body)


@asynccontextmanager
async def canary(kube: Kube, namespace: str, mode: Mode) -> AsyncIterator[tuple[Canary, list[Enforcement]]]:
    told: list[Enforcement] = []
    made = Canary(
        kube,
        namespace=namespace,
        mode=mode,
        some_object=lambda: None,
        changed=told.append,
        clock=lambda: NOW,
    )
    watching = asyncio.create_task(made.watch())
    yield made, told
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


async def until_enforced(made: Canary) -> None:
    """The API server takes up new policies a moment after they were made."""
    async with asyncio.timeout(30):
        while not made.state.enforced:
            await made.look()


async def test_a_look_costs_two_tries_a_kind_and_tells_only_of_changes(connect: Connect, namespace: str) -> None:
    kube = await connect(Counting)
    async with canary(kube, namespace, "Attested") as (made, told):
        await until_enforced(made)
        told.clear()
        kube.tried = 0
        await made.look()
        assert (made.state.enforced, kube.tried, told) == (True, 6, [])


async def test_policies_of_the_other_mode_are_a_gap(kube: Kube, namespace: str) -> None:
    async with canary(kube, namespace, "Declared") as (made, told):
        await made.look()
        assert made.state.message.startswith(
            "identity.mode is Declared, but exportrequests do not need the name of who"
        )
        assert [state.enforced for state in told] == [False]


async def test_who_may_not_read_the_policies_cannot_tell_and_says_so(connect: Connect, namespace: str) -> None:
    """A look that cannot be had is no gap: it makes nothing doubtful, and admits nothing."""
    nobody = await connect(Kube, "nobody")
    async with canary(nobody, namespace, "Attested") as (made, _):
        await made.look()
        text = "the policy check-identity.export-operator.io or its binding cannot be read"
        assert made.state == Enforcement(message=text)
