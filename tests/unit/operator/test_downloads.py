"""The controller of ExportDownloads, in a world in memory: what it does in which order, and what a crash leaves.

API server and buckets are stand-ins that keep what those keep and no more; tests/integration and tests/e2e meet the
real ones.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, cast

import pytest

from export_contract.manifest import Manifest
from export_operator.adapters.kube import ApiError
from export_operator.adapters.storage import Bucket, Held, StorageError
from export_operator.domain import times
from export_operator.domain.actions import Emit
from export_operator.domain.model import Key, Named, Stamped
from export_operator.downloads import KIND, Downloads
from export_operator.store import Store

from .builders import BUCKET_FALLBACK, DATABASE_FALLBACK, ENFORCED, KEY, NOW, UID, destination, later, spec
from .hand import Hand, Killed, Parking, unreachable
from .test_download import DELIVERED
from .test_links import OBJECT, single

pytestmark = pytest.mark.unit

MINE = Key(KEY.namespace, "mine")
SECRET = "the-secret-of-the-signature"
FORBIDDEN = (
    'secrets is forbidden: User "system:serviceaccount:export-operator:export-operator" cannot create resource'
    ' "secrets" in API group "" in the namespace "team-a"'
)


@dataclass
class Cluster:
    """The API server and the buckets: documents, Secrets that nobody can read back, objects by bucket and key."""

    now: datetime = NOW
    request: dict[str, Any] = field(default_factory=lambda: document(KEY, UID, spec(), DELIVERED))
    downloads: dict[Key, dict[str, Any]] = field(default_factory=dict)
    secrets: list[Mapping[str, Any]] = field(default_factory=list)
    events: list[Emit] = field(default_factory=list)
    reviews: list[tuple[str, str]] = field(default_factory=list)
    grants: set[str] = field(default_factory=set)
    refusal: ApiError | None = None
    objects: dict[tuple[str, str], bytes | Held] = field(default_factory=dict)
    away: set[str] = field(default_factory=set)
    until: datetime | None = None
    version: int = 10
    hand: Hand = field(default_factory=Hand)

    def next(self) -> str:
        self.version += 1
        return str(self.version)

    def download(self, uid: str = "mine-uid", **changes: Any) -> None:
        fields = {
            "requestName": KEY.name,
            "requester": {"username": "alice"},
            "submittedBy": {"username": "alice", "groups": ["analysts"]},
        }
        made = document(MINE, uid, fields | changes, {"observedGeneration": -1})
        made["metadata"]["resourceVersion"] = self.next()
        self.downloads[MINE] = made

    def deliver(self, bucket: str = "exports", prefix: str = "prod", found: Manifest | None = None) -> None:
        told = found or single()
        where = OBJECT.replace("prod/", f"{prefix}/")
        ref = replace(told.objects[0], key=where)
        text = replace(told, objects=(ref,)).to_json().encode()
        self.objects[bucket, where.rpartition("/")[0] + "/manifest.json"] = text
        self.objects[bucket, where] = Held(ref.bytes, archived=False)

    # What the operator calls.

    async def write_status(self, path: str, known: Mapping[str, Any], status: Mapping[str, Any]) -> dict[str, Any]:
        async with self.hand.call(unreachable):
            key = Key(KEY.namespace, path.rpartition("/")[2])
            present = self.downloads.get(key)
            if present is None:
                raise ApiError(404, "NotFound", path)
            if present["metadata"]["resourceVersion"] != known["metadata"]["resourceVersion"]:
                raise ApiError(409, "Conflict", path)
            metadata = {**present["metadata"], "resourceVersion": self.next()}
            self.downloads[key] = {**present, "metadata": metadata, "status": dict(status)}
            return self.downloads[key]

    async def create_secret(self, manifest: Mapping[str, Any]) -> str:
        async with self.hand.call(unreachable):
            if self.refusal is not None:
                raise self.refusal
            self.secrets.append(manifest)
            return f"{manifest['metadata']['generateName']}{len(self.secrets):05d}"

    async def delete(self, path: str, asked: Stamped) -> None:
        async with self.hand.call(unreachable):
            key = Key(KEY.namespace, path.rpartition("/")[2])
            present = self.downloads.get(key)
            if present is not None and present["metadata"]["resourceVersion"] == asked.resource_version:
                del self.downloads[key]

    async def granted(self, username: str, groups: Collection[str], requester: str, namespace: str) -> set[str]:
        async with self.hand.call(unreachable):
            assert (groups, namespace) == (frozenset(), KEY.namespace)
            self.reviews.append((username, requester))
            return self.grants

    async def tell(self, known: Mapping[str, Any], event: Emit, now: datetime) -> None:
        assert (known["metadata"]["name"], now) == (MINE.name, self.now)
        self.events.append(event)

    @asynccontextmanager
    async def opened(self, place: Mapping[str, Any]) -> AsyncIterator[Bucket]:
        if not place.get("credentialsSecret"):
            raise StorageError("no Secret")
        yield cast("Bucket", Shelf(self, place))


class Shelf:
    """A bucket as the controller sees it."""

    def __init__(self, cluster: Cluster, place: Mapping[str, Any]) -> None:
        self._cluster, self._place = cluster, place
        self.name = place["bucket"]
        self.temporary = cluster.until is not None
        self.until = cluster.until

    async def read(self, key: str, most: int) -> bytes:
        async with self._cluster.hand.call(lambda: StorageError("lost")):
            found = self._find(key)
            assert isinstance(found, bytes)
            assert len(found) <= most
            return found

    async def look(self, key: str) -> Held | None:
        async with self._cluster.hand.call(lambda: StorageError("lost")):
            found = self._cluster.objects.get((self.name, key))
            assert not isinstance(found, bytes)
            return found

    async def presign(self, keys: Sequence[str], seconds: int) -> list[str]:
        host = self._place.get("endpoint", "https://aws")
        return [f"{host}/{self.name}/{key}?X-Amz-Expires={seconds}&X-Amz-Signature={SECRET}" for key in keys]

    def _find(self, key: str) -> bytes | Held:
        if self.name in self._cluster.away:
            raise StorageError(f"bucket {self.name!r}: EndpointConnectionError")
        if (self.name, key) not in self._cluster.objects:
            raise StorageError(f"bucket {self.name!r}: S3 answers NoSuchKey", "NoSuchKey")
        return self._cluster.objects[self.name, key]


def document(key: Key, uid: str, fields: Mapping[str, Any], status: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "kind": "ExportDownload",
        "metadata": {
            "namespace": key.namespace,
            "name": key.name,
            "uid": uid,
            "resourceVersion": "7",
            "generation": 1,
            "creationTimestamp": times.render(NOW),
        },
        "spec": fields,
        "status": status,
    }


class Operator:
    """One process, which has seen everything when it starts."""

    def __init__(self, cluster: Cluster, place: Named) -> None:
        self.cluster = cluster
        self.store = Store(lambda _: None)
        named = {"metadata": {"name": place.name, "uid": "d", "resourceVersion": "1"}, "spec": place.spec}
        self.store.put_named("exportdestinations", named)
        self.controller = Downloads(
            store=self.store,
            cluster=cast("Any", cluster),
            open_bucket=cluster.opened,
            identity=lambda: ENFORCED,
            markers=(),
            clock=lambda: cluster.now,
        )
        self.see()

    def see(self) -> None:
        self.store.put_request(self.cluster.request)
        for gone in set(self.store.beside[KIND]) - set(self.cluster.downloads):
            self.store.drop_beside(KIND, gone)
        for found in self.cluster.downloads.values():
            self.store.put_beside(KIND, found)

    async def look(self) -> float | None:
        return await self.controller.look(MINE)


def operator(cluster: Cluster, **changes: Any) -> Operator:
    return Operator(cluster, destination(**changes))


@pytest.fixture
def cluster() -> Cluster:
    found = Cluster()
    found.download()
    found.deliver()
    return found


def status(cluster: Cluster) -> dict[str, Any]:
    found: dict[str, Any] = cluster.downloads[MINE]["status"]
    return found


async def told(cluster: Cluster, **changes: Any) -> tuple[str, str]:
    """Phase and reason after one look."""
    await operator(cluster, **changes).look()
    return status(cluster)["phase"], status(cluster)["reason"]


async def test_links_stand_in_a_secret_of_the_download_and_nowhere_else(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    assert await told(cluster) == ("Ready", "LinksMade")
    (secret,) = cluster.secrets
    url = f"http://s3.svc:7070/exports/{OBJECT}?X-Amz-Expires=900&X-Amz-Signature={SECRET}"
    assert secret["stringData"]["urls"] == url + "\n"
    assert secret["metadata"]["ownerReferences"][0]["uid"] == "mine-uid"
    assert status(cluster)["secretRef"] == {"name": "mine-00001"}
    assert status(cluster)["expirationTime"] == times.render(later(900))
    (event,) = cluster.events
    assert event.reason == "LinksMade"
    shown = json.dumps([cluster.downloads[MINE], event.message]) + caplog.text
    assert "X-Amz" not in shown
    assert SECRET not in shown


async def test_links_are_signed_for_the_host_that_people_reach(cluster: Cluster) -> None:
    await told(cluster, publicEndpoint="https://s3.example.com")
    assert cluster.secrets[0]["stringData"]["urls"].startswith(f"https://s3.example.com/exports/{OBJECT}?")


async def test_a_link_ends_with_its_key_and_the_next_key_is_waited_for(cluster: Cluster) -> None:
    cluster.until = later(9)
    given = operator(cluster)
    assert await given.look() == 60
    assert (status(cluster)["reason"], cluster.secrets) == ("CredentialsEnding", [])
    cluster.until = later(300)
    await given.look()
    assert status(cluster)["expirationTime"] == times.render(later(300))
    assert "they end with the key" in status(cluster)["message"]


async def test_what_went_to_the_fallback_is_found_there_while_the_destination_is_away(cluster: Cluster) -> None:
    cluster.objects.clear()
    cluster.deliver("spare", "held", single(used_fallback=True))
    cluster.away.add("exports")
    assert await told(cluster, fallback=BUCKET_FALLBACK) == ("Ready", "LinksMade")
    assert cluster.secrets[0]["stringData"]["urls"].startswith("https://spare.svc/spare/held/team-a/")


async def test_what_is_in_a_fallback_database_is_linked_when_it_has_been_moved(cluster: Cluster) -> None:
    moved = dict(cluster.objects)
    cluster.objects.clear()
    cluster.request["status"] = {**DELIVERED, "result": {"usedFallback": True}}
    given = operator(cluster, fallback=DATABASE_FALLBACK)
    assert await given.look() == 300
    assert status(cluster)["reason"] == "InFallbackDatabase"
    cluster.objects.update(moved)
    await given.look()
    assert status(cluster)["phase"] == "Ready"


@pytest.mark.parametrize("used_fallback", [True, False])
async def test_web_identity_has_no_key_but_its_fallback_bucket_has(cluster: Cluster, used_fallback: bool) -> None:
    if used_fallback:
        cluster.deliver("spare", "held", single(used_fallback=True))
    expected = ("Ready", "LinksMade") if used_fallback else ("Failed", "NoKeyToSign")
    assert await told(cluster, credentialsSecret=None, fallback=BUCKET_FALLBACK) == expected


@pytest.mark.parametrize(
    ("held", "reason"),
    [
        (None, "ObjectsNotFound"),
        (Held(7, archived=False), "ObjectsNotFound"),
        (Held(1024, archived=True), "ObjectsArchived"),
    ],
    ids=["gone", "another", "archived"],
)
async def test_no_link_is_made_to_what_cannot_be_read(cluster: Cluster, held: Held | None, reason: str) -> None:
    if held is None:
        del cluster.objects["exports", OBJECT]
    else:
        cluster.objects["exports", OBJECT] = held
    assert await told(cluster) == ("Failed", reason)
    assert cluster.secrets == []


async def test_a_forged_manifest_has_nothing_signed(cluster: Cluster) -> None:
    cluster.deliver(found=single(run=replace(single().run, requester="bob")))
    assert await told(cluster) == ("Failed", "ManifestInvalid")
    assert cluster.secrets == []


async def test_a_stranger_is_refused_before_anything_is_looked_for(cluster: Cluster) -> None:
    cluster.download(requester={"username": "mallory"}, submittedBy={"username": "mallory"})
    cluster.away.add("exports")
    assert await told(cluster) == ("Failed", "NotAllowed")
    assert (cluster.reviews, cluster.secrets) == ([("mallory", "alice")], [])


async def test_who_may_act_as_the_requester_gets_links_and_the_requester_is_not_asked_about(cluster: Cluster) -> None:
    cluster.download(requester={"username": "bob"}, submittedBy={"username": "bob"})
    cluster.grants = {"act-as"}
    assert await told(cluster) == ("Ready", "LinksMade")
    cluster.download()
    cluster.reviews.clear()
    assert await told(cluster) == ("Ready", "LinksMade")
    assert cluster.reviews == []


@pytest.mark.parametrize(
    ("message", "reason", "told_text"),
    [
        (FORBIDDEN, "SecretsForbidden", "downloads.namespaces"),
        ('secrets "x" is forbidden: exceeded quota: few', "SecretNotCreated", "exceeded quota: few"),
    ],
)
async def test_a_namespace_without_room_or_right_for_secrets_says_what_to_do_and_goes_on_when_there_is(
    cluster: Cluster, message: str, reason: str, told_text: str
) -> None:
    cluster.refusal = ApiError(403, "Forbidden", message)
    given = operator(cluster)
    assert await given.look() == 60
    assert (status(cluster)["phase"], status(cluster)["reason"]) == ("Pending", reason)
    assert told_text in status(cluster)["message"]
    cluster.refusal = None
    await given.look()
    assert status(cluster)["phase"] == "Ready"


async def test_a_request_that_changes_wakes_who_waits_for_it_and_a_standby_remembers_nothing(cluster: Cluster) -> None:
    cluster.request["status"] = {**DELIVERED, "phase": "Running"}
    given = operator(cluster)
    assert len(given.controller._queue) == 0
    work = asyncio.create_task(given.controller.run())
    try:
        await until(lambda: status(cluster).get("reason") == "RunNotFinished")
        metadata = cluster.request["metadata"] | {"resourceVersion": "8"}
        cluster.request = {**cluster.request, "metadata": metadata, "status": DELIVERED}
        given.store.put_request(cluster.request)
        await until(lambda: status(cluster)["phase"] == "Ready")
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)


async def until(true: Callable[[], bool]) -> None:
    """Wait until it is true, at most ten seconds."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + 10
    while not true():
        assert loop.time() < deadline
        await asyncio.sleep(0.01)


