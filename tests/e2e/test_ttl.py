"""Time to live and tools that apply over and over: what ran once stays so, and people who mean it get a new run."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
import yaml

from export_operator.domain.identity import Subject
from export_operator.domain.usage import usage_name
from tests.e2e.conftest import MakeTeam, World
from tests.e2e.furniture import BUCKET
from tests.e2e.killer import Killer
from tests.e2e.team import SECONDS, Team, one_object
from tests.platform import catalogue, chart
from tests.platform.api import ApiError, Json
from tests.platform.names import API_VERSION, NAMESPACE, RUN_NAMESPACE
from tests.platform.waiting import until

pytestmark = pytest.mark.e2e

ARGO_CD = {"annotations": {"argocd.argoproj.io/tracking-id": "exports:export-operator.io/ExportRequest:team/users"}}
FLUX = {"labels": {"kustomize.toolkit.fluxcd.io/name": "exports", "kustomize.toolkit.fluxcd.io/namespace": "flux"}}
PACE = 0.5
"""Seconds between two applies of a loop; the tools take minutes."""
CRD = "exportrequests.export-operator.io"


@dataclass
class Loop:
    """Applies until it is stopped, as the tenant's tool; what the API server refuses is kept."""

    team: Team
    manifest: Json
    applied: int = 0
    refused: list[str] = field(default_factory=list)
    _stop: Event = field(default_factory=Event)

    def run(self) -> None:
        while not self._stop.wait(PACE):
            try:
                self.team.api.apply(self.manifest, manager="gitops")
                self.applied += 1
            except ApiError as error:  # applied in the moment in which it was deleted
                if error.status != 409:
                    self.refused.append(str(error))

    def stop(self) -> None:
        self._stop.set()

    def goes_on(self) -> None:
        """Three rounds more."""
        until_round = self.applied + 3
        until("three applies more", lambda: self.applied >= until_round, 60)


