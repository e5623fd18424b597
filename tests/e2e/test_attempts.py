"""What a hostile tenant tries, and what it sees. mallory may edit the namespace where alice exports, and may do
everything (`*` on `*`) in a namespace of her own; the policy allows both of them one dataset, with two columns."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.e2e.conftest import MakeTeam, World
from tests.e2e.furniture import DESTINATION, SOURCE
from tests.e2e.team import ENDS, Team
from tests.platform import catalogue, tenants
from tests.platform.api import Api, ApiError, Json, path
from tests.platform.names import API_VERSION, NAMESPACE, RUN_NAMESPACE
from tests.platform.waiting import together, until

pytestmark = [pytest.mark.e2e, pytest.mark.older]

GROUP = "e2e-attempts"
POLICY: Json = {
    "limits": {"user": {"requests": 1000}},
    "allowed": {
        "destinations": [DESTINATION],
        "datasets": [
            {"source": SOURCE, "dataset": "few", "columns": ["id", "email"]},
            {"source": SOURCE, "dataset": "slow"},
        ],
    },
}


@dataclass(frozen=True)
class Stage:
    """`shared` is alice's namespace, `den` mallory's own; `mallory` is her way to the API server."""

    shared: Team
    den: Team
    mallory: Api

    def create(self, kind: str, spec: Json, where: str = "", name: str = "tried", **metadata: Any) -> Json:
        """As mallory, in alice's namespace unless `where` says otherwise; with any name if it is empty."""
        called = {"name": name} if name else {"generateName": "tried-"}
        found = {**called, "namespace": where or self.shared.namespace, **metadata}
        if kind in ASKING:
            spec = {**self.den.signature(), **spec}
        return self.mallory.create({"apiVersion": API_VERSION, "kind": kind, "metadata": found, "spec": spec})

    def change(self, kind: str, name: str, **spec: Any) -> Json:
        """What is alice's, as mallory."""
        return self.mallory.patch(kind, name, self.shared.namespace, {"spec": spec})

    def end(self, where: str, name: str) -> str:
        """How mallory's request ends: phase, reason, message."""

        def look() -> Json | None:
            status: Json = self.mallory.get("ExportRequest", name, where).get("status") or {}
            return status if status.get("phase") in ENDS else None

        status = until(f"the end of {name}", look, 60)
        return f"{status['phase']} {status['reason']}: {status['message']}"

    def ask(self, **spec: Any) -> str:
        """A request of hers in her own namespace that differs from a fine one in `spec`, and its end."""
        made = self.create("ExportRequest", self.den.request("x", **spec)["spec"], self.den.namespace, "")
        return self.end(self.den.namespace, made["metadata"]["name"])

    def can(self, verb: str, group: str, resource: str, name: str = "", namespace: str = "") -> str:
        """What the API server says to `kubectl auth can-i`."""
        plural, _, sub = resource.partition("/")
        what = {"group": group, "resource": plural, "subresource": sub, "name": name}
        attributes = {"verb": verb, "namespace": namespace, **what}
        review: Json = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        answer = self.mallory.call("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review)
        return "yes" if answer["status"].get("allowed") else "no"


ASKING = {"ExportRequest", "ScheduledExport", "ExportDownload"}
"""Kinds that somebody asks by."""
SCHEDULE: Json = {"schedule": "@daily", "template": {"spec": {"source": {"name": SOURCE, "dataset": "few"}}}}
ALICE: Json = {"requester": {"username": "alice"}}


@pytest.fixture(scope="module")
def stage(world: World) -> Iterator[Stage]:
    api = world.platform.api
    # Groups are attested by the cluster alone.
    selector = {"groups": [GROUP]} if world.attests else {"users": ["alice", "mallory"]}
    api.apply(catalogue.named("ExportPolicy", GROUP, {"selector": selector, **POLICY}))
    shared, den = world.team(GROUP, user="alice", label="attempts"), world.team(GROUP, user="mallory", label="den")
    tenants.let_edit(api, shared.namespace, "mallory")
    everything(api, den.namespace, "mallory")
    shared.ask("export", source={"name": SOURCE, "dataset": "few", "columns": ["id", "email"]})
    shared.succeeded("export")
    for kind, spec in (
        ("ScheduledExport", {**SCHEDULE, "suspend": True}),
        ("ExportDownload", {"requestName": "export"}),
    ):
        metadata = {"name": "export", "namespace": shared.namespace}
        own = {**shared.signature(), **spec}
        shared.api.create({"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": own})
    yield Stage(shared, den, api.as_user("mallory", GROUP))
    for team in (shared, den):
        world.leave(team)
    api.delete("ExportPolicy", GROUP)


def everything(api: Api, namespace: str, user: str) -> None:
    """Every verb on every resource of a namespace."""
    metadata = {"name": f"everything-{user}", "namespace": namespace}
    rbac = "rbac.authorization.k8s.io"
    rule = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}
    api.apply({"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": metadata, "rules": [rule]})
    api.apply(
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": rbac, "kind": "Role", "name": metadata["name"]},
            "subjects": [{"apiGroup": rbac, "kind": "User", "name": user}],
        }
    )
    place = path("ExportUsage", "", namespace)

    def may() -> bool:
        try:
            return bool(api.as_user(user).call("GET", place))
        except ApiError:
            return False

    until(f"{user} may do everything in {namespace}", may, 15)


