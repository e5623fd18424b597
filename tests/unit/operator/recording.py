"""What outlives every operator, as far as the history goes, unwritten rows among it; and operators in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Protocol, cast

from export_contract import names
from export_contract.report import Outcome
from export_operator.adapters.history import HistoryTable
from export_operator.adapters.unwritten import NAME, Unwritten
from export_operator.domain import times
from export_operator.domain.history import Row
from export_operator.domain.jobs import build_job
from export_operator.domain.model import Job, Key, parse_job, parse_request
from export_operator.history import History
from export_operator.store import REQUESTS, Store

from .builders import NOW, SETTINGS, delivered, plan, spec
from .configmaps import ConfigMaps
from .hand import Hand, unreachable

Document = dict[str, Any]


@dataclass
class Cluster:
    """With resourceVersions that are compared."""

    now: datetime = NOW
    version: int = 100
    births: int = 0
    requests: dict[Key, Document] = field(default_factory=dict)
    jobs: dict[str, Document] = field(default_factory=dict)
    pods: dict[str, list[Document]] = field(default_factory=dict)
    kept: Document | None = None

    def next(self) -> str:
        self.version += 1
        return str(self.version)

    def run(self, name: str, run_id: str = "") -> str:
        """A run begins, of a request that is new or wants another run; its Job is there."""
        key = Key("team-a", name)
        known = self.requests.get(key)
        if known is None:
            self.births += 1
            metadata = {
                "namespace": key.namespace,
                "name": name,
                "uid": f"uid-{self.births}",
                "creationTimestamp": times.render(self.now),
            }
            known = {"metadata": metadata}
        run = names.run_id(known["metadata"]["uid"], run_id)
        self.requests[key] = {
            "metadata": known["metadata"] | {"resourceVersion": self.next()},
            "spec": spec(runID=run_id or None),
            "status": {"phase": "Running", "run": run, "runID": run_id, "effective": {"columns": ["id"]}},
        }
        request = parse_request(self.requests[key])
        job = build_job(request, plan(request), SETTINGS.pods)
        self.jobs[run] = {
            **job,
            "metadata": job["metadata"] | {"uid": run, "creationTimestamp": times.render(self.now)},
        }
        self.pods[run] = []
        return run

    def end_job(self, run: str) -> None:
        """Its pod delivers."""
        where = plan(request_of(self.jobs[run])).run_spec.destination
        uri, manifest = f"s3://{where.bucket}/{where.key}", f"s3://{where.bucket}/{where.manifest_key}"
        told = Outcome(run=run, delivered=delivered(uri=uri, manifest_uri=manifest), rows=100)
        condition = {"type": "Complete", "status": "True", "lastTransitionTime": times.render(self.now)}
        self.jobs[run] = self.jobs[run] | {"status": {"conditions": [condition]}}
        ended = {"exitCode": 0, "message": told.to_json(), "finishedAt": times.render(self.now)}
        self.pods[run] = [
            {
                "metadata": {"name": f"pod-{run}", "uid": f"pod-{run}", "labels": {"export-operator.io/run": run}},
                "status": {"phase": "Succeeded", "containerStatuses": [{"state": {"terminated": ended}}]},
            }
        ]

    def end(self, name: str, phase: str = "Succeeded", **status: Any) -> str:
        """The request says how its run ended."""
        key = Key("team-a", name)
        told = self.requests[key]["status"] | {"phase": phase, "completionTime": times.render(self.now), **status}
        metadata = self.requests[key]["metadata"] | {"resourceVersion": self.next()}
        self.requests[key] = {**self.requests[key], "metadata": metadata, "status": told}
        return str(told["run"])

    def orphans(self) -> list[str]:
        """Runs of Jobs that are no request's any more."""
        return sorted(set(self.jobs) - {str(each["status"]["run"]) for each in self.requests.values()})


def request_of(job: Document) -> Any:
    """The request that a Job was built of, as far as its places go."""
    from export_operator.domain.evidence import run_spec

    told = run_spec(job)
    assert told is not None
    body = {
        "metadata": {
            "namespace": told.run.namespace,
            "name": told.run.name,
            "uid": told.run.uid,
            "resourceVersion": "1",
        },
        "spec": spec(runID=told.run.run_id or None),
    }
    return parse_request(body)


class Table(Protocol):
    async def write(self, rows: Sequence[Row]) -> Mapping[str, str]: ...

    async def forget(self) -> int: ...

    async def unguarded(self) -> bool: ...


class Api(ConfigMaps):
    """The API server as far as the history asks it: of unwritten rows, and of Jobs."""

    def __init__(self, cluster: Cluster, hand: Hand) -> None:
        super().__init__(cluster, hand, NAME)
        self._cluster = cluster

    async def job(self, name: str) -> Document | None:
        async with self._hand.call(unreachable):
            return next((each for each in self._cluster.jobs.values() if each["metadata"]["name"] == name), None)

    async def pods_of(self, run: str) -> list[Document]:
        async with self._hand.call(unreachable):
            return self._cluster.pods[run]


class Process:
    """One operator, wired as `app` does it; what its reconciler does with requests and Jobs is told it one by one."""

    def __init__(self, cluster: Cluster, table: Table, hand: Hand | None = None, *, leading: bool = True) -> None:
        self._cluster = cluster
        self.backlog: list[int] = []
        place = cast("Any", Api(cluster, hand or Hand()))
        self.history = History(
            cast("HistoryTable", table),
            Unwritten(place, "export-runs"),
            place,
            lambda: cluster.now,
            self.backlog.append,
        )
        self._store = Store(lambda _: None, lambda _, after: self.history.recorded(after))
        self._store.listen(REQUESTS, self._told)
        if leading:
            self.lead()
        self.see()

    def lead(self) -> None:
        """It wins the Lease."""
        self.history._leading = True

    def _told(self, key: Key) -> None:
        if key not in self._store.requests:
            self.history.gone(key)

    def see(self) -> None:
        """All watches have delivered everything."""
        for key in set(self._store.requests) - set(self._cluster.requests):
            self._store.drop_request(key)
        for document in self._cluster.requests.values():
            self._store.put_request(document)

    async def look(self) -> None:
        self.see()
        await self.history.look()

    async def part(self, done: Callable[[str], None] = lambda _: None) -> None:
        """Let go of the Jobs that are no request's, as the reconciler does."""
        self.see()
        for run in self._cluster.orphans():
            await self.history.part_with(replace(parse_job(self._cluster.jobs[run]), run=run))
            del self._cluster.jobs[run], self._cluster.pods[run]
            done(run)

    async def again(self, name: str, run_id: str) -> str:
        """The request wants another run: its status is taken over."""
        self.see()
        await self.history.secure(str(self._cluster.requests[Key("team-a", name)]["status"]["run"]))
        return self._cluster.run(name, run_id)

    async def delete(self, name: str) -> None:
        """Its time to live, and for how long it was held, are over."""
        self.see()
        await self.history.secure(str(self._cluster.requests[Key("team-a", name)]["status"]["run"]))
        del self._cluster.requests[Key("team-a", name)]


@dataclass
class Notebook:
    """A history that writes nothing, as in an outage: who asks it what, and whether it could keep that."""

    asked: list[tuple[str, str]] = field(default_factory=list)
    refuses: str = ""

    def unwritten(self, _: str) -> bool:
        return True

    async def secure(self, run: str) -> None:
        self._note("secure", run)

    async def part_with(self, job: Job) -> None:
        self._note("part with", job.run)

    def _note(self, what: str, run: str) -> None:
        self.asked.append((what, run))
        if self.refuses == what:
            raise unreachable()
