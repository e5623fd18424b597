"""The kubelet and the API server go and come back while exports run."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.cluster.local import components, program
from tests.cluster.local.provider import Local
from tests.e2e.conftest import World
from tests.e2e.furniture import BUCKET, SOURCE
from tests.e2e.leader import leader, term
from tests.e2e.team import Team, one_object
from tests.platform.api import ApiError, Json
from tests.platform.waiting import until

pytestmark = pytest.mark.e2e

SECONDS = 120.0
SLOW: Json = {"source": {"name": SOURCE, "dataset": "slow", "parameters": {"rows": "300"}}}
"""Six seconds."""


class Components:
    """Those of the cluster that are processes of this machine."""

    def __init__(self, cluster: Local) -> None:
        self._cluster = cluster

    def kill(self, name: str) -> None:
        self._cluster.processes.stop([name], grace=0)

    def start(self, name: str) -> None:
        command = {"kubelet": components.kubelet, "kube-apiserver": components.apiserver}[name]
        self._cluster.processes.start(name, command(self._cluster.settings, program.path()))
        client = self._cluster.client
        until(f"{name} to work", lambda: client.ready() and client.node_ready(), 90)


@pytest.fixture
def machine(world: World) -> Iterator[Components]:
    """Whatever a test has killed runs again when it ends."""
    if not isinstance(world.platform.cluster, Local):
        pytest.skip("the node is not this machine")
    found = Components(world.platform.cluster)
    yield found
    for name in ("kube-apiserver", "kubelet"):
        found.start(name)


def delivered_once(world: World, team: Team, name: str) -> None:
    result = team.succeeded(name, SECONDS)
    assert team.status(name)["attempts"] == 1
    assert (len(team.jobs(name)), len(team.pods(name))) == (1, 1)
    one_object(world.storage, result)


def finished(world: World, team: Team, name: str) -> None:
    """Until it has delivered, whether or not anybody has told."""
    folder = f"tests/{team.namespace}/{name}/"
    until(f"{name} to deliver", lambda: [key for key in world.storage.keys(BUCKET, folder) if "manifest" in key], 60)


def test_a_run_that_ends_while_no_kubelet_looks_is_told_by_the_next_one_and_what_was_asked_meanwhile_runs(
    world: World, team: Team, machine: Components
) -> None:
    team.ask("under-way", **SLOW)
    team.running_pod("under-way")
    machine.kill("kubelet")
    team.ask("asked-meanwhile")
    until("its pod", lambda: team.pods("asked-meanwhile"), 60)
    finished(world, team, "under-way")
    assert team.status("under-way")["phase"] == "Running"
    machine.start("kubelet")
    for name in ("under-way", "asked-meanwhile"):
        delivered_once(world, team, name)


def taken(team: Team, name: str) -> bool:
    """Whether a request was: an API server is ready a little before its roles and CRDs are known to all of it."""
    try:
        team.ask(name)
    except ApiError as error:
        if error.status not in {403, 503}:
            raise
        return False
    return True


def lives(pod: Json) -> bool:
    """Whether a process of the pod's container is there: the node is this machine."""
    identity = pod["status"]["containerStatuses"][0]["containerID"].rpartition("/")[2]
    for group in Path("/proc").glob("[0-9]*/cgroup"):
        with suppress(OSError):
            if identity in group.read_text():
                return True
    return False


def test_an_api_server_that_is_away_for_longer_than_the_lease_is_waited_for_while_exports_go_on(
    world: World, team: Team, machine: Components
) -> None:
    api = world.platform.api
    led, pod = term(api), leader(api)
    for name in ("under-way", "begun-late"):
        team.ask(name, **SLOW)
    team.running_pod("under-way")
    machine.kill("kube-apiserver")
    finished(world, team, "under-way")
    until("the leader to end, for its Lease is over", lambda: not lives(pod), SECONDS)
    machine.start("kube-apiserver")
    leader(api)
    assert term(api) != led
    until("the API server to know what it checks requests by", lambda: taken(team, "asked-after"), 60)
    for name in ("under-way", "begun-late", "asked-after"):
        delivered_once(world, team, name)
