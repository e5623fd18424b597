"""What the platform team hides stays hidden: masks and row filter, from the ExportSource to the object."""

import csv
import hashlib
import hmac
import io

import pytest

from tests.e2e.conftest import World
from tests.e2e.furniture import MASK_KEY
from tests.e2e.team import Team

pytestmark = pytest.mark.e2e


def test_an_object_has_masked_values_of_the_rows_that_the_filter_lets_through(world: World, team: Team) -> None:
    team.ask("masked", "masked")
    result = team.succeeded("masked")
    found = list(csv.reader(io.StringIO(world.storage.read(result["uri"]).decode())))
    held = world.platform.services.psql("SELECT id, email, full_name FROM few WHERE id <= 3 ORDER BY id")
    expected = []
    for line in held.splitlines():
        number, email, name = line.split("|")
        digest = hmac.new(MASK_KEY.encode(), email.encode(), hashlib.sha256).hexdigest()
        expected.append([number, digest, name[:1] + "*" * (len(name) - 1), "", "somewhere"])
    assert (result["rows"], len(expected)) == (3, 3)
    assert found == [["id", "email", "full_name", "bio", "country"], *expected]