async def test_it_goes_when_its_links_end(cluster: Cluster) -> None:
    given = operator(cluster)
    await given.look()
    assert await given.look() == 900
    cluster.now = later(900)
    await given.look()
    assert cluster.downloads == {}
    given.see()
    assert await given.look() is None


async def test_a_status_that_says_so_already_is_not_written_again(cluster: Cluster) -> None:
    cluster.away.add("exports")
    given = operator(cluster)
    await given.look()
    version = cluster.downloads[MINE]["metadata"]["resourceVersion"]
    await given.look()
    assert cluster.downloads[MINE]["metadata"]["resourceVersion"] == version


async def settle(cluster: Cluster) -> None:
    """Look until there is an answer. An operator that is killed is started anew."""
    given = operator(cluster)
    for _ in range(5):
        given.see()
        try:
            await given.look()
        except Killed:
            given = operator(cluster)
            continue
        except ApiError:
            continue
        if status(cluster).get("phase") == "Ready":
            return
    raise AssertionError("there is no answer")


BOBS: dict[str, Any] = {"requester": {"username": "bob"}, "submittedBy": {"username": "bob"}}
CALLS = 5  # review, manifest, object, Secret, status


def asked_by_bob(hand: Hand) -> Cluster:
    """Who may act as the requester."""
    made = Cluster(hand=hand)
    made.download(**BOBS)
    made.grants = {"act-as"}
    made.deliver()
    return made


