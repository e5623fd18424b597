"""Where rows of the history wait that nothing else tells of, on a real API server."""

from __future__ import annotations

import random
from typing import Any

import pytest

from export_operator.adapters.kept import FullError, Kept
from export_operator.adapters.kube import ApiError, Kube
from export_operator.adapters.unwritten import KEY, NAME, Unwritten

pytestmark = pytest.mark.integration

ROWS = {run: {"run": run, "requester": "zoë", "columns": ["a", "b"], "rows": 7} for run in ("1" * 20, "2" * 20)}


async def test_what_is_kept_is_read_by_whoever_comes_next(kube: Kube, namespace: str) -> None:
    place = Unwritten(kube, namespace)
    assert await place.load() == Kept("", None)
    first = await place.save(ROWS, "")
    assert await Unwritten(kube, namespace).load() == first == Kept(first.version, ROWS)
    second = await place.save({}, first.version)
    assert await Unwritten(kube, namespace).load() == second == Kept(second.version, {})


async def test_of_two_writers_the_second_is_refused(kube: Kube, namespace: str) -> None:
    place = Unwritten(kube, namespace)
    known = await place.save(ROWS, "")
    await place.save({}, known.version)
    for version in (known.version, ""):
        with pytest.raises(ApiError) as refused:
            await place.save(ROWS, version)
        assert refused.value.status == 409


async def test_what_somebody_has_damaged_is_replaced(kube: Kube, namespace: str, configmaps: str) -> None:
    damaged: dict[str, Any] = {"metadata": {"name": NAME}, "binaryData": {KEY: "bm9uc2Vuc2U="}}
    await kube.create(configmaps, damaged)
    place = Unwritten(kube, namespace)
    found = await place.load()
    assert found.value is None
    await place.save(ROWS, found.version)
    assert (await place.load()).value == ROWS


async def test_as_much_as_it_says_it_holds_the_api_server_takes(kube: Kube, namespace: str) -> None:
    chance = random.Random(7)
    rows = {
        f"{number:020x}": {"run": f"{number:020x}", "sha256": chance.randbytes(400).hex()} for number in range(2600)
    }
    with pytest.raises(FullError):
        await Unwritten(kube, namespace).save(rows, "")
    fewer = dict(list(rows.items())[:1600])
    assert (await Unwritten(kube, namespace).save(fewer, "")).value == fewer