def source(**fields: Any) -> Json:
    return {"name": SOURCE, "dataset": "few", "columns": ["id"], **fields}


def forged_status(stage: Stage, method: str, form: str) -> Json:
    """Say that a request of her own has succeeded."""
    made = stage.create("ExportRequest", stage.den.request("x", suspend=True)["spec"], stage.den.namespace, "")
    status = {"phase": "Succeeded", "result": {"uri": "s3://e2e/other/secret.csv"}}
    place = path("ExportRequest", made["metadata"]["name"], stage.den.namespace) + "/status"
    if method == "PUT":
        return stage.mallory.call(method, place, {**made, "status": status})
    if form.startswith("application/apply"):
        metadata = {"name": made["metadata"]["name"], "namespace": stage.den.namespace}
        body = {"apiVersion": API_VERSION, "kind": "ExportRequest", "metadata": metadata, "status": status}
        return stage.mallory.call(method, f"{place}?fieldManager=export-operator&force=true", body, form)
    return stage.mallory.call(method, place, {"status": status}, form)


def born_with_a_status(stage: Stage) -> str:
    spec = stage.den.request("x", suspend=True)["spec"]
    metadata = {"generateName": "tried-", "namespace": stage.den.namespace}
    document = {"apiVersion": API_VERSION, "kind": "ExportRequest", "metadata": metadata, "spec": spec}
    made = stage.mallory.create({**document, "status": {"phase": "Succeeded"}})
    return json.dumps(made["status"])


def disguised(stage: Stage) -> str:
    """Labels, annotations and an owner that mean something to the operator, of another's run; and what came of it."""
    theirs = stage.shared.status("export")
    group = "export-operator.io"
    labels = {
        f"{group}/run": theirs["run"],
        f"{group}/request-uid": stage.shared.asked["export"],
        "app.kubernetes.io/managed-by": "export-operator",
        "kueue.x-k8s.io/queue-name": "other",
    }
    annotations = {f"{group}/request-namespace": stage.shared.namespace, f"{group}/requester": "alice"}
    # A schedule of her own: a request whose owner does not exist would be collected as garbage.
    schedule = stage.create("ScheduledExport", {**SCHEDULE, "suspend": True}, stage.den.namespace, "")["metadata"]
    owner = {"name": schedule["name"], "uid": schedule["uid"], "controller": True}
    spec = stage.den.request("x", source=source())["spec"]
    made = stage.create(
        "ExportRequest",
        spec,
        stage.den.namespace,
        "",
        labels=labels,
        annotations=annotations,
        ownerReferences=[{"apiVersion": API_VERSION, "kind": "ScheduledExport", **owner}],
    )
    name = made["metadata"]["name"]
    end = stage.end(stage.den.namespace, name)
    status = stage.mallory.get("ExportRequest", name, stage.den.namespace)["status"]
    assert status["run"] != theirs["run"]
    assert stage.den.namespace in status["result"]["uri"]
    assert made["spec"]["requester"] == {"username": "mallory"}
    return end


