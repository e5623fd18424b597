"""Random faults for as long as one likes: CHAOS_MINUTES (5), with CHAOS_SEED again, of that CHAOS_ROUND alone."""

import itertools
import os
import secrets
import time
from collections import Counter
from random import Random

import pytest

from tests.integration.exporter.blows import draw
from tests.integration.exporter.runner import Exporter
from tests.integration.exporter.spare import Spare
from tests.integration.exporter.storm import Storm
from tests.services.proxies import Toxiproxy

pytestmark = pytest.mark.integration


def test_after_every_round_of_a_storm_all_that_must_hold_does(
    stormy: Exporter, proxies: Toxiproxy, spare: Spare, capsys: pytest.CaptureFixture[str]
) -> None:
    seed, only = os.environ.get("CHAOS_SEED") or secrets.token_hex(4), os.environ.get("CHAOS_ROUND")
    end = time.monotonic() + 60 * float(os.environ.get("CHAOS_MINUTES") or 5)
    storm, rounds, came = Storm(stormy, proxies, spare), 0, Counter[str]()
    for number in [int(only)] if only else itertools.count():
        drawn = draw(seed, number)
        with capsys.disabled():
            print(f"\nCHAOS_SEED={seed} CHAOS_ROUND={number} {drawn}", flush=True)
        told = storm.pass_over(drawn, Random(number))
        came.update(each.partition(" ")[0] for each in told)
        rounds += 1
        with capsys.disabled():
            print(*(f"    {each}" for each in told), sep="\n", flush=True)
        if time.monotonic() > end:
            break
    with capsys.disabled():
        print(f"\n{rounds} rounds of CHAOS_SEED={seed}: {dict(came.most_common())}")
