"""Who asks is attested by the cluster: stamped, checked, and never changed afterwards."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.api.kubectl import Kubectl, Object, download, request, schedule

pytestmark = pytest.mark.e2e

Make = Callable[..., Object]
EACH_KIND = pytest.mark.parametrize("make", [request, schedule, download], ids=lambda make: make.__name__)
SERVER_SIDE = ("--server-side", "--force-conflicts")
ALICE = {"username": "alice", "groups": ["system:authenticated", "analysts"]}


def spoof(make: Make = request, name: str = "one") -> Object:
    return make(name, requester={"username": "bob"})


def kind(make: Make) -> str:
    return str(make()["kind"])


def allow(namespace: Kubectl, verb: str, name: str, *subject: str) -> None:
    """Let somebody have a verb on a requester in this namespace."""
    rule: Object = {"apiGroups": ["export-operator.io"], "resources": ["requesters"], "verbs": [verb]}
    if name:
        rule["resourceNames"] = [name]
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": verb},
        "rules": [rule],
    }
    assert namespace.apply(role).ok
    assert namespace("create", "rolebinding", verb, f"--role={verb}", *subject).ok


def may_act_as_bob(who: Kubectl, namespace: str) -> bool:
    attributes = {"verb": "act-as", "group": "export-operator.io", "resource": "requesters", "name": "bob"}
    review: Object = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {**attributes, "namespace": namespace}},
    }
    return bool(who("create", "--validate=false", "-f", "-", "-o", "json", stdin=review).json()["status"]["allowed"])


@pytest.mark.older
@pytest.mark.parametrize("name", ["check-identity", "guard-status", "warn-act-as"])
def test_the_policies_compile_without_a_warning(admin: Kubectl, name: str) -> None:
    policy = admin.get("validatingadmissionpolicy", f"{name}.export-operator.io")
    assert policy["status"]["observedGeneration"] == policy["metadata"]["generation"]
    assert policy["status"].get("typeChecking") in (None, {})


@EACH_KIND
def test_the_one_who_asks_is_stamped(alice: Kubectl, make: Make) -> None:
    assert alice.apply(make()).ok
    spec = alice.get(kind(make), "one")["spec"]
    assert spec["requester"] == {"username": "alice"}
    assert spec["submittedBy"] == ALICE


@EACH_KIND
@pytest.mark.parametrize("options", [(), ("--server-side",), SERVER_SIDE], ids=" ".join)
def test_a_forged_requester_is_refused_and_told_how_it_could_be_allowed(
    alice: Kubectl, namespace: Kubectl, make: Make, options: tuple[str, ...]
) -> None:
    answer = alice.apply(spoof(make), *options)
    assert not answer.ok
    assert (
        'spec.requester.username is "bob" but you are "alice": remove spec.requester to ask for yourself, or have the '
        "platform team grant you the verb act-as on requesters.export-operator.io/bob in namespace "
        + namespace.namespace
    ) in answer.error


@EACH_KIND
def test_a_forged_submitter_is_overwritten(alice: Kubectl, make: Make) -> None:
    forged = {"username": "bob", "groups": ["system:masters"]}
    made = alice.dry_run(make(submittedBy=forged)).json()
    assert made["spec"]["submittedBy"] == ALICE


def test_one_may_name_oneself(alice: Kubectl) -> None:
    assert alice.dry_run(request(requester={"username": "alice"})).ok


@EACH_KIND
def test_act_as_lets_one_ask_for_another_in_that_namespace_alone(
    namespace: Kubectl, alice: Kubectl, make: Make
) -> None:
    allow(namespace, "act-as", "bob", "--user=alice")
    made = alice.dry_run(spoof(make)).json()["spec"]
    assert made["requester"] == {"username": "bob"}
    assert made["submittedBy"]["username"] == "alice"
    assert 'is "carol" but you are "alice"' in alice.dry_run(make(requester={"username": "carol"})).error
    assert [may_act_as_bob(alice, each) for each in (namespace.namespace, "default")] == [True, False]


def test_a_wildcard_lets_nobody_speak_for_another_not_even_the_administrator(namespace: Kubectl, bob: Kubectl) -> None:
    rule = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "all"}, "rules": [rule]}
    assert namespace.apply(role).ok
    assert namespace("create", "rolebinding", "all", "--role=all", "--user=alice").ok
    alice = namespace.as_user("alice")
    assert bob.apply(request("bobs")).ok
    for who in (alice, namespace):
        told = "Your permissions have a wildcard, which grants nobody the verb act-as"
        assert told in who.dry_run(spoof()).error
        assert told in who.patch("bobs", {"spec": {"runID": "2"}}).error
    # Whoever may delete a request may stop it.
    assert alice.patch("bobs", {"spec": {"cancel": True}}).ok


@EACH_KIND
def test_a_manifest_without_identity_never_differs(alice: Kubectl, bob: Kubectl, make: Make) -> None:
    manifest = make()
    assert alice.apply(manifest).ok
    before = alice.get(kind(make), "one")["spec"]
    for who in (alice, bob):
        assert who("diff", "-f", "-", stdin=manifest).code == 0
        assert who.apply(manifest).ok
        assert who.apply(manifest, *SERVER_SIDE).ok
        assert who.apply(manifest, *SERVER_SIDE).ok
        assert who("diff", *SERVER_SIDE, "-f", "-", stdin=manifest).code == 0
        assert who("replace", "-f", "-", stdin=manifest).ok
    assert alice.get(kind(make), "one")["spec"] == before


@EACH_KIND
@pytest.mark.parametrize(
    "patch",
    [{"requester": {"username": "bob"}}, {"submittedBy": {"username": "bob"}}, {"submittedBy": {"groups": ["x"]}}],
    ids=["requester", "submitter", "groups"],
)
def test_identity_cannot_change_later(alice: Kubectl, bob: Kubectl, make: Make, patch: Object) -> None:
    assert alice.apply(make()).ok
    ((field, value),) = patch.items()
    whole = make(**{field: {"username": "bob", **value}})
    operations: list[Object] = [
        {"op": "replace", "path": f"/spec/{field}/{name}", "value": each} for name, each in value.items()
    ]
    before = alice.get(kind(make), "one")["spec"]
    for who in (alice, bob):
        for answer in (
            who.patch("one", {"spec": patch}, kind=kind(make)),
            who.patch("one", operations, kind=kind(make), form="json"),
            who.apply(whole),
            who.apply(whole, *SERVER_SIDE),
            who("replace", "-f", "-", stdin=whole),
        ):
            assert "cannot appear, change or vanish" in answer.error or "is immutable" in answer.error
    assert alice.get(kind(make), "one")["spec"] == before


@EACH_KIND
def test_identity_cannot_vanish(alice: Kubectl, bob: Kubectl, make: Make) -> None:
    assert alice.apply(make()).ok
    before = alice.get(kind(make), "one")["spec"]
    removals: list[Object] = [{"op": "remove", "path": f"/spec/{field}"} for field in ("requester", "submittedBy")]
    bob.patch("one", {"spec": {"requester": None, "submittedBy": None}}, kind=kind(make))
    bob.patch("one", removals, form="json", kind=kind(make))
    assert alice.get(kind(make), "one")["spec"] == before


@pytest.mark.parametrize("spec", [{"runID": "2"}, {"cancel": True}, {"suspend": True}], ids=str)
def test_only_the_requester_starts_and_stops(alice: Kubectl, bob: Kubectl, spec: Object) -> None:
    assert alice.apply(request()).ok
    operations: list[Object] = [{"op": "add", "path": f"/spec/{name}", "value": value} for name, value in spec.items()]
    for answer in (
        bob.patch("one", {"spec": spec}),
        bob.patch("one", operations, form="json"),
        bob.apply(request(**spec)),
        bob.apply(request(**spec), *SERVER_SIDE),
        bob("replace", "-f", "-", stdin=request(**spec)),
    ):
        assert (
            'may be set only by its requester "alice"' in answer.error
            or 'only by the requester "alice"' in answer.error
        )
        assert "have the platform team grant you the verb" in answer.error
    assert alice.patch("one", {"spec": spec}).ok


def test_manage_lets_one_stop_another_but_not_start_anew(namespace: Kubectl, alice: Kubectl, bob: Kubectl) -> None:
    allow(namespace, "manage", "", "--user=bob")
    assert alice.apply(request()).ok
    assert bob.patch("one", {"spec": {"suspend": True}}).ok
    assert bob.patch("one", {"spec": {"cancel": True}}).ok
    assert (
        "spec.runID of this request may be set only by"
        in bob.patch("one", {"spec": {"cancel": False, "runID": "2"}}).error
    )


CHANGES: list[Object] = [
    {"schedule": "* * * * *"},
    {"timeZone": "Europe/Berlin"},
    {"concurrencyPolicy": "Allow"},
    {"startingDeadlineSeconds": 60},
    {"jitterSeconds": 1},
    {"successfulHistoryLimit": 0},
    {"failedHistoryLimit": 0},
    {"template": {"spec": {"source": {"name": "elsewhere"}}}},
    {"template": {"metadata": {"labels": {"a": "b"}}, "spec": {"source": {"name": "nowhere", "dataset": "users"}}}},
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: next(iter(change)))
def test_only_the_requester_changes_what_a_schedule_makes(
    namespace: Kubectl, alice: Kubectl, bob: Kubectl, change: Object
) -> None:
    allow(namespace, "manage", "", "--user=bob")
    assert alice.apply(schedule()).ok
    for answer in (
        bob.patch("one", {"spec": change}, kind="ScheduledExport"),
        bob.apply(schedule(**change), *SERVER_SIDE),
        bob("replace", "-f", "-", stdin=schedule(**change)),
    ):
        assert (
            'spec of this ScheduledExport, but for suspend, may be changed only by its requester "alice"'
            in answer.error
        )
    assert bob.patch("one", {"spec": {"suspend": True}}, kind="ScheduledExport").ok
    assert alice.patch("one", {"spec": change}, kind="ScheduledExport").ok


def test_a_schedule_is_not_anybodys_to_suspend(alice: Kubectl, bob: Kubectl) -> None:
    assert alice.apply(schedule()).ok
    answer = bob.patch("one", {"spec": {"suspend": True}}, kind="ScheduledExport")
    assert 'spec.suspend and spec.cancel may be set only by the requester "alice"' in answer.error


def test_act_as_lets_one_change_the_schedule_of_that_user(namespace: Kubectl, alice: Kubectl, bob: Kubectl) -> None:
    allow(namespace, "act-as", "alice", "--user=bob")
    assert alice.apply(schedule()).ok
    assert bob.patch("one", {"spec": {"schedule": "@daily"}}, kind="ScheduledExport").ok


def owned(name: str = "one") -> Object:
    """A request as a schedule's: its controller is a ScheduledExport."""
    owner = {
        "apiVersion": "export-operator.io/v1alpha1",
        "kind": "ScheduledExport",
        "name": "nightly",
        "uid": "0b5e9f5c-6c1d-4f0e-9a59-5d2f3c1b7a10",
        "controller": True,
    }
    made = spoof(request, name)
    made["metadata"]["ownerReferences"] = [owner]
    return made


