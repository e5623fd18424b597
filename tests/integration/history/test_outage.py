"""Runs end while the table's server is stopped, killed, silent or not migrated: each has its row in the end."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Mapping, Sequence

import pytest

from export_operator.adapters import history as adapter
from export_operator.domain.history import Row
from tests.unit.operator.builders import later
from tests.unit.operator.recording import Cluster, Process

from .conftest import Place

pytestmark = pytest.mark.integration


class Counted(adapter.HistoryTable):
    """Counts how often it is asked to write."""

    asked = 0

    async def write(self, rows: Sequence[Row]) -> Mapping[str, str]:
        self.asked += 1
        return await super().write(rows)


Trouble = Callable[[Place], None]


def kill(place: Place) -> None:
    place.server.kill()


def freeze(place: Place) -> None:
    place.server.send(signal.SIGSTOP)


def drop(place: Place) -> None:
    place.server.psql("ALTER SCHEMA export_history RENAME TO elsewhere", "--dbname=audit")


def mend(place: Place) -> None:
    if not place.server.running:
        place.server.start()
    place.server.send(signal.SIGCONT)
    place.server.psql(
        "DO $$ BEGIN IF to_regnamespace('elsewhere') IS NOT NULL THEN"
        " ALTER SCHEMA elsewhere RENAME TO export_history; END IF; END $$",
        "--dbname=audit",
    )


@pytest.mark.parametrize("trouble", [kill, freeze, drop])
async def test_nothing_is_lost_through_an_outage_and_nobody_waits_for_it(
    place: Place, trouble: Trouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter, "CALL_SECONDS", 1.0)
    cluster = Cluster()
    table = Counted(place.database("export_operator"))
    process = Process(cluster, table)
    runs = []

    def end(name: str) -> None:
        runs.append(cluster.run(name))
        cluster.end(name)

    end("before")
    await process.look()
    assert place.runs() == runs
    trouble(place)
    try:
        end("stays")
        end("deleted")
        end("again")
        end("expired")
        await process.look()
        assert process.backlog[-1] == 4
        asked = table.asked
        await process.again("again", "more")
        await process.delete("expired")
        assert table.asked == asked, "who reconciles does not wait for what was found away"
        cluster.requests = {key: each for key, each in cluster.requests.items() if key.name != "deleted"}
        await process.look()
        for _ in range(2):  # the leader dies, and the next
            process = Process(cluster, place.table)
            await process.look()
    finally:
        mend(place)
    cluster.jobs.clear()
    cluster.now = later(120)
    await process.look()
    assert place.runs() == sorted(runs)
    assert process.backlog[-1] == 0


async def test_two_operators_that_write_the_same_at_once_write_it_once(place: Place) -> None:
    cluster = Cluster()
    runs = []
    for number in range(1200):
        runs.append(cluster.run(f"r{number}"))
        cluster.end(f"r{number}")
    both = [Process(cluster, place.table), Process(cluster, place.table)]
    await asyncio.gather(*(each.look() for each in both))
    assert place.runs() == sorted(runs)
    assert [each.backlog for each in both] == [[0], [0]]
