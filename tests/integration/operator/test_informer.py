"""The cache of the run namespace against the API server's own lists and watches."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from export_operator.adapters import informer as module
from export_operator.adapters.informer import Informer
from export_operator.adapters.kube import Kube
from export_operator.domain.identity import Subject
from export_operator.domain.pages import Page
from export_operator.domain.usage import parse_usage, render_usage, usage_name

from .connections import Connect, Forgetful, Severable, synced, until

pytestmark = pytest.mark.integration

ALICE = Subject("User", "alice")
Put = Callable[[str, str], Awaitable[dict[str, Any]]]


def value_of(document: Mapping[str, Any]) -> str:
    return str(document["data"]["value"])


class Cache:
    """An informer of the test's ConfigMaps, and what it told."""

    def __init__(self, kube: Kube, path: str) -> None:
        self.told: list[tuple[str | None, str | None]] = []
        self.informer = Informer(kube, path, value_of, lambda *change: self.told.append(change), "test=yes")

    async def holds(self, **values: str) -> None:
        await until(lambda: self.informer.items == values, f"the cache holds {values}")


async def test_what_is_there_before_is_listed(kube: Kube, configmaps: str, put_configmap: Put) -> None:
    await put_configmap("a", "1")
    cache = Cache(kube, configmaps)
    async with synced(cache.informer):
        assert cache.informer.items == {"a": "1"}


async def test_changes_and_deletions_are_told_with_before_and_after(
    kube: Kube, configmaps: str, put_configmap: Put
) -> None:
    cache = Cache(kube, configmaps)
    async with synced(cache.informer):
        made = await put_configmap("a", "1")
        await kube.patch(f"{configmaps}/a", {"data": {"value": "2"}})
        await kube.delete(f"{configmaps}/a", uid=made["metadata"]["uid"])
        await until(lambda: len(cache.told) == 3, "three changes are told")
    assert cache.told == [(None, "1"), ("1", "2"), ("2", None)]


async def test_its_age_counts_from_what_the_api_server_last_said(
    kube: Kube, configmaps: str, put_configmap: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    cache = Cache(kube, configmaps)
    now[0] = 50.0
    before = cache.informer.age
    async with synced(cache.informer):
        listed = cache.informer.age
        now[0] = 70.0
        later = cache.informer.age
        await put_configmap("a", "1")
        await cache.holds(a="1")
        assert (before, listed, later, cache.informer.age) == (50.0, 0.0, 20.0, 0.0)


async def test_a_change_of_what_nobody_reads_is_not_told(kube: Kube, configmaps: str, put_configmap: Put) -> None:
    cache = Cache(kube, configmaps)
    async with synced(cache.informer):
        await put_configmap("a", "1")
        await kube.patch(f"{configmaps}/a", {"metadata": {"annotations": {"x": "y"}}})
        await put_configmap("b", "2")
        await cache.holds(a="1", b="2")
    assert cache.told == [(None, "1"), (None, "2")]


async def test_an_expired_watch_is_answered_with_a_new_list(connect: Connect, namespace: str, usages: str) -> None:
    kube = await connect(Forgetful)
    informer = Informer(kube, usages, parse_usage, lambda *_: None)
    async with synced(informer):
        page = render_usage(namespace, ALICE, Page())
        await kube.create(usages, page)
        await until(lambda: set(informer.items) == {usage_name(ALICE)}, "the cache holds the page")
    assert (kube.lists, kube.watches) == (2, 2)


async def test_deletions_and_changes_missed_while_disconnected_are_seen(
    kube: Kube, connect: Connect, configmaps: str, put_configmap: Put
) -> None:
    severable = await connect(Severable)
    gone = await put_configmap("gone", "1")
    await put_configmap("changed", "1")
    cache = Cache(severable, configmaps)
    async with synced(cache.informer):
        severable.cut()
        await kube.delete(f"{configmaps}/gone", uid=gone["metadata"]["uid"])
        await kube.patch(f"{configmaps}/changed", {"data": {"value": "2"}})
        severable.mend()
        await cache.holds(changed="2")
    assert sorted(cache.told[2:], key=str) == [("1", "2"), ("1", None)]


async def test_an_older_answer_does_not_replace_a_newer_one(kube: Kube, configmaps: str, put_configmap: Put) -> None:
    cache = Cache(kube, configmaps)
    async with synced(cache.informer):
        older = await put_configmap("a", "1")
        await kube.patch(f"{configmaps}/a", {"data": {"value": "2"}})
        await cache.holds(a="2")
        cache.informer.put(older)
        assert cache.informer.items == {"a": "2"}


async def test_a_late_answer_does_not_bring_back_what_is_deleted(
    kube: Kube, configmaps: str, put_configmap: Put
) -> None:
    cache = Cache(kube, configmaps)
    async with synced(cache.informer):
        made = await put_configmap("a", "1")
        await cache.holds(a="1")
        answer = await kube.patch(f"{configmaps}/a", {"data": {"value": "2"}})
        await kube.delete(f"{configmaps}/a", uid=made["metadata"]["uid"])
        await cache.holds()
        cache.informer.put(answer)
        assert cache.informer.items == {}


async def test_what_is_made_anew_under_an_old_name_is_seen(kube: Kube, configmaps: str, put_configmap: Put) -> None:
    cache = Cache(kube, configmaps)
    async with synced(cache.informer):
        made = await put_configmap("a", "1")
        await kube.delete(f"{configmaps}/a", uid=made["metadata"]["uid"])
        await put_configmap("a", "2")
        await cache.holds(a="2")


async def test_an_object_of_half_a_mebibyte_passes_through_the_watch(
    kube: Kube, configmaps: str, put_configmap: Put
) -> None:
    cache = Cache(kube, configmaps)
    large = "x" * (512 * 1024)
    async with synced(cache.informer):
        await put_configmap("a", large)
        await cache.holds(a=large)