def test_only_the_operator_asks_in_the_name_of_a_schedules_requester(
    namespace: Kubectl, alice: Kubectl, operator_account: str
) -> None:
    assert not alice.dry_run(owned()).ok
    namespace("create", "role", "fire", "--verb=create", "--resource=exportrequests.export-operator.io")
    account = operator_account.removeprefix("system:serviceaccount:")
    namespace("create", "rolebinding", "fire", "--role=fire", f"--serviceaccount={account}")
    operator = namespace.as_user(operator_account)
    made = operator.dry_run(owned()).json()["spec"]
    assert (made["requester"]["username"], made["submittedBy"]["username"]) == ("bob", operator_account)
    assert not operator.dry_run(spoof()).ok


def test_the_operator_cancels_what_a_schedule_replaces_and_nothing_else(
    namespace: Kubectl, bob: Kubectl, operator_account: str
) -> None:
    namespace("create", "role", "fire", "--verb=create,get,patch", "--resource=exportrequests.export-operator.io")
    account = operator_account.removeprefix("system:serviceaccount:")
    namespace("create", "rolebinding", "fire", "--role=fire", f"--serviceaccount={account}")
    assert bob.apply(schedule("nightly", suspend=True)).ok
    made = owned("nightly-2611250230")
    made["metadata"]["ownerReferences"][0]["uid"] = bob.get("ScheduledExport", "nightly")["metadata"]["uid"]
    operator = namespace.as_user(operator_account)
    assert operator.apply(made).ok
    assert bob.apply(request("own")).ok
    assert operator.patch("nightly-2611250230", {"spec": {"cancel": True}}).ok
    assert not operator.patch("nightly-2611250230", {"spec": {"runID": "2"}}).ok
    assert not operator.patch("own", {"spec": {"cancel": True}}).ok


