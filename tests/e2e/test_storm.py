"""A tenant who cannot decide: whatever is set in whatever order, each run ends once and the last wish is done."""

import random

import pytest

from export_operator.domain.identity import Subject
from export_operator.domain.usage import usage_name
from tests.e2e.conftest import World
from tests.e2e.furniture import BUCKET, SOURCE
from tests.e2e.team import Team
from tests.platform.api import ApiError, Json
from tests.platform.names import LABEL_RUN, RUN_NAMESPACE
from tests.platform.waiting import together, until

pytestmark = pytest.mark.e2e

NAMES = [f"storm-{number}" for number in range(4)]
EDITS = 15
"""Of each request, as fast as the API server takes them."""
SLOW: Json = {"source": {"name": SOURCE, "dataset": "slow", "parameters": {"rows": "100"}}}
"""Two seconds."""
CONTRADICTION = "spec.runID cannot change while spec.cancel is true"


def edit(team: Team, name: str, chance: random.Random) -> None:
    """Suspend it, let it go on, cancel it, take that back, ask for a new run or for the first one again."""
    wish: Json = chance.choice([{"suspend": True}, {"suspend": False}, {"cancel": True}, {"cancel": False}])
    if chance.random() < 0.4:
        wish = {"cancel": False, "runID": chance.choice(["", f"run-{chance.randrange(10**6)}"])}
    try:
        team.patch(name, **wish)
    except ApiError as error:
        if CONTRADICTION not in error.message:
            raise


def test_whatever_is_set_in_any_order_the_last_wish_is_done_and_nothing_else_is_left(world: World, team: Team) -> None:
    seed = random.randrange(2**32)
    print(f"seed: {seed}")

    def storm(name: str) -> None:
        chance = random.Random(f"{seed}/{name}")
        team.ask(name, **SLOW)
        for _ in range(EDITS):
            edit(team, name, chance)
        team.patch(name, cancel=False, suspend=False)
        team.patch(name, runID="last")

    together(storm, NAMES, 3)
    for name in NAMES:
        assert team.until(name, "Succeeded", run_id="last", seconds=180)["result"]["rows"] == 100
    last = {team.status(name)["run"] for name in NAMES}

    def runs() -> set[str]:
        return {job["metadata"]["labels"][LABEL_RUN] for name in NAMES for job in team.jobs(name)}

    until("the Jobs of all other runs to go", lambda: runs() == last, 90)
    assert world.storage.uploads(BUCKET, f"tests/{team.namespace}/") == []
    page = world.platform.api.get("ExportUsage", usage_name(Subject("User", team.user)), RUN_NAMESPACE)["spec"]
    charged = [entry["run"] for entry in page["entries"]]
    assert len(charged) == len(set(charged))
    assert last <= set(charged)

    def free() -> bool:
        slots = world.platform.api.get("ExportUsage", "slots", RUN_NAMESPACE)["spec"]
        return last.isdisjoint(entry["run"] for entry in slots.get("entries") or [])

    until("their places to be free", free, 60)
