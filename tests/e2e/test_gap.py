"""While the policies that attest who asks are missing or blind, nothing is admitted, and what was forged meanwhile is
not believed; where clients declare who asks, it is checked."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.kubectl import Kubectl
from tests.e2e.conftest import MakeTeam, World
from tests.e2e.furniture import FEW, PLENTY
from tests.e2e.team import Team
from tests.platform import chart
from tests.platform.api import Api, ApiError, Json, path
from tests.platform.names import NAMESPACE, OPERATOR
from tests.platform.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.late]

POLICIES = Path(__file__).resolve().parents[2] / "manifests" / "policies"
CHECK, GUARD, STAMP = (f"{name}.export-operator.io" for name in ("check-identity", "guard-status", "stamp-identity"))
VALIDATING, MUTATING = "ValidatingAdmissionPolicyBinding", "MutatingAdmissionPolicyBinding"
SECONDS = 30.0


@pytest.fixture(autouse=True)
def mended(operator: Kubectl) -> Iterator[None]:
    """Everything in force before and after each of these."""
    until("the policies are in force", lambda: gauge(operator) == 1, SECONDS)
    yield
    install_policies(operator)
    until_believed(operator)


def install_policies(operator: Kubectl) -> None:
    """All of them as they should be. A field that somebody else has added is not apply's to remove."""
    spared = json.dumps({"spec": {"matchResources": None}})
    operator.run("patch", VALIDATING, CHECK, "--type=merge", "-p", spared, check=False)
    operator.run("apply", "--server-side", "--force-conflicts", "-k", str(POLICIES))


def gauge(operator: Kubectl) -> int:
    """`export_operator_identity_enforced`, as Prometheus reads it from the leader; -1 while there is none."""
    pods = operator.output("get", "pods", "--selector", OPERATOR, "-o", "name").split()
    for pod in pods:
        name = pod.removeprefix("pod/")
        place = f"/api/v1/namespaces/{NAMESPACE}/pods/{name}:8080/proxy/metrics"
        found = re.search(
            r"^export_operator_identity_enforced (\d)",
            operator.run("get", "--raw", place, check=False).stdout,
            re.MULTILINE,
        )
        if found:
            return int(found[1])
    return -1


def soften(api: Api) -> None:
    api.patch(VALIDATING, CHECK, "", {"spec": {"validationActions": ["Audit"]}})


def narrow(api: Api) -> None:
    """Spare every namespace but the operator's own, where the canary sings."""
    selector = {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}}
    api.patch(VALIDATING, CHECK, "", {"spec": {"matchResources": {"namespaceSelector": selector}}})


def remove(api: Api) -> None:
    api.delete(VALIDATING, CHECK)


GAPS = {
    "the binding only audits": (soften, "its binding does not deny"),
    "the binding spares namespaces": (narrow, "its binding has matchResources"),
    "the binding is missing": (remove, f"the binding of the policy {CHECK} is missing"),
}


@pytest.mark.parametrize("gap", GAPS)
def test_what_was_forged_in_a_gap_never_runs(teams: MakeTeam, world: World, operator: Kubectl, gap: str) -> None:
    team, api = teams(PLENTY), world.platform.api
    team.ask("before")
    team.succeeded("before")
    tear, told = GAPS[gap]
    tear(api)
    forge(team)
    held = team.until("forged", "Pending", reason="IdentityNotEnforced")
    assert told in held["message"]
    assert {each["type"]: each["reason"] for each in held["conditions"]} == {
        "Accepted": "IdentityNotAttested",
        "Reconciling": "IdentityNotEnforced",
    }
    assert gauge(operator) == 0
    assert "IdentityNotEnforced" in {event["reason"] for event in team.events("forged")}
    assert operator.output("get", "deployment", "export-operator", "-o", "jsonpath={.status.readyReplicas}") == "2"
    install_policies(operator)
    assert team.until("forged", "Rejected")["reason"] == "IdentityNotAttested"
    assert team.jobs("forged") == []
    until_believed(operator)
    team.ask("after")
    assert team.succeeded("after")["rows"] == FEW


def until_believed(operator: Kubectl) -> None:
    """Until the policies are in force, and a moment longer: what was created within the same second is doubted."""
    until("the policies are in force", lambda: gauge(operator) == 1, SECONDS)
    now = datetime.now(UTC)
    until("that is three seconds ago", lambda: datetime.now(UTC) - now > timedelta(seconds=3), SECONDS)


