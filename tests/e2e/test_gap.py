"""While the policies that attest who asks are missing or blind, nothing is admitted, and what was forged meanwhile is
not believed."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster.kubectl import Kubectl
from tests.e2e.conftest import MakeTeam, World
from tests.e2e.enforcement import CHECK, GUARD, MUTATING, SECONDS, STAMP, VALIDATING, gauge, until_believed
from tests.e2e.furniture import FEW, PLENTY
from tests.e2e.team import Team
from tests.platform.api import Api, ApiError, path
from tests.platform.names import NAMESPACE
from tests.platform.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.late]

POLICIES = Path(__file__).resolve().parents[2] / "manifests" / "policies"


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


def forge(team: Team) -> None:
    """A request in another's name."""
    let_in("a forged request", lambda: team.ask("forged", requester={"username": "somebody-else"}))


def let_in(what: str, call: Callable[[], object]) -> None:
    """As soon as nobody refuses it: the API server hears of a policy that is gone a moment later, of each by itself."""

    def attempt() -> bool:
        try:
            call()
        except ApiError as error:
            if error.status != 403:
                raise
            return False
        return True

    until(f"{what} is let in", attempt, SECONDS)


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
    let_in("a forged status", lambda: api.call("PATCH", place, forged, "application/merge-patch+json"))
    install_policies(operator)
    assert team.until("forged", "Rejected")["reason"] == "IdentityNotAttested"
    assert team.jobs("forged") == []
