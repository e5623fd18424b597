"""Whatever strikes a run, and however often: what is delivered is whole, and in the end it is delivered."""

from random import Random

import pytest

from tests.integration.exporter.blows import BLOWS, draw
from tests.integration.exporter.runner import Exporter
from tests.integration.exporter.storm import Storm
from tests.services.proxies import Toxiproxy

pytestmark = pytest.mark.integration

SEED = "7850"
"""Short, and yet: with a checkpoint and without, both connections broken, damage, a process killed."""


def test_random_rounds_leave_what_they_must(stormy: Exporter, proxies: Toxiproxy) -> None:
    storm = Storm(stormy, proxies)
    ends = [storm.pass_over(draw(SEED, number), Random(number))[-1] for number in range(2)]
    assert ends == ["Delivered"] * 2


def test_a_seed_draws_the_same_rounds_again_and_in_time_every_blow() -> None:
    rounds = [draw(SEED, number) for number in range(300)]
    assert rounds == [draw(SEED, number) for number in range(300)]
    assert {blow.name for each in rounds for blows in each.blows for blow in blows} == set(BLOWS)