@pytest.mark.parametrize("trouble", ["killed", "refused", "lost"])
async def test_whatever_call_it_is_stopped_at_the_end_is_the_same(trouble: Any) -> None:
    undisturbed = asked_by_bob(Hand())
    await settle(undisturbed)
    assert undisturbed.hand.calls == CALLS
    for when in range(CALLS):
        disturbed = asked_by_bob(Hand(trouble, when))
        await settle(disturbed)
        same = ("phase", "reason", "run", "objects", "expirationTime")
        assert {name: status(disturbed)[name] for name in same} == {name: status(undisturbed)[name] for name in same}
        # A Secret of which nobody was told goes with the download, as the other does.
        owners = [each["metadata"]["ownerReferences"][0]["uid"] for each in disturbed.secrets]
        assert owners in (["mine-uid"], ["mine-uid"] * 2)
        assert status(disturbed)["secretRef"] == {"name": f"mine-{len(owners):05d}"}


@pytest.mark.parametrize("anew", [False, True], ids=["as it was", "made anew meanwhile"])
@pytest.mark.parametrize("when", range(CALLS))
async def test_the_last_call_of_a_dead_operator_changes_nothing_however_late_it_arrives(when: int, anew: bool) -> None:
    parking = Parking()
    cluster = asked_by_bob(Hand("late", when, parking=parking))
    with pytest.raises(Killed):
        await parking.drive(operator(cluster).look())
    if anew:
        cluster.download("another-uid", **BOBS)
    await settle(cluster)
    before, made = dict(cluster.downloads), len(cluster.secrets)
    await parking.land()
    assert (cluster.downloads, status(cluster)["secretRef"]) == (before, {"name": f"mine-{made:05d}"})
    # A Secret that comes late goes with the download that it was made for.
    assert {each["metadata"]["ownerReferences"][0]["uid"] for each in cluster.secrets[made:]} <= {"mine-uid"}
    assert len(cluster.secrets) == made + (when == 3)


async def test_a_late_deletion_takes_no_download_that_was_made_anew(cluster: Cluster) -> None:
    await settle(cluster)
    cluster.now = later(900)
    parking = cluster.hand.parking = Parking()
    cluster.hand.trouble, cluster.hand.when = "late", cluster.hand.calls
    with pytest.raises(Killed):
        await parking.drive(operator(cluster).look())
    cluster.download("another-uid")
    await parking.land()
    assert cluster.downloads[MINE]["metadata"]["uid"] == "another-uid"