def test_an_account_that_speaks_for_others_in_its_own_namespace_is_warned_of(namespace: Kubectl) -> None:
    user = f"system:serviceaccount:{namespace.namespace}:deployer"
    namespace("create", "serviceaccount", "deployer")
    namespace("create", "role", "ask", "--verb=create,get,patch", "--resource=exportrequests.export-operator.io")
    namespace("create", "rolebinding", "ask", "--role=ask", f"--serviceaccount={namespace.namespace}:deployer")
    allow(namespace, "act-as", "bob", f"--serviceaccount={namespace.namespace}:deployer")
    deployer = namespace.as_user(user)
    answer = deployer.apply(spoof())
    assert answer.ok, answer.error
    assert "Warning: Validation failed for ValidatingAdmissionPolicy 'warn-act-as" in answer.error
    assert f"{user} may act as bob and lives in namespace {namespace.namespace} itself" in answer.error
    assert "Warning" not in deployer.apply(request("own")).error


@EACH_KIND
@pytest.mark.parametrize("form", ["merge", "json", "apply", "replace"])
def test_status_cannot_be_forged_not_even_by_the_administrator(
    namespace: Kubectl, alice: Kubectl, operator_account: str, make: Make, form: str
) -> None:
    assert alice.apply(make()).ok
    forged = {"status": {"observedGeneration": 1, "reason": "Forged"}}
    for who, name in ((alice, "alice"), (namespace, "")):
        if form == "merge":
            answer = who.patch("one", forged, "--subresource=status", kind=kind(make))
        elif form == "json":
            operations: list[Object] = [{"op": "add", "path": "/status/reason", "value": "Forged"}]
            answer = who.patch("one", operations, "--subresource=status", form=form, kind=kind(make))
        elif form == "apply":
            answer = who.apply({**make(), **forged}, *SERVER_SIDE, "--subresource=status")
        else:
            whole = {**who.get(kind(make), "one"), **forged}
            answer = who("replace", "--subresource=status", "-f", "-", stdin=whole)
        assert not answer.ok
        assert f'status is written only by the operator ({operator_account}), and you are "{name}' in answer.error
    assert alice.get(kind(make), "one")["status"].get("reason") != "Forged"


