"""Who asks is attested by the cluster: stamped, checked, and never changed afterwards."""

import pytest

from tests.e2e.api.kubectl import Kubectl, Object, request

pytestmark = pytest.mark.e2e


def spoof(name: str = "one") -> Object:
    return request(name, requester={"username": "bob"})


def test_the_one_who_asks_is_stamped(alice: Kubectl) -> None:
    assert alice.apply(request()).ok
    spec = alice.get("exreq", "one")["spec"]
    assert spec["requester"] == {"username": "alice"}
    assert spec["submittedBy"] == {"username": "alice", "groups": ["system:authenticated", "analysts"]}


def test_a_forged_requester_is_refused_and_told_how_it_could_be_allowed(alice: Kubectl, namespace: Kubectl) -> None:
    answer = alice.apply(spoof())
    assert not answer.ok
    assert (
        'spec.requester.username is "bob" but you are "alice": remove spec.requester to ask for yourself, or have the '
        "platform team grant you the verb act-as on requesters.export-operator.io/bob in namespace "
        + namespace.namespace
    ) in answer.error


@pytest.mark.parametrize("options", [["--server-side"], ["--server-side", "--force-conflicts"]])
def test_a_forged_requester_is_refused_on_server_side_apply(alice: Kubectl, options: list[str]) -> None:
    assert 'but you are "alice"' in alice.apply(spoof(), *options).error


def test_a_forged_submitter_is_overwritten(alice: Kubectl) -> None:
    forged = {"username": "bob", "groups": ["system:masters"]}
    made = alice.dry_run(request(submittedBy=forged)).json()
    assert made["spec"]["submittedBy"] == {"username": "alice", "groups": ["system:authenticated", "analysts"]}


def test_one_may_name_oneself(alice: Kubectl) -> None:
    assert alice.dry_run(request(requester={"username": "alice"})).ok


def test_act_as_lets_one_ask_for_another_in_that_namespace_alone(namespace: Kubectl, alice: Kubectl) -> None:
    rule = {
        "apiGroups": ["export-operator.io"],
        "resources": ["requesters"],
        "resourceNames": ["bob"],
        "verbs": ["act-as"],
    }
    metadata = {"name": "act-as-bob"}
    assert namespace.apply(
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata, "rules": [rule]}
    ).ok
    assert namespace("create", "rolebinding", "act-as-bob", "--role=act-as-bob", "--user=alice").ok
    made = alice.dry_run(spoof()).json()["spec"]
    assert made["requester"] == {"username": "bob"}
    assert made["submittedBy"]["username"] == "alice"
    assert 'is "carol" but you are "alice"' in alice.dry_run(request(requester={"username": "carol"})).error


def test_a_manifest_without_identity_never_differs(alice: Kubectl, bob: Kubectl) -> None:
    manifest = request()
    assert alice.apply(manifest).ok
    before = alice.get("exreq", "one")["spec"]
    for who in (alice, bob):
        assert who("diff", "-f", "-", stdin=manifest).code == 0
        assert who.apply(manifest).ok
        assert who.apply(manifest, "--server-side", "--force-conflicts").ok
        assert who.apply(manifest, "--server-side", "--force-conflicts").ok
        assert who("diff", "--server-side", "--force-conflicts", "-f", "-", stdin=manifest).code == 0
        assert who("replace", "-f", "-", stdin=manifest).ok
    assert alice.get("exreq", "one")["spec"] == before


@pytest.mark.parametrize(
    "patch",
    [{"requester": {"username": "bob"}}, {"submittedBy": {"username": "bob"}}, {"submittedBy": {"groups": ["x"]}}],
)
def test_identity_cannot_change_later(alice: Kubectl, bob: Kubectl, patch: Object) -> None:
    assert alice.apply(request()).ok
    for who in (alice, bob):
        assert "cannot appear, change or vanish" in who.patch("one", {"spec": patch}).error


