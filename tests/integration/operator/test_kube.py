"""What the API server answers, by name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from kubernetes.aio import client

from export_operator.adapters.kube import ApiError, Kube, path_of

from .connections import Connect

pytestmark = pytest.mark.integration

Put = Callable[[str, str], Awaitable[dict[str, Any]]]


async def refusal(call: Awaitable[object]) -> ApiError:
    with pytest.raises(ApiError) as refused:
        await call
    return refused.value


async def test_a_write_decided_on_an_older_version_is_a_conflict(
    kube: Kube, configmaps: str, put_configmap: Put
) -> None:
    first = await put_configmap("a", "1")
    await kube.replace(f"{configmaps}/a", first | {"data": {"value": "2"}})
    error = await refusal(kube.replace(f"{configmaps}/a", first | {"data": {"value": "3"}}))
    assert (error.conflict, error.exists) == (True, False)


async def test_a_write_decided_on_an_older_version_changes_nothing(
    kube: Kube, configmaps: str, put_configmap: Put
) -> None:
    first = await put_configmap("a", "1")
    await kube.replace(f"{configmaps}/a", first | {"data": {"value": "2"}})
    await refusal(kube.replace(f"{configmaps}/a", first | {"data": {"value": "3"}}))
    assert (await kube.get(f"{configmaps}/a"))["data"] == {"value": "2"}


async def test_a_name_that_is_taken_is_no_conflict(put_configmap: Put) -> None:
    await put_configmap("a", "1")
    error = await refusal(put_configmap("a", "2"))
    assert (error.exists, error.conflict) == (True, False)


async def test_what_is_not_there_is_not_found(kube: Kube, configmaps: str) -> None:
    assert (await refusal(kube.get(f"{configmaps}/a"))).not_found


async def test_what_is_looked_for_is_there_or_none(kube: Kube, configmaps: str, put_configmap: Put) -> None:
    assert await kube.find(f"{configmaps}/a") is None
    made = await put_configmap("a", "1")
    assert await kube.find(f"{configmaps}/a") == made


async def test_a_refusal_has_the_servers_own_words(connect: Connect, configmaps: str, namespace: str) -> None:
    nobody = await connect(Kube, "nobody")
    error = await refusal(nobody.list(configmaps))
    told = f'cannot list resource "configmaps" in API group "" in the namespace "{namespace}"'
    assert (error.status, error.reason, error.message) == (
        403,
        "Forbidden",
        f'configmaps is forbidden: User "nobody" {told}',
    )


async def test_an_api_server_that_does_not_answer_is_status_nought() -> None:
    kube = Kube(client.ApiClient(client.Configuration(host="http://127.0.0.1:1")))
    error = await refusal(kube.get("/api"))
    await kube.close()
    assert (error.status, error.reason) == (0, "Unreachable")


async def test_a_watch_from_a_forgotten_version_is_expired(kube: Kube, usages: str) -> None:
    watch = kube.watch(usages, seconds=5, resourceVersion="1")
    assert (await refusal(anext(watch))).expired


async def test_a_delete_with_another_uid_does_nothing(kube: Kube, configmaps: str, put_configmap: Put) -> None:
    made = await put_configmap("a", "1")
    await kube.delete(f"{configmaps}/a", uid="00000000-0000-0000-0000-000000000000")
    assert await kube.get(f"{configmaps}/a") == made


async def test_a_delete_with_the_uid_deletes(kube: Kube, configmaps: str, put_configmap: Put) -> None:
    made = await put_configmap("a", "1")
    await kube.delete(f"{configmaps}/a", uid=made["metadata"]["uid"])
    assert (await refusal(kube.get(f"{configmaps}/a"))).not_found


async def test_a_delete_of_what_is_gone_is_done(kube: Kube, configmaps: str) -> None:
    await kube.delete(f"{configmaps}/a", uid="00000000-0000-0000-0000-000000000000")
    assert (await refusal(kube.get(f"{configmaps}/a"))).not_found


async def test_a_list_of_several_pages_is_whole(kube: Kube, configmaps: str, put_configmap: Put) -> None:
    names = [f"item-{index}" for index in range(5)]
    for name in names:
        await put_configmap(name, "1")
    found, _ = await kube.list(configmaps, limit=2, labelSelector="test=yes")
    assert [item["metadata"]["name"] for item in found] == names


@pytest.mark.parametrize(
    ("arguments", "namespace_of", "expected"),
    [
        (("", "v1", "pods"), "", "/api/v1/pods"),
        (("batch", "v1", "jobs", "a"), "runs", "/apis/batch/v1/namespaces/runs/jobs/a"),
        (("g", "v1", "things", "a b", "status"), "", "/apis/g/v1/things/a%20b/status"),
        (("", "v1", "pods", "../secrets"), "n", "/api/v1/namespaces/n/pods/..%2Fsecrets"),
    ],
)
def test_a_path_is_put_together_safely(arguments: tuple[str, ...], namespace_of: str, expected: str) -> None:
    group, version, plural, *rest = arguments
    assert path_of(group, version, plural, *rest, namespace=namespace_of) == expected
