"""Failed requests are found by field selectors and run anew from the operator's pod, by the person's own rights."""

import json
from typing import Any

import pytest

from tests.cluster import shell
from tests.cluster.kubectl import Kubectl
from tests.e2e.conftest import World
from tests.e2e.furniture import DESTINATION, PLANTED, SOURCE
from tests.e2e.team import Team
from tests.platform.api import Api, Json
from tests.platform.names import API_VERSION, DEPLOYMENT
from tests.platform.waiting import until

pytestmark = pytest.mark.e2e

ROBOT = "robot"
NAMES = ("first", "second", "third")


def robot(team: Team) -> Team:
    """A service account that may edit the team's namespace, as the tenant; requests count against it."""
    where, account = team.namespace, {"name": ROBOT, "namespace": team.namespace}
    team.admin.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account})
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": ROBOT, "namespace": where},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
        "subjects": [{"kind": "ServiceAccount", **account}],
    }
    team.admin.apply(binding)
    user = f"system:serviceaccount:{where}:{ROBOT}"
    return Team(where, user, team.admin, team.admin.as_user(user), team.kubectl, team.declares, team.asked)


def redrive(operator: Kubectl, credentials: str, *words: str) -> tuple[int, Any]:
    """Exit code and document of the command in the operator's pod."""
    command = ["export-operator", "redrive", "--credentials", "-", "--output", "json", *words]
    done = operator.run("exec", "--stdin", f"deployment/{DEPLOYMENT}", "--", *command, stdin=credentials, check=False)
    return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr


def outcomes(document: Any) -> dict[str, str]:
    return {each["name"]: each["outcome"] for each in document["requests"]}


def broken_source(api: Api, name: str) -> Json:
    """A copy of the source whose database is not there; what it shall be when it is mended."""
    good = api.get("ExportSource", SOURCE)
    mended = {**good, "metadata": {"name": name}, "status": {}}
    api.apply({**mended, "spec": {**good["spec"], "database": "nothing"}})
    return mended


@pytest.mark.older
def test_what_failed_runs_anew_when_what_broke_is_mended(world: World, team: Team, operator: Kubectl) -> None:
    api, tenant = world.platform.api, robot(team)
    source = f"e2e-broken-{team.namespace}"
    mended = broken_source(api, source)
    try:
        until("the account may ask", lambda: may_ask(tenant), 30)
        for name in NAMES:
            tenant.ask(name, source={"name": source, "dataset": "few"})
        for name in NAMES:
            assert tenant.until(name, "Failed")["reason"] == "SourceDatabaseNotFound"
        tenant.ask("fine")
        tenant.succeeded("fine")

        failure = tenant.status("first")["failure"]
        assert (failure["class"], failure["attempts"], len(failure["recentAttempts"])) == ("Source", 1, 1)
        (attempt,) = failure["recentAttempts"]
        assert (attempt["reason"], attempt["exitCode"]) == ("SourceDatabaseNotFound", 69)
        assert PLANTED not in str(failure)

        def found(selector: str) -> list[str]:
            told = team.kubectl.output("get", "exreq", "--field-selector", selector, "--output", "name")
            return sorted(line.rpartition("/")[2] for line in told.splitlines())

        if selects(api):
            assert found("status.phase=Failed") == sorted(NAMES)
            assert found(f"status.failure.class=Source,spec.source.name={source}") == sorted(NAMES)
            reason = "status.failure.reason=SourceDatabaseNotFound"
            assert found(f"{reason},status.effective.destination={DESTINATION}") == sorted(NAMES)
            assert found("status.failure.class=User") == []

        token = team.kubectl.output("create", "token", ROBOT)
        chosen = ("--namespace", team.namespace, "--class", "Source", "--source", source)
        code, document = redrive(operator, token, *chosen, "--dry-run")
        assert (code, outcomes(document)) == (0, dict.fromkeys(NAMES, "WouldRedrive"))
        assert {tenant.status(name)["phase"] for name in NAMES} == {"Failed"}

        # The administrator is neither the requester nor may act as it: a wildcard lets nobody do that.
        whole = shell.output([*operator.command("config", "view", "--raw", "--minify", "--flatten")], env=operator._env)
        code, document = redrive(operator, whole, *chosen)
        assert (code, outcomes(document)) == (1, dict.fromkeys(NAMES, "Refused"))
        assert tenant.user in document["requests"][0]["message"]

        api.apply(mended)
        code, document = redrive(operator, token, *chosen, "--rate", "600")
        assert (code, outcomes(document)) == (0, dict.fromkeys(NAMES, "Redriven"))
        assert [each["name"] for each in document["requests"]] == sorted(
            NAMES, key=lambda name: (document_time(document, name), name)
        )
        for name in NAMES:
            assert tenant.succeeded(name, run_id=document["runID"])["rows"] == 1000
            assert "failure" not in tenant.status(name)
        code, document = redrive(operator, token, *chosen)
        assert (code, document["requests"]) == (0, [])
    finally:
        api.delete("ExportSource", source)


def selects(api: Api) -> bool:
    """Kubernetes 1.30 selects custom resources by no field of theirs."""
    place = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/exportrequests.export-operator.io"
    return "selectableFields" in api.call("GET", place)["spec"]["versions"][0]


def document_time(document: Any, name: str) -> str:
    (found,) = [each["failed"] for each in document["requests"] if each["name"] == name]
    return str(found)


def may_ask(tenant: Team) -> bool:
    attributes = {"namespace": tenant.namespace, "verb": "create", "group": "export-operator.io"}
    review: Json = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {**attributes, "resource": "exportrequests"}},
    }
    answer = tenant.api.call("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review)
    return bool(answer["status"].get("allowed"))


def test_in_the_pod_it_never_uses_the_operators_own_rights(operator: Kubectl) -> None:
    command = ["export-operator", "redrive", "--all-namespaces", "--all"]
    done = operator.run("exec", f"deployment/{DEPLOYMENT}", "--", *command, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "needs your own credentials" in done.stderr


def test_a_run_id_that_was_used_before_is_refused_and_so_is_a_new_one_under_cancel(team: Team) -> None:
    team.ask("again", source={"name": SOURCE, "dataset": "broken"})
    team.until("again", "Failed")
    team.patch("again", runID="second")
    team.until("again", "Failed", run_id="second")
    team.patch("again", runID="")
    status = team.until("again", "Rejected", run_id="")
    assert status["reason"] == "RunIDUsed"
    assert API_VERSION
    team.patch("again", cancel=True)
    refused = team.kubectl.run(
        "patch", "exreq", "again", "--type=merge", "-p", '{"spec":{"runID":"third"}}', check=False
    )
    assert "spec.runID cannot change while spec.cancel is true" in refused.stderr
    team.patch("again", cancel=False, runID="third")
    team.until("again", "Failed", run_id="third")
