"""Mode Declared: clients name who asks, as on Kubernetes before 1.36, and the cluster checks it."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.kubectl import Kubectl
from tests.cluster.problem import Problem
from tests.e2e import links
from tests.e2e.conftest import MakeTeam, World
from tests.e2e.enforcement import MUTATING, SECONDS, STAMP, gauge, until_believed
from tests.e2e.furniture import DESTINATION, FEW, PLENTY, SOURCE
from tests.e2e.team import Team, one_object
from tests.platform import chart, tenants
from tests.platform.api import ApiError, Json
from tests.platform.names import API_VERSION, CHART, NAMESPACE, OPERATOR, RELEASE
from tests.platform.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.late, pytest.mark.older]


@pytest.fixture(scope="module")
def declared(world: World, operator: Kubectl) -> Iterator[str]:
    """The whole installation in mode Declared; what the operator said while the other mode's stamp was left."""
    platform, api = world.platform, world.platform.api
    if not world.attests:  # it is in no other mode here
        until_believed(operator)
        yield ""
        return
    chart.install(platform.cluster, platform.images, "identity.mode=Declared")
    until("the wrong mode is noticed", lambda: gauge(operator) == 0, SECONDS)
    log = operator.output("logs", "--selector", OPERATOR, "--tail=-1")
    api.delete(MUTATING, STAMP)
    api.delete("MutatingAdmissionPolicy", STAMP)
    until_believed(operator)
    yield log
    chart.install(platform.cluster, platform.images)
    until_believed(operator)


@pytest.fixture
def team(teams: MakeTeam, declared: str) -> Team:
    del declared  # it is in that mode
    return teams(PLENTY)


def test_a_stamp_that_the_other_mode_has_left_is_named(world: World, declared: str) -> None:
    if not world.attests:
        pytest.skip("this cluster serves no MutatingAdmissionPolicy that could be left")
    assert f"the policies in force are those of another mode, or {STAMP} was left; delete it" in declared


def test_a_cluster_that_cannot_stamp_is_told_so_before_anything_is_changed(world: World, operator: Kubectl) -> None:
    if world.attests:
        pytest.skip("this cluster can")
    version = json.loads(operator.output("version", "-o", "json"))["serverVersion"]["gitVersion"]
    wanted = ("upgrade", RELEASE, str(CHART), "-n", NAMESPACE, "--set", "identity.mode=Attested")
    with pytest.raises(Problem) as refused:
        chart.helm(world.platform.cluster, *wanted)
    told = str(refused.value)
    assert f"needs Kubernetes 1.36 or newer for MutatingAdmissionPolicy, and this cluster is {version}" in told
    assert "Use --set identity.mode=Declared" in told


@pytest.mark.usefixtures("declared")
def test_no_mutating_policy_is_part_of_the_release(world: World) -> None:
    release = chart.helm(world.platform.cluster, "get", "manifest", RELEASE, "-n", NAMESPACE)
    assert "ValidatingAdmissionPolicyBinding" in release
    assert "kind: MutatingAdmissionPolicy" not in release


def test_who_names_nobody_or_somebody_else_is_refused_and_told_what_to_write(team: Team) -> None:
    def refusal(**spec: Any) -> str:
        with pytest.raises(ApiError) as refused:
            team.ask("refused", **spec)
        return refused.value.message

    advice = f'write spec.requester.username: "{team.user}", as `kubectl auth whoami` shows it'
    assert f"spec.requester is missing: {advice}" in refusal(requester=None)
    assert f'is "alice" but you are "{team.user}": write your own name' in refusal(requester={"username": "alice"})
    assert "nobody attests it where identity.mode is Declared" in refusal(
        requester={"username": team.user}, submittedBy=signed(team)
    )


def signed(team: Team) -> Json:
    return {"username": team.user, "groups": ["system:masters"]}


def test_who_names_oneself_gets_the_export_and_groups_match_no_policy(world: World, team: Team) -> None:
    own: Json = {"username": team.user}
    made = team.ask("declared", requester=own)
    assert made["spec"]["requester"] == own
    assert "submittedBy" not in made["spec"]
    result = team.succeeded("declared")
    assert result["rows"] == FEW
    one_object(world.storage, result)
    # The policy for the user's group would have allowed a thousand.
    (window,) = team.status("declared")["quota"]
    assert (window["policy"], window["scope"], window["used"], window["limit"]) == ("built-in", "User", 1, 5)

    manifest = json.dumps(team.request("declared", requester=own))
    assert team.kubectl.run("diff", "-f", "-", stdin=manifest, check=False).returncode == 0
    assert "cannot appear, change or vanish" in changed(team, requester={"username": "alice"})
    assert "cannot appear, change or vanish" in changed(team, submittedBy=signed(team))


def changed(team: Team, **spec: Any) -> str:
    with pytest.raises(ApiError) as refused:
        team.patch("declared", **spec)
    return refused.value.message


def test_a_schedule_and_a_download_name_their_requester_too(world: World, team: Team) -> None:
    own: Json = {"username": team.user}
    template = {"spec": {"source": {"name": SOURCE, "dataset": "few"}, "destination": {"name": DESTINATION}}}
    plan: Json = {
        "apiVersion": API_VERSION,
        "kind": "ScheduledExport",
        "metadata": {"name": "often", "namespace": team.namespace},
        "spec": {"schedule": "* * * * *", "template": template},
    }
    with pytest.raises(ApiError, match=r"spec\.requester is missing"):
        team.api.create(plan)
    team.api.create({**plan, "spec": {**plan["spec"], "requester": own}})
    (made,) = until("its first request", lambda: team.api.items("ExportRequest", team.namespace)[:1], 90)
    assert made["spec"]["requester"] == own
    name = made["metadata"]["name"]
    assert team.succeeded(name)["rows"] == FEW
    tenants.let_link(world.platform.api, team.namespace)
    links.ask(team, "link", name, requester=own)
    assert "manifestURL" in links.ready(team, "link")