@contextmanager
def applied_over_and_over(team: Team, manifest: Json) -> Iterator[Loop]:
    loop = Loop(team, manifest)
    thread = Thread(target=loop.run, daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        loop.stop()
        thread.join(60)
    assert loop.refused == []


def manifest_of(team: Team, name: str, marks: Mapping[str, Any], **spec: Any) -> Json:
    made = team.request(name, **spec)
    return {**made, "metadata": made["metadata"] | marks}


def charged(team: Team, name: str) -> list[str]:
    """Runs of the request's name that the ledger counts."""
    usage = team.admin.get("ExportUsage", usage_name(Subject("User", team.user)), RUN_NAMESPACE)
    return [entry["run"] for entry in usage["spec"]["entries"] if entry["name"] == name]


def jobs_gone(team: Team, uid: str) -> None:
    team.asked["gone"] = uid
    until("the Job to go", lambda: not team.jobs("gone"), 30)


def uid_of(team: Team, name: str) -> str:
    return str(team.get(name)["metadata"]["uid"])


def adopted(team: Team, name: str, other_than: str) -> Json:
    """The request under this name with another UID than that, when it has taken over an end."""

    def look() -> Json | None:
        found = team.admin.find("ExportRequest", name, team.namespace)
        told = (found or {}).get("status") or {}
        return found if found and found["metadata"]["uid"] != other_than and "adopted" in told else None

    return until(f"{name} to be made again and adopt", look, SECONDS)


def test_what_a_tool_manages_is_kept_and_runs_once_however_often_it_is_applied(world: World, team: Team) -> None:
    manifest = manifest_of(team, "kept", ARGO_CD, ttlSecondsAfterFinished=2)
    with applied_over_and_over(team, manifest) as loop:
        until("its first apply", lambda: loop.applied, 30)
        uid = uid_of(team, "kept")
        until("the end of its time", lambda: team.status("kept").get("phase") == "Expired", SECONDS)
        jobs_gone(team, uid)
        before = team.get("kept")
        loop.goes_on()
        assert team.get("kept") == before
    assert (before["metadata"]["uid"], before["status"]["reason"]) == (uid, "TTLExpired")
    assert "Argo CD manages it" in before["status"]["message"]
    assert len(charged(team, "kept")) == 1
    one_object(world.storage, before["status"]["result"])


def test_what_a_loop_brings_back_after_its_time_adopts_the_result_across_restarts_of_the_operator(
    world: World, team: Team, executioner: Killer
) -> None:
    manifest = manifest_of(team, "brought-back", {}, ttlSecondsAfterFinished=3)
    with applied_over_and_over(team, manifest):
        first = until("its result", lambda: result_of(team, "brought-back"), SECONDS)
        uid = first["metadata"]["uid"]
        for _ in range(2):
            again = adopted(team, "brought-back", uid)
            uid = again["metadata"]["uid"]
            status = again["status"]
            assert (status["phase"], status["reason"], status["adopted"]["run"]) == (
                "Succeeded",
                "Adopted",
                first["status"]["run"],
            )
            assert status["result"].items() <= first["status"]["result"].items()
            assert executioner.kill(operator_pod(world))
    assert charged(team, "brought-back") == [first["status"]["run"]]
    one_object(world.storage, first["status"]["result"])


def result_of(team: Team, name: str) -> Json | None:
    found = team.admin.find("ExportRequest", name, team.namespace)
    return found if found and "result" in (found.get("status") or {}) else None


def operator_pod(world: World) -> Json:
    def look() -> Json | None:
        for pod in world.platform.api.items("Pod", NAMESPACE, "app.kubernetes.io/component=operator"):
            ready = {each["type"]: each["status"] for each in pod["status"].get("conditions") or []}.get("Ready")
            if ready == "True" and "deletionTimestamp" not in pod["metadata"]:
                return pod
        return None

    return until("an operator that serves", look, 120)


def test_a_person_who_deletes_a_request_and_applies_the_same_file_gets_a_new_run(team: Team) -> None:
    """Every night, say: also of one that its time to live had deleted before."""
    file = yaml.safe_dump(team.request("nightly", ttlSecondsAfterFinished=3600))
    for _ in range(2):
        team.kubectl.run("apply", "-f", "-", stdin=file)
        assert team.succeeded("nightly")["rows"] == 1000
        assert "adopted" not in team.status("nightly")
        team.kubectl.run("delete", "exportrequest", "nightly")
    assert len(set(charged(team, "nightly"))) == 2


def test_what_a_tool_deletes_and_makes_again_adopts_the_result(team: Team) -> None:
    """Argo CD with Replace and Force, Flux with force, either after a prune: they delete, and apply anew. A three-way
    patch and a replace of what is there change nothing."""
    manifest = manifest_of(team, "made-again", FLUX)
    text = yaml.safe_dump(manifest)
    team.kubectl.run("apply", "-f", "-", stdin=text)
    result = team.succeeded("made-again")
    uid = uid_of(team, "made-again")
    until("its tombstone", lambda: stone(team, "made-again"), 30)
    for verb in ("apply", "replace"):
        team.kubectl.run(verb, "-f", "-", stdin=text)
        assert (uid_of(team, "made-again"), team.status("made-again")["phase"]) == (uid, "Succeeded")
    for prunes, how in ((False, ("replace", "--force")), (True, ("apply", "--server-side", "--field-manager=gitops"))):
        if prunes:
            team.kubectl.run("delete", "exportrequest", "made-again")
        team.kubectl.run(*how, "-f", "-", stdin=text)
        again = adopted(team, "made-again", uid)
        assert again["status"]["result"].items() <= result.items()
        uid = again["metadata"]["uid"]
        until("its tombstone", lambda uid=uid: (stone(team, "made-again") or {}).get("uid") == uid, 30)  # type: ignore[misc]
    assert len(charged(team, "made-again")) == 1


def stone(team: Team, name: str) -> Json | None:
    usage = team.admin.get("ExportUsage", usage_name(Subject("User", team.user)), RUN_NAMESPACE)
    return next((each for each in usage["spec"].get("tombstones") or [] if each["name"] == name), None)


def test_a_failed_one_is_adopted_as_failed(team: Team) -> None:
    manifest = manifest_of(team, "hopeless", {}, dataset="broken", ttlSecondsAfterFinished=2)
    with applied_over_and_over(team, manifest):
        until(
            "its first failure",
            lambda: (
                (team.admin.find("ExportRequest", "hopeless", team.namespace) or {}).get("status", {}).get("phase")
                == "Failed"
            ),
            SECONDS,
        )
        uid = uid_of(team, "hopeless")
        status = adopted(team, "hopeless", uid)["status"]
    assert (status["phase"], status["reason"], status["failure"]["class"]) == ("Failed", "Adopted", "Source")
    assert len(charged(team, "hopeless")) == 1


def test_a_crd_that_gained_a_field_makes_nothing_run_again(world: World, team: Team) -> None:
    manifest = manifest_of(team, "older", ARGO_CD)
    team.api.apply(manifest, manager="gitops")
    result = team.succeeded("older")
    until("its tombstone", lambda: stone(team, "older"), 30)
    before = team.get("older")
    place = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{CRD}"
    api = world.platform.api
    whole = api.call("GET", place)
    output = whole["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["output"]
    output["properties"]["future"] = {"type": "string", "maxLength": 9}
    api.call("PUT", place, whole)
    try:
        until("the field to be served", lambda: knows_the_future(team), 60)
        team.api.apply(manifest, manager="gitops")
        assert team.get("older") == before
        team.delete("older")
        team.api.apply(manifest, manager="gitops")
        assert adopted(team, "older", before["metadata"]["uid"])["status"]["result"].items() <= result.items()
    finally:
        whole = api.call("GET", place)
        versions = whole["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
        versions["output"]["properties"].pop("future", None)
        api.call("PUT", place, whole)
    assert len(charged(team, "older")) == 1


def knows_the_future(team: Team) -> bool:
    probe = team.request("probe", output={"format": "CSV", "future": "yes"})
    place = f"/apis/{API_VERSION}/namespaces/{team.namespace}/exportrequests?dryRun=All"
    return bool(team.api.call("POST", place, probe)["spec"]["output"].get("future"))


BRIEF = "e2e-brief"
OBJECT_SECONDS = 60
"""The least that a policy may say."""


@pytest.mark.late
def test_what_was_delivered_goes_after_a_time_of_its_own_and_the_request_stays_to_say_so(
    world: World, teams: MakeTeam
) -> None:
    spec = {
        "selector": {"groups": [BRIEF]},
        "limits": {"windowSeconds": 86_400, "user": {"requests": 10}},
        "retention": {"objectTTLSeconds": OBJECT_SECONDS},
    }
    world.platform.api.apply(catalogue.named("ExportPolicy", BRIEF, spec))
    team = teams(BRIEF)
    team.ask("brief", output={"format": "Parquet", "layout": "PartObjects"})
    result = team.succeeded("brief")
    status = team.status("brief")
    ended, goes = (datetime.fromisoformat(each) for each in (status["completionTime"], result["expirationTime"]))
    assert (goes - ended, result.get("deleted", False)) == (timedelta(seconds=OBJECT_SECONDS), False)
    place = f"{result['uri'].removeprefix(f's3://{BUCKET}/').rpartition('/')[0]}/"
    there = world.storage.keys(BUCKET, place)
    assert f"{place}manifest.json" in there
    until("the objects to go", lambda: not world.storage.keys(BUCKET, place), OBJECT_SECONDS + SECONDS)
    assert datetime.now(UTC) >= goes
    until("the request to say so", lambda: team.status("brief")["result"].get("deleted"), 30)
    after = team.status("brief")
    assert (after["phase"], after["result"]) == ("Succeeded", {**result, "deleted": True})
    jobs_gone(team, team.asked["brief"])


TEMPLATE = """
apiVersion: export-operator.io/v1alpha1
kind: ExportRequest
metadata:
  name: {name}
  annotations: {annotations}
spec: {spec}
"""


def test_helm_upgrades_keep_a_request_and_a_hook_runs_at_each(world: World, team: Team, tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "Chart.yaml").write_text("apiVersion: v2\nname: exports\nversion: 1.0.0\n")
    spec = team.request("any", ttlSecondsAfterFinished=2)["spec"]
    hook = {"helm.sh/hook": "post-install,post-upgrade", "helm.sh/hook-delete-policy": "before-hook-creation"}
    for name, annotations in (("state", {}), ("action", hook)):
        written = {**spec, "expiry": "Keep"} if annotations else spec
        text = TEMPLATE.format(
            name=name,
            annotations=yaml.safe_dump(annotations, default_flow_style=True),
            spec=yaml.safe_dump(written, default_flow_style=True),
        )
        (tmp_path / "templates" / f"{name}.yaml").write_text(text)

    def release() -> None:
        as_tenant = ("--kube-as-user", team.user, "--kube-as-group", "system:authenticated")
        chart.helm(
            world.platform.cluster,
            "upgrade",
            "--install",
            "exports",
            str(tmp_path),
            "--namespace",
            team.namespace,
            *as_tenant,
        )

    release()
    uid = uid_of(team, "state")
    for name in ("state", "action"):
        until(f"the end of {name}'s time", lambda name=name: team.status(name).get("phase") == "Expired", SECONDS)  # type: ignore[misc]
    action = uid_of(team, "action")
    release()
    assert (uid_of(team, "state"), uid_of(team, "action") != action) == (uid, True)
    until("the hook to run", lambda: len(charged(team, "action")) == 2 and result_of(team, "action"), SECONDS)
    assert (len(charged(team, "state")), "Helm manages it" in team.status("state")["message"]) == (1, True)