def test_identity_cannot_vanish(alice: Kubectl, bob: Kubectl) -> None:
    assert alice.apply(request()).ok
    before = alice.get("exreq", "one")["spec"]
    removals: list[Object] = [{"op": "remove", "path": f"/spec/{field}"} for field in ("requester", "submittedBy")]
    bob.patch("one", {"spec": {"requester": None, "submittedBy": None}})
    bob.patch("one", removals, form="json")
    assert alice.get("exreq", "one")["spec"] == before


@pytest.mark.parametrize("spec", [{"runID": "2"}, {"cancel": True}, {"suspend": True}])
def test_only_the_requester_starts_and_stops(alice: Kubectl, bob: Kubectl, spec: Object) -> None:
    assert alice.apply(request()).ok
    refused = bob.patch("one", {"spec": spec})
    assert 'may be set only by its requester "alice"' in refused.error
    assert "have the platform team grant you the verb" in refused.error
    assert (
        'may be set only by its requester "alice"'
        in bob.apply(request(**spec), "--server-side", "--force-conflicts").error
    )
    assert alice.patch("one", {"spec": spec}).ok


def test_manage_lets_one_stop_another_but_not_start_anew(namespace: Kubectl, alice: Kubectl, bob: Kubectl) -> None:
    rule = {"apiGroups": ["export-operator.io"], "resources": ["requesters"], "verbs": ["manage"]}
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "manage"},
        "rules": [rule],
    }
    assert namespace.apply(role).ok
    assert namespace("create", "rolebinding", "manage", "--role=manage", "--user=bob").ok
    assert alice.apply(request()).ok
    assert bob.patch("one", {"spec": {"suspend": True}}).ok
    assert bob.patch("one", {"spec": {"cancel": True}}).ok
    assert "spec.runID of this request may be set only by" in bob.patch("one", {"spec": {"runID": "2"}}).error


@pytest.mark.parametrize("form", ["merge", "json"])
def test_status_cannot_be_forged_not_even_by_the_administrator(
    namespace: Kubectl, alice: Kubectl, operator_account: str, form: str
) -> None:
    assert alice.apply(request()).ok
    forged: Object | list[Object] = {"status": {"phase": "Succeeded"}}
    if form == "json":
        forged = [{"op": "add", "path": "/status/phase", "value": "Succeeded"}]
    for who, name in ((alice, "alice"), (namespace, "")):
        answer = who.patch("one", forged, "--subresource=status", form=form)
        assert not answer.ok
        assert f'status is written only by the operator ({operator_account}), and you are "{name}' in answer.error
    assert alice.get("exreq", "one")["status"].get("phase") != "Succeeded"


def test_status_in_a_manifest_is_dropped(alice: Kubectl) -> None:
    made = alice.dry_run({**request(), "status": {"phase": "Succeeded"}}).json()
    assert made["status"] == {"observedGeneration": -1}


def test_the_operator_writes_status(namespace: Kubectl, alice: Kubectl, operator_account: str) -> None:
    assert alice.apply(request()).ok
    operator = namespace.as_user(operator_account)
    resources = "exportrequests.export-operator.io,exportrequests.export-operator.io/status"
    namespace("create", "role", "operator", "--verb=get,patch,update", f"--resource={resources}")
    account = operator_account.removeprefix("system:serviceaccount:")
    namespace("create", "rolebinding", "operator", "--role=operator", f"--serviceaccount={account}")
    answer = operator.patch("one", {"status": {"phase": "Pending"}}, "--subresource=status", "--dry-run=server")
    assert answer.ok, answer.error
    # What makes it the operator is its account: with status goes no right to ask for others.
    assert not operator.apply(spoof("two")).ok


def test_a_namespace_goes_with_its_requests_at_once(namespace: Kubectl, alice: Kubectl) -> None:
    assert alice.apply(request()).ok
    answer = namespace("delete", "exportrequest", "one", "--timeout=5s")
    assert answer.ok, answer.error
    assert namespace("delete", "namespace", namespace.namespace, "--timeout=20s").ok
