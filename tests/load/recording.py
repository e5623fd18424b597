"""What the history costs: python -m tests.load.recording [RUNS]. A real PostgreSQL, and rows of runs that differ as
those of a busy cluster do; no Kubernetes."""

from __future__ import annotations

import asyncio
import hashlib
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

from export_contract import names
from export_operator.adapters.history import Database, HistoryTable
from export_operator.adapters.kept import FullError
from export_operator.adapters.kube import Kube
from export_operator.adapters.unwritten import Unwritten
from export_operator.commands.history import migrate
from export_operator.domain import times
from export_operator.domain.history import Row, row_of
from export_operator.history import BATCH
from tests.services import host

RUNS, ROUNDS = 10_000, 50
COLUMNS = ("id", "email", "created_at", "updated_at", "country", "plan", "status", "amount", "currency", "note")


def document(number: int, chance: random.Random) -> Mapping[str, Any]:
    """A request that has delivered."""
    uid, name = str(hashlib.sha256(f"{number}".encode()).hexdigest()[:32]), f"export-{number}"
    run = names.run_id(uid, "")
    moment = datetime.now(UTC) - timedelta(seconds=number)
    place = f"s3://company-exports/exports/team-{number % 300}/{name}/{run}"
    return {
        "metadata": {
            "namespace": f"team-{number % 300}",
            "name": name,
            "uid": uid,
            "resourceVersion": "1",
            "creationTimestamp": times.render(moment),
        },
        "spec": {
            "source": {"name": "app-db", "dataset": f"dataset-{number % 20}", "parameters": {"day": f"{number}"}},
            "requester": {"username": f"user-{number % 1000}@example.com"},
            "submittedBy": {"username": f"user-{number % 1000}@example.com"},
        },
        "status": {
            "phase": "Succeeded",
            "reason": "Delivered",
            "run": run,
            "runID": "",
            "queuedTime": times.render(moment),
            "startTime": times.render(moment),
            "completionTime": times.render(moment + timedelta(seconds=chance.randint(2, 60))),
            "attempts": 1,
            "effective": {
                "policy": f"policy-{number % 10}",
                "source": "app-db",
                "dataset": f"dataset-{number % 20}",
                "columns": list(COLUMNS[: chance.randint(2, 10)]),
                "destination": "bucket",
                "format": "CSV",
                "compression": "Gzip",
                "layout": "SingleObject",
                "digest": chance.randbytes(32).hex(),
            },
            "result": {
                "uri": f"{place}/{name}.csv.gz",
                "manifestURI": f"{place}/manifest.json",
                "rows": chance.randint(1, 10**7),
                "bytes": chance.randint(1, 10**9),
                "sha256": chance.randbytes(32).hex(),
                "objects": 1,
                "complete": True,
                "consistency": "Snapshot",
                "snapshotTime": times.render(moment),
                "usedFallback": False,
                "timings": {step: round(chance.random() * 9, 3) for step in ("connect", "plan", "read", "total")},
            },
        },
    }


def room(rows: list[Row]) -> int:
    """How many of them one object holds."""
    store = Unwritten(cast("Kube", None), "")
    low, high = 0, len(rows)
    while low < high:
        middle = (low + high + 1) // 2
        try:
            store._pack(store._render({row["run"]: row for row in rows[:middle]}))
            low = middle
        except FullError:
            high = middle - 1
    return low


async def measure(runs: int) -> None:
    chance = random.Random(7)
    documents = [document(number, chance) for number in range(runs)]
    began = time.perf_counter()
    rows = [row_of(each) for each in documents]
    print(f"rows made: {1e6 * (time.perf_counter() - began) / runs:.0f} us each")
    print(f"unwritten: holds {room(rows)} of {runs} rows")
    with host.postgres_server() as server, tempfile.TemporaryDirectory() as directory:
        for name, value in (("username", server.user), ("password", server.password)):
            (Path(directory) / name).write_text(value)
        database = Database(server.host, server.database, Path(directory), server.port, "Prefer")
        migrate(database, 0, "writer", "reader")
        table = HistoryTable(database)
        single = []
        for row in rows[:ROUNDS]:
            began = time.perf_counter()
            await table.write([row])
            single.append(time.perf_counter() - began)
        print(f"one row: {1000 * statistics.median(single):.1f} ms (median of {ROUNDS}, connection within)")
        for what in ("written", "there already"):
            began = time.perf_counter()
            for first in range(0, runs, BATCH):
                await table.write(rows[first : first + BATCH])
            print(f"{runs} rows {what}: {time.perf_counter() - began:.1f} s")
        size = server.psql("SELECT pg_total_relation_size('export_history.export_jobs')")
        print(f"on disk: {int(size) // runs} bytes a row, indexes within")


if __name__ == "__main__":
    asyncio.run(measure(int(sys.argv[1]) if len(sys.argv) > 1 else RUNS))
