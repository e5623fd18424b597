"""Twenty kills in one export: `pytest tests/integration/exporter/test_kills.py -s` prints what each cost."""

import dataclasses
from itertools import accumulate

import pytest

from export_runner.sinks.parts import SENDERS
from tests.integration.exporter.kills import ROWS, TABLE, Killer, table
from tests.integration.exporter.resuming import LIMITS, checkpoint, spec_of
from tests.integration.exporter.runner import Exporter

pytestmark = pytest.mark.integration

SEED = 20
KILLS = 20
MOST_AGAIN = 1
"""Parts that were stored and do not count."""
MOST_READ = MOST_AGAIN + 2 * SENDERS + 3
"""In parts: the one that was stored, those that senders hold or that wait for them, the one being filled, and the
blocks and chunks behind it. What is still in the sockets was not read and does not count."""


def test_an_export_that_is_killed_twenty_times_has_the_bytes_of_an_undisturbed_one(exporter: Exporter) -> None:
    exporter.postgres.psql(TABLE)
    made = spec_of(exporter, ("CSV", "None"), "long_table")
    spec = dataclasses.replace(made, source=dataclasses.replace(made.source, columns=("id", "filler")))
    plain = dataclasses.replace(spec_of(exporter, ("CSV", "None"), "long_table"), source=spec.source)
    undisturbed = exporter.run(plain)
    assert undisturbed.code == 0, undisturbed.said
    killer = Killer(exporter, spec, SEED)
    try:
        kills = [killer.kill() for _ in range(KILLS)]
    finally:
        killer.close()
    done = exporter.run(spec)
    assert done.code == 0, done.said
    per_part = ROWS * LIMITS.part_bytes / undisturbed.outcome.delivered.bytes  # type: ignore[union-attr]
    seconds = undisturbed.outcome.timings
    print(f"\nseed {SEED}; {ROWS:,} rows, {per_part:,.0f} a part; undisturbed {seconds['total']:.2f} s\n")
    print(table(kills, per_part))
    assert exporter.read(spec.destination.key) == exporter.read(plain.destination.key)
    manifest = exporter.manifest(spec)
    assert manifest.objects[0].sha256 == exporter.manifest(plain).objects[0].sha256
    assert sum(segment.rows for segment in manifest.segments) == ROWS
    assert {kill.rows for kill in kills} <= {0, *accumulate(segment.rows for segment in manifest.segments)}
    assert checkpoint(exporter, spec) == b""
    assert not exporter.uploads(spec)
    assert max(kill.parts_again for kill in kills) <= MOST_AGAIN
    assert max(kill.rows_again - kill.rows_on_the_way for kill in kills) <= MOST_READ * per_part
    exporter.postgres.psql("DROP TABLE long_table")
