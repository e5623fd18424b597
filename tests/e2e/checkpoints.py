"""What a run would go on from, as it stands in the bucket."""

import json

from tests.e2e.conftest import World
from tests.e2e.furniture import BUCKET
from tests.e2e.team import Team
from tests.platform.api import Json
from tests.platform.waiting import until

RESUMABLE: Json = {
    "resume": "Always",
    "runDeadlineSeconds": 300,
    "output": {"format": "CSV", "csv": {"quoting": "All"}},
}
"""A part is made of whole blocks, and a checkpoint counts it when the next one is begun. With all its quotes the
object has four parts, so two of them are counted while a quarter of it is left; without, it has three."""
PARTS = 4


def checkpoint(world: World, team: Team, name: str) -> Json:
    """Empty when there is none (any more)."""
    run = team.status(name).get("run", "")
    try:
        found: Json = json.loads(world.storage.read(f"s3://{BUCKET}/tests/.export-operator/{run}/checkpoint.json"))
    except world.storage.client.exceptions.NoSuchKey:
        return {}
    return found


def until_parts(world: World, team: Team, name: str, parts: int, seconds: float) -> None:
    """Until its checkpoint counts so many parts of the run's object."""

    def look() -> bool:
        return bool(checkpoint(world, team, name).get("mark", {}).get("parts", 0) >= parts)

    until(f"{parts} parts of {name}", look, seconds)