def same_name(stage: Stage) -> str:
    """A request called as alice's is, and its place."""
    stage.create("ExportRequest", stage.den.request("x", source=source())["spec"], stage.den.namespace, "export")
    assert stage.end(stage.den.namespace, "export").startswith("Succeeded")
    theirs, hers = stage.shared.status("export"), stage.mallory.get("ExportRequest", "export", stage.den.namespace)
    assert hers["status"]["run"] != theirs["run"]
    return str(hers["status"]["result"]["uri"]).replace(stage.den.namespace, "DEN")


Try = Callable[[Stage], Any]
ATTEMPTS: list[tuple[str, Try, str]] = [
    # In alice's namespace, which mallory may edit.
    (
        "run another's request again",
        lambda on: on.change("ExportRequest", "export", runID="2"),
        r'spec\.runID of this request may be set only by its requester "alice"',
    ),
    (
        "cancel another's request",
        lambda on: on.change("ExportRequest", "export", cancel=True),
        r'spec\.suspend and spec\.cancel may be set only by the requester "alice"',
    ),
    (
        "suspend another's request",
        lambda on: on.change("ExportRequest", "export", suspend=True),
        r'spec\.suspend and spec\.cancel may be set only by the requester "alice"',
    ),
    (
        "point another's request at other rows",
        lambda on: on.change("ExportRequest", "export", source={"dataset": "users"}),
        r"spec\.source is immutable",
    ),
    (
        "become the requester of another's request",
        lambda on: on.change("ExportRequest", "export", requester={"username": "mallory"}),
        r"spec\.requester cannot appear, change or vanish",
    ),
    (
        "ask in another's name",
        lambda on: on.create("ExportRequest", {**on.shared.request("x")["spec"], **ALICE}),
        r'spec\.requester\.username is "alice" but you are "mallory"',
    ),
    (
        "edit another's schedule",
        lambda on: on.change("ScheduledExport", "export", template={"spec": {"source": {"dataset": "users"}}}),
        r'but for suspend, may be changed only by its requester "alice"',
    ),
    (
        "wake another's schedule",
        lambda on: on.change("ScheduledExport", "export", suspend=False),
        r'spec\.suspend and spec\.cancel may be set only by the requester "alice"',
    ),
    (
        "make a schedule in another's name",
        lambda on: on.create("ScheduledExport", {**SCHEDULE, **ALICE}),
        r'spec\.requester\.username is "alice" but you are "mallory"',
    ),
    (
        "make a schedule whose requests are in another's name",
        lambda on: on.create(
            "ScheduledExport", {**SCHEDULE, "template": {"spec": {**SCHEDULE["template"]["spec"], **ALICE}}}
        )["spec"]["template"]["spec"],
        r"^\{'source': \{'dataset': 'few', 'name': 'e2e-db'\}\}$",
    ),
    (
        "download in another's name",
        lambda on: on.create("ExportDownload", {"requestName": "export", **ALICE}),
        r'spec\.requester\.username is "alice" but you are "mallory"',
    ),
    (
        "turn another's download to something else",
        lambda on: on.change("ExportDownload", "export", requestName="other"),
        r"spec of an ExportDownload is immutable",
    ),
    # In a namespace where she may do everything: `*` holds no act-as.
    (
        "ask in another's name, where she may do everything",
        lambda on: on.create("ExportRequest", {**on.den.request("x")["spec"], **ALICE}, on.den.namespace),
        r'this is for "alice" to do, and you are "mallory"\. Your permissions have a wildcard, which grants nobody',
    ),
    (
        "forge a status by merge patch",
        lambda on: forged_status(on, "PATCH", "application/merge-patch+json"),
        "written only by",
    ),
    (
        "forge a status by apply",
        lambda on: forged_status(on, "PATCH", "application/apply-patch+yaml"),
        "written only by",
    ),
    ("forge a status by replace", lambda on: forged_status(on, "PUT", "application/json"), "status is written only by"),
    ("be born with a status", born_with_a_status, r'^\{"observedGeneration": -1\}$'),
    # What the policy does not allow.
    (
        "a destination that is not allowed",
        lambda on: on.ask(source=source(), destination={"name": "e2e-read-only"}),
        r"^Rejected DestinationNotAllowed: spec\.destination\.name: .*'e2e-read-only'",
    ),
    (
        "a source that is not allowed",
        lambda on: on.ask(source={"name": "e2e-down", "dataset": "few"}),
        r"^Rejected \w+NotAllowed: ",
    ),
    (
        "a dataset that is not allowed",
        lambda on: on.ask(source={"name": SOURCE, "dataset": "users"}),
        r"^Rejected DatasetNotAllowed: ",
    ),
    (
        "a column that is not allowed",
        lambda on: on.ask(source=source(columns=["id", "full_name"])),
        r"^Rejected ColumnNotAllowed: ",
    ),
    (
        "a column that no dataset has",
        lambda on: on.ask(source=source(columns=["id", "password"])),
        r"^Rejected Column\w+: ",
    ),
    (
        "SQL for a column",
        lambda on: on.ask(source=source(columns=['id" FROM users; --'])),
        r"^Rejected Column\w+: ",
    ),
    # Out of her part of the bucket.
    *(
        (
            f"escape by the key prefix {prefix}",
            lambda on, prefix=prefix: on.ask(source=source(), destination={"name": DESTINATION, "keyPrefix": prefix}),
            r"spec\.destination\.keyPrefix",
        )
        for prefix in ("../other", "/other", "a/../../other", "a//b", "%2e%2e/other", "a\\..\\b", "other\n")
    ),
    (
        "escape by a request's name",
        lambda on: on.create("ExportRequest", on.den.request("x")["spec"], on.den.namespace, "../x"),
        "metadata.name",
    ),
    ("take the place of another's object by its name", same_name, r"^s3://e2e/tests/DEN/export/"),
    # Where exports run.
    *(
        (
            f"{verb} {resource} where exports run",
            lambda on, a=(verb, group, resource): on.can(*a, "", RUN_NAMESPACE),
            "^no$",
        )
        for verb, group, resource in (
            ("create", "batch", "jobs"),
            ("create", "", "pods"),
            ("create", "", "pods/exec"),
            ("get", "", "pods/log"),
            ("get", "", "secrets"),
            ("list", "", "secrets"),
            ("create", "", "serviceaccounts/token"),
            ("get", "export-operator.io", "exportusages"),
            ("update", "export-operator.io", "exportusages"),
        )
    ),
    (
        "read a credential",
        lambda on: on.mallory.get("Secret", DESTINATION, RUN_NAMESPACE),
        r'cannot get resource "secrets" .* in the namespace "export-runs"',
    ),
    (
        "start a Job there",
        lambda on: on.mallory.call("POST", path("Job", "", RUN_NAMESPACE), {"metadata": {"name": "x"}, "spec": {}}),
        r'cannot create resource "jobs" .* in the namespace "export-runs"',
    ),
    (
        "become the operator",
        lambda on: on.can("create", "", "serviceaccounts/token", "export-operator", NAMESPACE),
        "^no$",
    ),
    ("impersonate", lambda on: on.can("impersonate", "", "users", "alice"), "^no$"),
    ("change a policy", lambda on: on.can("update", "export-operator.io", "exportpolicies", GROUP), "^no$"),
    # Sizes and names.
    (
        "a request of two megabytes",
        lambda on: on.ask(source=source(parameters={"since": "x" * (2 << 20)})),
        r"Too long|too large",
    ),
    (
        "a thousand columns",
        lambda on: on.ask(source=source(columns=[f"c{number}" for number in range(1000)])),
        r"spec\.source\.columns.*must have at most 256",
    ),
    (
        "a name that is too long for a label",
        lambda on: on.create("ExportRequest", on.den.request("x")["spec"], on.den.namespace, "x" * 64),
        r"metadata\.name must have at most 63 characters",
    ),
    ("labels, annotations and an owner of the operator's", disguised, r"^Succeeded Delivered"),
]