def forge(team: Team) -> None:
    """A request in another's name, as soon as nobody refuses it."""

    def attempt() -> bool:
        try:
            team.ask("forged", requester={"username": "somebody-else"})
        except ApiError as error:
            if error.status != 403:
                raise
            return False
        return True

    until("a forged request is let in", attempt, SECONDS)


def test_nobody_is_admitted_unstamped(teams: MakeTeam, world: World, operator: Kubectl) -> None:
    team = teams(PLENTY)
    world.platform.api.delete(MUTATING, STAMP)
    until("the gap is noticed", lambda: gauge(operator) == 0, SECONDS)
    with pytest.raises(ApiError, match=rf"{STAMP} or its binding is not in force"):
        until("the stamp is gone", lambda: team.ask(f"unstamped-{len(team.asked)}") and None, SECONDS)


def test_a_status_forged_in_a_gap_is_not_believed_either(teams: MakeTeam, world: World, operator: Kubectl) -> None:
    """Everything a tenant could write is what an honest run has; the ledger knows nothing of it."""
    team, api = teams(PLENTY), world.platform.api
    for name in (CHECK, GUARD):
        api.delete(VALIDATING, name)
    forge(team)
    held = team.until("forged", "Pending", reason="IdentityNotEnforced")
    accepted = {"type": "Accepted", "status": "True", "reason": "Valid", "message": ""}
    condition = {**accepted, "lastTransitionTime": "2026-01-01T00:00:00Z"}
    place = path("ExportRequest", "forged", team.namespace) + "/status"
    forged = {"status": {**held, "phase": "Queued", "reason": "QuotaExceeded", "conditions": [condition]}}
    api.call("PATCH", place, forged, "application/merge-patch+json")
    install_policies(operator)
    assert team.until("forged", "Rejected")["reason"] == "IdentityNotAttested"
    assert team.jobs("forged") == []


@pytest.fixture
def declared(world: World, operator: Kubectl) -> Iterator[str]:
    """The whole installation in mode Declared; yields what the operator said while the other mode's stamp was left."""
    platform, api = world.platform, world.platform.api
    chart.install(platform.cluster, platform.images, "identity.mode=Declared")
    until("the wrong mode is noticed", lambda: gauge(operator) == 0, SECONDS)
    log = operator.output("logs", "--selector", OPERATOR, "--tail=-1")
    api.delete(MUTATING, STAMP)
    api.delete("MutatingAdmissionPolicy", STAMP)
    until_believed(operator)
    yield log
    chart.install(platform.cluster, platform.images)


def test_where_it_is_declared_the_client_names_itself_and_is_checked(teams: MakeTeam, declared: str) -> None:
    assert f"the policies in force are those of another mode, or {STAMP} was left; delete it" in declared
    team = teams(PLENTY)

    def refusal(**spec: Any) -> str:
        with pytest.raises(ApiError) as refused:
            team.ask("refused", **spec)
        return refused.value.message

    own: Json = {"username": team.user}
    advice = f'write spec.requester.username: "{team.user}", as `kubectl auth whoami` shows it'
    assert f"spec.requester is missing: {advice}" in refusal()
    assert f'is "alice" but you are "{team.user}": write your own name' in refusal(requester={"username": "alice"})
    signed = {"username": team.user, "groups": ["system:masters"]}
    assert "nobody attests it where identity.mode is Declared" in refusal(requester=own, submittedBy=signed)

    made = team.ask("declared", requester=own)
    assert made["spec"]["requester"] == own
    assert "submittedBy" not in made["spec"]
    assert team.succeeded("declared")["rows"] == FEW
    # The policy for the user's group would have allowed a thousand.
    (window,) = team.status("declared")["quota"]
    assert (window["policy"], window["scope"], window["used"], window["limit"]) == ("built-in", "User", 1, 5)

    manifest = json.dumps(team.request("declared", requester=own))
    assert team.kubectl.run("diff", "-f", "-", stdin=manifest, check=False).returncode == 0
    assert "cannot appear, change or vanish" in changed(team, requester={"username": "alice"})
    assert "cannot appear, change or vanish" in changed(team, submittedBy=signed)


def changed(team: Team, **spec: Any) -> str:
    with pytest.raises(ApiError) as refused:
        team.patch("declared", **spec)
    return refused.value.message
