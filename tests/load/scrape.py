"""What one scrape costs: python -m tests.load.scrape [REQUESTS]. No server but the page itself: the operator's metrics
of so many requests and of as many runs that have ended, asked for over HTTP as Prometheus asks."""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp

from export_operator.adapters.health import HealthServer
from export_operator.adapters.metrics import Metrics, ResourceCollector, TotalsCollector
from export_operator.domain.totals import Totals, end_of, minute_of
from export_operator.store import Store
from tests.services.processes import free_port

REQUESTS, ROUNDS = 10_000, 50
NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
PHASES = (
    ("Succeeded", "Delivered", ""),
    ("Succeeded", "Delivered", ""),
    ("Queued", "QuotaExceeded", ""),
    ("Queued", "ClusterConcurrency", ""),
    ("Failed", "SourceUnavailable", "Source"),
    ("Rejected", "QuotaExceeded", ""),
    ("Running", "Exporting", ""),
)
NAMESPACES, SOURCES, DESTINATIONS, POLICIES = 300, 20, 3, 10
FORMATS = ("CSV", "NDJSON", "Parquet")
ACCEPT = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"


def document(number: int) -> dict[str, Any]:
    """A request, in some phase, of some tenant."""
    phase, reason, failure = PHASES[number % len(PHASES)]
    moment = (NOW - timedelta(seconds=number)).strftime("%Y-%m-%dT%H:%M:%SZ")
    status: dict[str, Any] = {
        "phase": phase,
        "reason": reason,
        "run": f"run-{number}",
        "runID": "",
        "queuedTime": moment,
        "startTime": moment,
        "completionTime": moment,
        "jobRef": {"name": "a"},
        "attempts": 1,
        "effective": {
            "policy": f"policy-{number % POLICIES}",
            "source": f"source-{number % SOURCES}",
            "destination": f"bucket-{number % DESTINATIONS}",
            "format": FORMATS[number // 100 % len(FORMATS)],
        },
        "result": {"rows": 1000, "bytes": 50_000, "timings": {"total": 2.5}} if phase == "Succeeded" else {},
        "failure": {"class": failure},
    }
    return {
        "metadata": {
            "namespace": f"team-{number % NAMESPACES}",
            "name": f"export-{number}",
            "uid": f"uid-{number}",
            "resourceVersion": str(number + 1),
            "creationTimestamp": moment,
        },
        "spec": {},
        "status": status,
    }


def metrics(requests: int) -> Metrics:
    """An operator's, that knows so many requests."""
    found, store, totals = Metrics(), Store(lambda _: None), Totals(minute_of(NOW - timedelta(days=30)))
    for number in range(requests):
        each = document(number)
        store.put_request(each)
        if end := end_of({**each, "status": each["status"] | {"phase": "Succeeded"}}, {}):
            totals.add(end)
    collector = TotalsCollector(store)
    collector.show(totals)
    found.register(collector)
    found.register(ResourceCollector(store, lambda: 20, 20, lambda: NOW))
    return found


async def measure(requests: int) -> str:
    """The figures, as a line."""
    port = free_port()
    server = HealthServer(port, metrics(requests), alive=lambda: True, ready=lambda: True)
    await server.start()
    wall, cpu, body = [], [], ""
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", headers={"Accept": ACCEPT}) as session:
            for _ in range(ROUNDS):
                began, used = time.perf_counter(), time.process_time()
                async with session.get("/metrics") as answer:
                    body = await answer.text()
                wall.append((time.perf_counter() - began) * 1000)
                cpu.append((time.process_time() - used) * 1000)
    finally:
        await server.stop()
    samples = sum(1 for line in body.splitlines() if not line.startswith("#"))
    return (
        f"{requests:,} requests: {samples:,} samples, {len(body) / 1024:.0f} KiB; {ROUNDS} scrapes: median"
        f" {statistics.median(wall):.1f} ms, longest {max(wall):.1f} ms; CPU of server and client together"
        f" {statistics.median(cpu):.1f} ms"
    )


if __name__ == "__main__":
    print(asyncio.run(measure(int(sys.argv[1]) if len(sys.argv) > 1 else REQUESTS)))
