"""Stand-ins for what does not run here: kubelet, Job controller and garbage collector, PostgreSQL and the S3 server.

A Job gets one pod, which is created, runs for a while, and delivers: by writes of status, as kwok does, with the
termination message that the exporter would have left. The servers answer the operator's probes and nothing else.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from export_contract import environment, names
from export_contract.report import Delivered, Outcome
from export_contract.runspec import RunSpec
from export_operator.adapters.informer import Informer
from export_operator.adapters.kube import ApiError, Kube, path_of
from export_operator.domain import times
from export_operator.domain.model import ANNOTATION_REQUESTER, LABEL_RUN, parse_job
from tests.integration.operator.connections import running
from tests.platform.names import RUN_NAMESPACE

Document = Mapping[str, Any]
RETRY_SECONDS = 0.5


@dataclass
class Truth:
    """What Jobs there ever were, from the API server's own order of events: by run and by requester."""

    created: Counter[str] = field(default_factory=Counter)
    by_user: Counter[str] = field(default_factory=Counter)
    live: set[str] = field(default_factory=set)
    most_live: int = 0
    first: float = 0.0
    last: float = 0.0

    def note(self, before: Document | None, after: Document | None, now: float) -> None:
        if after is None:
            assert before is not None
            self.live.discard(before["metadata"]["name"])
            return
        metadata = after["metadata"]
        if before is None:
            self.created[metadata["labels"][LABEL_RUN]] += 1
            self.by_user[metadata["annotations"][ANNOTATION_REQUESTER]] += 1
            self.live.add(metadata["name"])
            self.first, self.last = self.first or now, now
        if parse_job(after).terminal:
            self.live.discard(metadata["name"])
        self.most_live = max(self.most_live, len(self.live))


class Jobs:
    """Follows every Job by the API server's own events. Who runs them is another's business."""

    def __init__(self, kube: Kube) -> None:
        self._jobs = path_of("batch", "v1", "jobs", namespace=RUN_NAMESPACE)
        self.truth = Truth()
        self.informer: Informer[Document] = Informer(kube, self._jobs, dict, self._changed)

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """At work inside the block."""
        async with running(self.informer.run()):
            await self.informer.synced.wait()
            yield

    def _changed(self, before: Document | None, after: Document | None) -> None:
        self.truth.note(before, after, asyncio.get_running_loop().time())


class StandIn(Jobs):
    """Runs every Job that appears, of requests whose names begin with `prefix`. `seconds` is how long a pod runs, give
    or take a half of it."""

    def __init__(self, kube: Kube, seconds: float, prefix: str = "") -> None:
        super().__init__(kube)
        self._kube = kube
        self._seconds = seconds
        self._prefix = prefix
        self._random = random.Random(1)
        self._group = asyncio.TaskGroup()
        self._pods = path_of("", "v1", "pods", namespace=RUN_NAMESPACE)

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """At work inside the block. What goes wrong in it breaks the block."""
        async with self._group, super().working():
            yield

    def _changed(self, before: Document | None, after: Document | None) -> None:
        super()._changed(before, after)
        if not parse_job(after or before or {}).request.name.startswith(self._prefix):
            return
        if before is None and after is not None:
            self._group.create_task(self._live(after))
        elif before is not None and after is None:
            self._group.create_task(self._collect(before))

    async def _live(self, job: Document) -> None:
        name = job["metadata"]["name"]
        labels = {**job["spec"]["template"]["metadata"]["labels"], "batch.kubernetes.io/job-name": name}
        # Nobody schedules it, so nobody else touches it.
        spec = {**job["spec"]["template"]["spec"], "schedulerName": "nobody"}
        body = {"metadata": {"name": f"{name}-0", "labels": labels}, "spec": spec}
        began = datetime.now(UTC)
        await self._insist(lambda: self._kube.create(self._pods, body))
        running = {"running": {"startedAt": times.render(began)}}
        await self._write_pod(name, "Running", running)
        await asyncio.sleep(self._seconds * self._random.uniform(0.5, 1.5))
        told = outcome(job)
        ended = times.render(datetime.now(UTC))
        times_of = {"startedAt": times.render(began), "finishedAt": ended}
        end = {"terminated": {"exitCode": 0, "reason": "Completed", "message": told, **times_of}}
        await self._write_pod(name, "Succeeded", end)
        conditions = [
            {"type": kind, "status": "True", "lastTransitionTime": ended, "lastProbeTime": ended}
            for kind in ("SuccessCriteriaMet", "Complete")
        ]
        done = {"startTime": times.render(began), "completionTime": ended, "succeeded": 1, "conditions": conditions}
        await self._patch(f"{self._jobs}/{name}/status", {"status": done})

    async def _write_pod(self, job: str, phase: str, state: Document) -> None:
        container = {
            "name": "exporter",
            "image": "none",
            "imageID": "",
            "ready": phase == "Running",
            "restartCount": 0,
            "state": state,
        }
        body = {"status": {"phase": phase, "containerStatuses": [container]}}
        await self._patch(f"{self._pods}/{job}-0/status", body)

    async def _patch(self, path: str, body: Document) -> None:
        await self._insist(lambda: self._kube.patch(path, body))

    async def _insist(self, write: Callable[[], Awaitable[object]]) -> None:
        """As those whose place this takes: while the API server is not well, or does not answer, the write is tried
        again."""
        again = False
        while True:
            try:
                await write()
            except ApiError as error:
                if not error.status or error.status >= 500:
                    await asyncio.sleep(RETRY_SECONDS)
                    again = True
                    continue
                # It was deleted meanwhile, or made by an earlier try that was said to have failed.
                if not (error.not_found or (again and error.exists)):
                    raise
            return

    async def _collect(self, job: Document) -> None:
        """As the garbage collector does."""
        path = f"{self._pods}/{job['metadata']['name']}-0"

        async def collect() -> None:
            pod = await self._kube.get(path)
            await self._kube.delete(path, uid=pod["metadata"]["uid"])

        await self._insist(collect)


def outcome(job: Document) -> str:
    """The termination message of a pod that delivered where its RunSpec says."""
    variables = {each["name"]: each.get("value") for each in job["spec"]["template"]["spec"]["containers"][0]["env"]}
    spec = RunSpec.from_json(variables[environment.RUN_SPEC])
    to = spec.destination
    delivered = Delivered(
        uri=names.export_uri(to.bucket, to.key, spec.output.layout),
        manifest_uri=f"s3://{to.bucket}/{to.manifest_key}",
        rows=1000,
        bytes=65_536,
        sha256="ab" * 32,
    )
    return Outcome(run=spec.run.id, delivered=delivered, rows=1000, timings={"total": 0.5}).to_json()


@asynccontextmanager
async def answering() -> AsyncIterator[int]:
    """A loopback port that answers as PostgreSQL does when asked for TLS, and as an S3 server when asked in HTTP."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.read(8)
        if head.startswith(b"\x00\x00\x00\x08"):
            writer.write(b"N")
        elif head:
            writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield int(server.sockets[0].getsockname()[1])
