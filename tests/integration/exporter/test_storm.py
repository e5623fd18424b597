"""Whatever strikes a run, and however often: what is delivered is whole, and in the end it is delivered."""

from itertools import product
from random import Random
from typing import get_args

import pytest

from export_contract.runspec import Layout
from tests.integration.exporter.blows import BLOWS, FORMS, Spared, draw
from tests.integration.exporter.runner import Exporter
from tests.integration.exporter.spare import Spare
from tests.integration.exporter.storm import Storm
from tests.services.proxies import Toxiproxy

pytestmark = pytest.mark.integration

SEED = "181380"
"""Short, and yet: several objects with a checkpoint, of a process that is killed; one object without, for which S3 is
away so long that the rows go to the fallback."""
ROUNDS = 2


def test_random_rounds_leave_what_they_must(stormy: Exporter, proxies: Toxiproxy, spare: Spare) -> None:
    storm = Storm(stormy, proxies, spare)
    ends = [storm.pass_over(draw(SEED, number), Random(number))[-1] for number in range(ROUNDS)]
    assert [end.partition(" ")[0] for end in ends] == ["Delivered"] * ROUNDS


def test_a_seed_draws_the_same_rounds_again_and_in_time_every_blow() -> None:
    rounds = [draw(SEED, number) for number in range(300)]
    assert rounds == [draw(SEED, number) for number in range(300)]
    assert {blow.name for each in rounds for blows in each.blows for blow in blows} == set(BLOWS)
    assert {(each.form, each.layout, each.kept) for each in rounds} == set(
        product(FORMS, get_args(Layout), (False, True))
    )
    assert {each.fallback for each in rounds} == set(get_args(Spared))
