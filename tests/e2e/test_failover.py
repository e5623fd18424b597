"""Two pods of the operator: one leads, and what takes it away, or makes a new one of it, changes no outcome."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.cluster import apt, shell
from tests.cluster.local.provider import Local
from tests.e2e.conftest import World
from tests.e2e.leader import holder, leader
from tests.e2e.team import Team, one_object
from tests.platform.api import Json
from tests.platform.names import NAMESPACE
from tests.platform.waiting import until

pytestmark = pytest.mark.e2e

SECONDS = 120.0
SLOW: Json = {"source": {"name": "e2e-db", "dataset": "slow", "parameters": {"rows": "500"}}}
PARTITION = "export-operator-e2e-partition"


def delivered_once(world: World, team: Team, name: str) -> None:
    result = team.succeeded(name, SECONDS)
    assert team.status(name)["attempts"] == 1
    assert len(team.jobs(name)) == 1
    assert len(team.pods(name)) == 1
    one_object(world.storage, result)


def test_a_leader_that_is_asked_to_go_hands_over_and_the_next_one_goes_on(world: World, team: Team) -> None:
    api = world.platform.api
    first = leader(api)["metadata"]["name"]
    before = api.get("Lease", "export-operator", NAMESPACE)["spec"]["leaseTransitions"]
    team.ask("under-way", **SLOW)
    team.running_pod("under-way")
    began = time.monotonic()
    api.delete("Pod", first, NAMESPACE)
    until("another leader", lambda: holder(api) not in ("", first), SECONDS, pause=0.02)
    handed = time.monotonic() - began
    team.ask("asked-after")
    until("a Job of what was asked after", lambda: team.jobs("asked-after"), SECONDS, pause=0.02)
    print(f"another pod led {handed:.2f} s after the first was deleted, and had started a run after")
    print(f"{time.monotonic() - began:.2f} s")
    for name in ("under-way", "asked-after"):
        delivered_once(world, team, name)
    assert api.get("Lease", "export-operator", NAMESPACE)["spec"]["leaseTransitions"] == before + 1


@contextmanager
def cut_off(pod: Json) -> Iterator[None]:
    """Not a packet of the pod arrives at the API server while the block runs."""
    rule = f"ip saddr {pod['status']['podIP']} tcp dport 6443 drop"
    hooks = [f"chain {hook} {{ type filter hook {hook} priority 0; {rule}; }}" for hook in ("input", "forward")]
    shell.run(["nft", "-f", "-"], stdin="\n".join([f"table ip {PARTITION} {{", *hooks, "}\n"]))
    try:
        yield
    finally:
        shell.run(["nft", "delete", "table", "ip", PARTITION])


def test_a_leader_that_is_cut_off_from_the_api_server_is_followed_by_another(world: World, team: Team) -> None:
    if not isinstance(world.platform.cluster, Local) or not apt.find("nft"):
        pytest.skip("the node's packet filter is not at hand")
    api = world.platform.api
    first = leader(api)
    team.ask("under-way", **SLOW)
    team.running_pod("under-way")
    with cut_off(first):
        leader(api, other_than=first["metadata"]["name"])
        team.ask("asked-meanwhile")
        team.succeeded("asked-meanwhile")
    for name in ("under-way", "asked-meanwhile"):
        delivered_once(world, team, name)
