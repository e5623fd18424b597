"""Clean-up behind ended runs, on a real S3 server and with Jobs and Secrets of a real API server."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import pytest

from export_contract import names
from export_operator import cleaner
from export_operator.adapters import storage
from export_operator.adapters.cluster import Cluster
from export_operator.adapters.kube import Kube
from export_operator.cleaner import Cleaner
from export_operator.domain.actions import Undo
from export_operator.domain.model import Job, parse_job
from tests.services import host
from tests.unit.operator.builders import SETTINGS

from .connections import running, until
from .remains import PREFIX, Remains, ended, folder, place

pytestmark = pytest.mark.integration


def make(kube: Kube, cluster: Cluster, server: host.S3Server) -> Cleaner:
    opened = functools.partial(storage.opened, kube, cluster.run_namespace)
    return Cleaner(cluster, opened, {"bucket": place(server)}.get, SETTINGS.pods)


def undo(job: Job, *, objects: bool = False) -> Undo:
    return Undo(job.run, job.destination, objects, job)


async def test_what_a_failed_run_left_is_removed_and_then_its_job(
    kube: Kube, cluster: Cluster, s3: host.S3Server, remains: Remains
) -> None:
    job, other = await ended(cluster, s3), await ended(cluster, s3, "others")
    documents = f"{PREFIX}/.export-operator/{job.run}/"
    remains.begin(f"{folder(job)}users.csv")
    remains.begin(f"{folder(other)}others.csv")
    remains.begin(f"{documents}probe-{'ab' * 8}")
    remains.put(f"{documents}checkpoint.json", f"{documents}objects-{'ab' * 8}-0.json")
    remains.put(f"{folder(job)}users-00001.csv", f"{folder(job)}notes.txt", f"{folder(other)}others.csv")
    work = make(kube, cluster, s3)
    work.undo(undo(job))
    async with running(work.run()):
        await until(lambda: not work.waits(job.run), "the clean-up")
    assert (remains.keys, remains.uploads) == (
        sorted([f"{folder(job)}notes.txt", f"{folder(other)}others.csv"]),
        [f"{folder(other)}others.csv"],
    )
    assert (await cluster.job(job.name), (await cluster.job(other.name) or {})["metadata"]["uid"]) == (None, other.uid)


@pytest.mark.parametrize("objects", [False, True], ids=["Retain", "Delete"])
async def test_a_delivered_export_goes_only_if_it_is_asked_for(
    kube: Kube, cluster: Cluster, s3: host.S3Server, remains: Remains, objects: bool
) -> None:
    job = await ended(cluster, s3)
    export = [f"{folder(job)}manifest.json", f"{folder(job)}users.csv"]
    remains.put(*export)
    work = make(kube, cluster, s3)
    work.undo(undo(job, objects=objects))
    async with running(work.run()):
        await until(lambda: not work.waits(job.run), "the clean-up")
    assert (remains.keys, await cluster.job(job.name)) == ([] if objects else export, None)
    assert (work.undone(job.run, objects=False), work.undone(job.run, objects=True)) == (True, objects)


async def test_a_job_stays_as_long_as_its_bucket_is_away_and_is_undone_when_it_is_back(
    kube: Kube, cluster: Cluster, s3: host.S3Server, remains: Remains, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cleaner, "PAUSES", (0.1,))
    tried: list[int] = []
    jobs = [await ended(cluster, s3, f"users-{number}") for number in range(12)]
    for job in jobs:
        remains.begin(f"{folder(job)}{job.request.name}.csv")
    opened = functools.partial(storage.opened, kube, cluster.run_namespace)
    work = Cleaner(
        cluster, opened, {"bucket": place(s3)}.get, SETTINGS.pods, waiting=lambda _, number: tried.append(number)
    )
    s3.stop()
    for job in jobs:
        work.undo(undo(job))
    asked = len(tried)
    async with running(work.run()):
        await until(lambda: len(tried) > asked + 2, "some tries")
        assert [(await cluster.job(job.name) or {})["metadata"]["uid"] for job in jobs] == [job.uid for job in jobs]
        s3.start()
        await until(lambda: not any(work.waits(job.run) for job in jobs), "the clean-up")
    assert (remains.uploads, tried[-1]) == ([], 0)
    assert [await cluster.job(job.name) for job in jobs] == [None] * len(jobs)


async def test_the_least_rights_are_enough_for_uploads_and_checkpoints(
    kube: Kube, cluster: Cluster, bound: host.S3Server
) -> None:
    """They forbid to list, and to delete what was delivered."""
    job, remains = await ended(cluster, bound), Remains(bound)
    checkpoint, part = f"{PREFIX}/.export-operator/{job.run}/checkpoint.json", f"{folder(job)}users-00001.csv"
    remains.put(checkpoint, part)
    remains.begin(f"{folder(job)}users.csv")
    spec = {**place(bound), "credentialsSecret": {"name": "bound-keys"}}
    opened = functools.partial(storage.opened, kube, cluster.run_namespace)
    work = Cleaner(cluster, opened, {"bucket": spec}.get, SETTINGS.pods)
    work.undo(undo(job))
    async with running(work.run()):
        await until(lambda: not work.waits(job.run), "the clean-up")
    assert (remains.keys, remains.uploads, await cluster.job(job.name)) == ([part], [], None)


async def test_objects_that_may_not_be_deleted_are_not_taken_for_deleted(
    kube: Kube, cluster: Cluster, bound: host.S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cleaner, "PAUSES", (0.1,))
    job, remains, tried = await ended(cluster, bound), Remains(bound), list[int]()
    export = [f"{folder(job)}manifest.json", f"{folder(job)}users.csv"]
    remains.put(*export)
    spec = {**place(bound), "credentialsSecret": {"name": "bound-keys"}}
    opened = functools.partial(storage.opened, kube, cluster.run_namespace)
    work = Cleaner(cluster, opened, {"bucket": spec}.get, SETTINGS.pods, waiting=lambda _, number: tried.append(number))
    work.undo(undo(job, objects=True))
    async with running(work.run()):
        await until(lambda: len(tried) > 2, "some tries")
    assert (remains.keys, (await cluster.job(job.name) or {})["metadata"]["uid"]) == (export, job.uid)


async def test_a_job_that_was_let_go_on_meanwhile_is_left_alone(
    kube: Kube, cluster: Cluster, s3: host.S3Server, remains: Remains
) -> None:
    job = await ended(cluster, s3)
    remains.begin(f"{folder(job)}users.csv")
    await kube.patch(f"{cluster.jobs_path}/{job.name}", {"spec": {"suspend": False}})
    work = make(kube, cluster, s3)
    work.undo(undo(job))
    async with running(work.run()):
        await until(lambda: not work.waits(job.run), "a look")
    assert not work.undone(job.run, objects=False)
    assert (remains.uploads, (await cluster.job(job.name) or {})["metadata"]["uid"]) == (
        [f"{folder(job)}users.csv"],
        job.uid,
    )


async def test_a_job_that_is_let_go_on_while_it_is_undone_is_not_deleted(
    kube: Kube, cluster: Cluster, s3: host.S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cleaner, "PAUSES", (0.1,))
    job = await ended(cluster, s3)

    class Meanwhile(Cluster):
        looks = 0

        async def job(self, name: str) -> dict[str, Any] | None:
            found = await super().job(name)
            self.looks += 1
            if self.looks == 1:
                await kube.patch(f"{self.jobs_path}/{name}", {"spec": {"suspend": False}})
            return found

    watched = Meanwhile(kube, cluster.run_namespace)
    work = make(kube, watched, s3)
    work.undo(undo(job))
    async with running(work.run()):
        await until(lambda: not work.waits(job.run), "another look")
    assert (watched.looks, work.undone(job.run, objects=False)) == (2, False)
    assert (await cluster.job(job.name) or {})["metadata"]["uid"] == job.uid


async def test_what_a_failed_run_left_goes_at_once_and_its_job_in_its_time(
    kube: Kube, cluster: Cluster, s3: host.S3Server, remains: Remains
) -> None:
    job = await ended(cluster, s3)
    remains.begin(f"{folder(job)}users.csv")
    work = make(kube, cluster, s3)
    async with running(work.run()):
        work.undo(replace(undo(job), stays=True))
        await until(lambda: not work.waits(job.run), "the clean-up")
        present = parse_job(await cluster.job(job.name) or {})
        assert (remains.uploads, present.uid, present.undone) == ([], job.uid, True)
        work.undo(replace(undo(job), stays=True))
        work.undo(undo(job))
        await until(lambda: not work.waits(job.run), "the Job to go")
    assert await cluster.job(job.name) is None


async def test_one_run_that_cannot_be_undone_holds_up_no_other(
    kube: Kube, cluster: Cluster, s3: host.S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cleaner, "PAUSES", (0.1,))
    stuck, other = await ended(cluster, s3, "stuck"), await ended(cluster, s3, "other")

    class Newer(Cluster):
        async def job(self, name: str) -> dict[str, Any] | None:
            found = await super().job(name)
            if found is not None and name == names.job_name(stuck.run):
                found["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"] = '{"version": 2}'
            return found

    work = make(kube, Newer(kube, cluster.run_namespace), s3)
    work.undo(undo(stuck))
    work.undo(undo(other))
    async with running(work.run()):
        await until(lambda: not work.waits(other.run), "the clean-up of the other")
        assert work.waits(stuck.run)
    assert (await cluster.job(other.name), (await cluster.job(stuck.name) or {})["metadata"]["uid"]) == (
        None,
        stuck.uid,
    )