@pytest.mark.parametrize(
    ("attempt", "sees"), [pytest.param(attempt, sees, id=name) for name, attempt, sees in ATTEMPTS]
)
def test_a_hostile_tenant_sees(stage: Stage, attempt: Try, sees: str) -> None:
    try:
        seen = str(attempt(stage))
    except ApiError as error:
        seen = error.message
    assert re.search(sees, seen), seen
    # Whatever it was: what is alice's is as she left it.
    theirs = stage.shared.get("export")
    assert theirs["metadata"]["generation"] == 1
    assert theirs["status"]["phase"] == "Succeeded"


def counted(api: Api, user: str) -> list[str]:
    """The runs that the ledger counts against a user."""
    usages = api.items("ExportUsage", RUN_NAMESPACE)
    (page,) = (each["spec"] for each in usages if each["spec"]["subject"] == {"kind": "User", "name": user})
    return [entry["run"] for entry in page["entries"] if entry.get("state") != "Refunded"]


def test_a_thousand_requests_deleted_and_made_again_start_five_runs(teams: MakeTeam, world: World) -> None:
    team = teams()

    def again(first: int) -> None:
        for _ in range(first, 1000, 16):
            team.api.create(team.request(f"again-{first}"))
            team.delete(f"again-{first}")

    together(again, list(range(16)), 16)
    # Those that were gone before anybody looked at them cost nothing, so the rest of the five may still be had.
    for number in range(6):
        team.ask(f"last-{number}")
    until("the sixth waits", lambda: waits_for_quota(team, "last-"), 120)
    assert len(counted(world.platform.api, team.user)) == 5
    assert len(of_team(world, team)) <= 5


