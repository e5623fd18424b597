"""etcd is restored as it was some time ago, and the buckets are as they are: a run is delivered and counted once."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from .builders import KEY
from .hand import Hand
from .world import Operator, World, settle

pytestmark = pytest.mark.unit

MOMENTS = ("asked", "admitted", "running", "delivered and not told of", "told")
IN_ETCD = ("requests", "usages", "jobs", "pods")


def play(restored_at: str) -> tuple[World, dict[str, Any]]:
    """A run from its request to its end, then what was in etcd at that moment comes back. With the status at the first
    end."""
    world, hand = World(), Hand()
    snapshots: dict[str, dict[str, Any]] = {}

    def keep(moment: str) -> None:
        snapshots[moment] = deepcopy({name: getattr(world, name) for name in IN_ETCD})

    operator = Operator(world, hand)
    world.apply(KEY)
    keep("asked")
    operator = settle(world, operator, hand)
    keep("admitted")
    (name,) = world.jobs
    world.start(name)
    operator = settle(world, operator, hand)
    keep("running")
    world.deliver(name)
    keep("delivered and not told of")
    settle(world, operator, hand)
    keep("told")
    first = dict(world.status(KEY))
    for part, value in snapshots[restored_at].items():
        setattr(world, part, value)
    world.ends.clear()  # they were later
    operator = settle(world, Operator(world, hand), hand)
    world.start(name)
    world.deliver(name)  # its pod finds the manifest, and tells of that
    settle(world, operator, hand)
    return world, first


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_run_that_was_delivered_since_is_told_of_again_and_counted_once(moment: str) -> None:
    world, first = play(moment)
    status = world.status(KEY)
    assert {name: status[name] for name in ("phase", "run", "result")} == {
        name: first[name] for name in ("phase", "run", "result")
    }
    assert (list(world.delivered), world.slots) == ([status["run"]], ())
    assert [[entry.run for entry in entries] for entries in world.windows.values() if entries] == [[status["run"]]]
