"""etcd is restored as it was a while ago, and the buckets are as they are: what docs/operations/backup.md promises."""

import base64
import http.client
import json
import shutil
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from tests.cluster.kubectl import Kubectl
from tests.cluster.local import components, program
from tests.cluster.local.provider import Local
from tests.e2e.conftest import World
from tests.e2e.furniture import BUCKET, SOURCE
from tests.e2e.leader import leader
from tests.e2e.team import Team, one_object
from tests.e2e.test_ledger import ledger
from tests.platform.api import Json
from tests.platform.names import DEPLOYMENT, NAMESPACE, OPERATOR
from tests.platform.waiting import until

pytestmark = pytest.mark.e2e

SECONDS = 150.0
"""For an operator that has to start, to find nobody leading, and to act."""
OTHERS = tuple(name for name in components.ALL if name not in ("containerd", "etcd"))


def slow(rows: int) -> Json:
    """So many fiftieths of a second."""
    return {"source": {"name": SOURCE, "dataset": "slow", "parameters": {"rows": str(rows)}}}


class Etcd:
    """The local cluster's, with what etcd's guide to recovery does: containers go on meanwhile."""

    def __init__(self, cluster: Local) -> None:
        self._cluster = cluster
        self._live = cluster.settings.directory / "etcd"
        self._copy = cluster.settings.directory / "etcd-copy"

    def save(self) -> None:
        """A snapshot: for a moment nobody answers."""
        self._cluster.processes.stop(["etcd"])
        shutil.rmtree(self._copy, ignore_errors=True)
        shutil.copytree(self._live, self._copy)
        self.up()

    def restore(self) -> None:
        """As `etcdutl snapshot restore --bump-revision --mark-compacted` leaves it: no revision is given twice, and who
        watches from one that is to come is told to list."""
        reached = self._call("kv/range", key=_text(b"/"))
        self._cluster.processes.stop([*OTHERS, "etcd"])
        shutil.rmtree(self._live)
        self._copy.rename(self._live)
        self._start()
        until("etcd to serve", self._serves, 30)
        while self._call("kv/put", key=_text(b"restored"), value="") <= reached:
            pass
        self._call("kv/compaction", revision=str(self._call("kv/range", key=_text(b"/"))), physical=True)
        self.up()

    def up(self) -> None:
        """All of it works."""
        if not self._live.exists():
            self._copy.rename(self._live)
        self._start()
        self._cluster.up()
        until("the cluster to work", lambda: self._cluster.running() and self._cluster.client.node_ready(), 90)

    def _start(self) -> None:
        self._cluster.processes.start("etcd", components.etcd(self._cluster.settings, program.services()))

    def _serves(self) -> bool:
        try:
            return self._call("kv/range", key=_text(b"/")) > 0
        except OSError:
            return False

    def _call(self, method: str, **given: Any) -> int:
        """By etcd's JSON gateway; the revision of its answer."""
        settings = self._cluster.settings
        connection = http.client.HTTPConnection(settings.loopback, settings.etcd_port, timeout=30)
        try:
            connection.request("POST", f"/v3/{method}", json.dumps(given))
            answer = connection.getresponse()
            told = json.loads(answer.read())
            assert answer.status == 200, told
        finally:
            connection.close()
        return int((told.get("header") or {}).get("revision") or 0)


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()


@pytest.fixture
def etcd(world: World) -> Iterator[Etcd]:
    """Whatever a test does to it, the cluster works when it ends."""
    if not isinstance(world.platform.cluster, Local):
        pytest.skip("its etcd is not at hand")
    found = Etcd(world.platform.cluster)
    yield found
    found.up()
    leader(world.platform.api)
    world.platform.kubectl.rolled_out(DEPLOYMENT)


def written(world: World, result: Json) -> datetime:
    """When the run's object was."""
    bucket, _, key = result["uri"].removeprefix("s3://").partition("/")
    return world.storage.client.head_object(Bucket=bucket, Key=key)["LastModified"]


def container(pod: Json) -> str:
    """Of the operator's pod: another one each time that it starts; "" where none runs."""
    statuses = pod["status"].get("containerStatuses") or [{"state": {}}]
    return str(statuses[0]["containerID"]) if "running" in statuses[0]["state"] else ""


def lives(team: Team, pod: str, identity: str) -> bool:
    """That container does still."""
    found = team.admin.find("Pod", pod, NAMESPACE)
    return found is not None and container(found) == identity


def export(result: Json) -> Json:
    """What was delivered; how long the pod took that tells of it is another matter."""
    return {name: result[name] for name in ("uri", "manifestURI", "rows", "bytes", "sha256", "snapshotTime")}


def test_what_was_delivered_since_a_restored_snapshot_is_told_again_counted_once_and_never_exported_twice(
    world: World, team: Team, operator: Kubectl, etcd: Etcd
) -> None:
    def counted() -> list[int]:
        return [each["used"] for each in ledger(operator, "show", "--user", team.user)[1]["usage"]]

    team.ask("paused", suspend=True)
    team.ask("ended")
    team.ask("running", **slow(400))
    team.until("paused", "Queued", reason="Suspended")
    ended = team.succeeded("ended")
    team.running_pod("running")
    etcd.save()

    first = team.succeeded("running", SECONDS)
    team.patch("paused", suspend=False)
    team.ask("asked-since")
    team.ask("begun-since", **slow(2500))
    second, lost = team.succeeded("paused"), team.succeeded("asked-since")
    since = team.status("asked-since")["run"]
    team.delete("ended")
    team.running_pod("begun-since")
    results = {"running": first, "paused": second}
    before = {name: written(world, result) for name, result in results.items()}
    assert counted() == [5]
    lived = {pod["metadata"]["name"]: container(pod) for pod in team.admin.items("Pod", NAMESPACE, OPERATOR)}
    etcd.restore()

    # Whoever lived through it remembers what is not true any more.
    until("both operators to begin anew", lambda: all(not lives(team, *each) for each in lived.items()), 60)
    for name in lived:  # else a container that has died before would be kept waiting
        team.admin.delete("Pod", name, NAMESPACE, grace=0)
    operator.rolled_out(DEPLOYMENT)
    leader(world.platform.api)
    assert export(team.succeeded("running", SECONDS)) == export(first)
    assert team.status("ended")["result"] == ended
    names = {each["metadata"]["name"] for each in team.api.items("ExportRequest", team.namespace)}
    assert names == {"ended", "running", "paused"}
    assert team.until("paused", "Queued", reason="Suspended")["run"] in second["uri"]
    team.patch("paused", suspend=False)
    assert export(team.succeeded("paused", SECONDS)) == export(second)
    for name, result in results.items():
        one_object(world.storage, result)
        assert (name, written(world, result)) == (name, before[name])
        assert len(team.jobs(name)) == 1
    one_object(world.storage, lost)

    # What nobody asked for any more: one was delivered, and is to be counted; of the other nothing can be known.
    assert counted() == [3]
    _, document = ledger(operator, "rebuild", "--yes", "--wait", "1")
    mine = [each for each in document["differences"] if each["page"] == f"User {team.user}"]
    assert [each["run"] for each in mine if each["kind"] == "RunMissing"] == [since]
    assert document["done"], document
    assert counted() == [4]
    until("the pod that nobody has asked for to go", lambda: not team.pods("begun-since"), SECONDS)
    folder = f"tests/{team.namespace}/begun-since/"
    assert [key for key in world.storage.keys(BUCKET, folder) if key.endswith("manifest.json")] == []