def test_status_in_a_manifest_is_dropped(alice: Kubectl) -> None:
    made = alice.dry_run({**request(), "status": {"phase": "Succeeded"}}).json()
    assert made["status"] == {"observedGeneration": -1}


def test_the_operator_writes_status_but_not_the_canarys(
    namespace: Kubectl, alice: Kubectl, operator_account: str
) -> None:
    assert alice.apply(request()).ok
    operator = namespace.as_user(operator_account)
    resources = "exportrequests.export-operator.io,exportrequests.export-operator.io/status"
    namespace("create", "role", "operator", "--verb=get,patch,update", f"--resource={resources}")
    account = operator_account.removeprefix("system:serviceaccount:")
    namespace("create", "rolebinding", "operator", "--role=operator", f"--serviceaccount={account}")
    answer = operator.patch("one", {"status": {"phase": "Pending"}}, "--subresource=status", "--dry-run=server")
    assert answer.ok, answer.error
    answer = operator.patch("one", {"status": {"observedGeneration": -2}}, "--subresource=status", "--dry-run=server")
    assert "status.observedGeneration -2 is the canary's, and never written" in answer.error
    # What makes it the operator is its account: with status goes no right to ask for others.
    assert not operator.apply(spoof(name="two")).ok


LARGE_SOURCE: dict[str, Any] = {
    "name": "nowhere",
    "columns": [f"c{number:03}" + "x" * 59 for number in range(256)],
    "parameters": {f"p{number:02}": "v" * 1024 for number in range(32)},
}


def test_the_largest_objects_stay_within_what_policies_may_cost(namespace: Kubectl) -> None:
    many = namespace.as_user("alice", *(f"group-{number:03}-" + "x" * 200 for number in range(200)))
    largest = schedule(template={"spec": {"source": LARGE_SOURCE}})
    assert len(json.dumps(largest)) > 48 << 10
    for made in (request(source=LARGE_SOURCE), largest):
        answer = many.apply(made, "--server-side")
        assert answer.ok, answer.error
    stored = many.get("ScheduledExport", "one")["spec"]
    assert len(stored["submittedBy"]["groups"]) == 64
    changed = schedule(template={"spec": {"source": LARGE_SOURCE, "onDeadline": "Partial"}})
    assert many.apply(changed, *SERVER_SIDE).ok


def test_a_namespace_goes_with_its_requests_at_once(namespace: Kubectl, alice: Kubectl) -> None:
    assert alice.apply(request()).ok
    answer = namespace("delete", "exportrequest", "one", "--timeout=5s")
    assert answer.ok, answer.error
    assert namespace("delete", "namespace", namespace.namespace, "--timeout=20s").ok