def waits_for_quota(team: Team, prefix: str) -> bool:
    """All have been decided on, and at least one waits for the window."""
    found = [
        each
        for each in team.admin.items("ExportRequest", team.namespace)
        if each["metadata"]["name"].startswith(prefix)
    ]
    decided = [(each.get("status") or {}) for each in found]
    ran = all(status.get("phase") == "Succeeded" or status.get("reason") == "QuotaExceeded" for status in decided)
    return ran and any(status.get("reason") == "QuotaExceeded" for status in decided)


def of_team(world: World, team: Team) -> list[Json]:
    """Jobs for requests of the team's namespace."""
    where = "export-operator.io/request-namespace"
    jobs = world.platform.api.items("Job", RUN_NAMESPACE)
    return [each for each in jobs if each["metadata"]["annotations"].get(where) == team.namespace]


def test_failing_on_purpose_is_not_refunded(teams: MakeTeam) -> None:
    team = teams()
    for number in range(5):
        team.ask(f"slow-{number}", dataset="slow", runDeadlineSeconds=1)
    for number in range(5):
        assert team.until(f"slow-{number}", "Failed", seconds=120)["failure"]["class"] == "Deadline"
    team.ask("sixth")
    assert team.until("sixth", "Queued")["reason"] == "QuotaExceeded"


def test_a_second_account_or_a_page_of_ones_own_is_no_second_quota(stage: Stage, world: World) -> None:
    """Accounts of a namespace share its window, and an ExportUsage outside the run namespace is nobody's ledger."""
    den, api = stage.den.namespace, world.platform.api
    quotas = []
    for name in ("first", "second"):
        user = f"system:serviceaccount:{den}:{name}"
        account, own = api.as_user(user, "system:serviceaccounts"), stage.den.signature(user)
        everything(api, den, user)
        account.create(stage.den.request(f"of-{name}", source=source(), **own))
        assert stage.end(den, f"of-{name}").startswith("Succeeded")
        quotas.append(stage.mallory.get("ExportRequest", f"of-{name}", den)["status"]["quota"][0])
    assert [each["scope"] for each in quotas] == ["Namespace", "Namespace"]
    assert quotas[1]["used"] == quotas[0]["used"] + 1
    theirs = next(each for each in api.items("ExportUsage", RUN_NAMESPACE) if each["spec"]["subject"]["name"] == den)
    empty = {"subject": theirs["spec"]["subject"], "entries": []}
    stage.create("ExportUsage", empty, den, theirs["metadata"]["name"])
    account.create(stage.den.request("of-nobody", source=source(), **own))
    assert stage.end(den, "of-nobody").startswith("Succeeded")
    assert stage.mallory.get("ExportRequest", "of-nobody", den)["status"]["quota"][0]["used"] == quotas[1]["used"] + 1
