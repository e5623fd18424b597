"""Where the totals of ended runs are kept, on a real API server."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from export_operator.adapters.kept import Kept
from export_operator.adapters.kube import ApiError, Kube
from export_operator.adapters.totals import KEY, NAME, TotalsStore
from export_operator.domain.series import Labels
from export_operator.domain.totals import End, Totals, minute_of

pytestmark = pytest.mark.integration

LABELS = Labels("Succeeded", "Delivered", "", "default", "app-db", "bucket", "CSV")


def some(number: int) -> Totals:
    totals = Totals(minute_of(datetime(2026, 11, 24, tzinfo=UTC)))
    for each in range(number):
        totals.add(End(f"run-{each}", totals.horizon, "team-a", LABELS, {"runs": 1, "rows": 1000}))
    return totals


async def test_what_is_kept_is_read_by_whoever_comes_next(kube: Kube, namespace: str) -> None:
    place = TotalsStore(kube, namespace)
    assert await place.load() == Kept("", None)
    first = await place.save(some(1), "")
    assert await TotalsStore(kube, namespace).load() == first == Kept(first.version, some(1))
    second = await place.save(some(2), first.version)
    assert await TotalsStore(kube, namespace).load() == Kept(second.version, some(2))


async def test_of_two_writers_the_second_is_refused(kube: Kube, namespace: str) -> None:
    place = TotalsStore(kube, namespace)
    known = await place.save(some(1), "")
    await place.save(some(2), known.version)
    for version in (known.version, ""):
        with pytest.raises(ApiError) as refused:
            await place.save(some(3), version)
        assert refused.value.status == 409
    assert (await place.load()).value == some(2)


async def test_what_somebody_has_damaged_is_replaced(kube: Kube, namespace: str, configmaps: str) -> None:
    place = TotalsStore(kube, namespace)
    damaged: dict[str, Any] = {"metadata": {"name": NAME}, "data": {KEY: "{"}}
    await kube.create(configmaps, damaged)
    found = await place.load()
    assert found.value is None
    await place.save(some(1), found.version)
    assert (await place.load()).value == some(1)
