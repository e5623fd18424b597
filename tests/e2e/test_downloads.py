"""Links to exports: fetched with plain HTTP, for who may and for as long as they serve, and shown nowhere."""

import hashlib
import json
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.cluster.kubectl import Kubectl
from tests.e2e import links
from tests.e2e.conftest import World
from tests.e2e.furniture import DESTINATION, FEW, PLENTY
from tests.e2e.team import Team
from tests.platform import catalogue, tenants
from tests.platform.api import Api, ApiError, Json
from tests.platform.names import DEPLOYMENT, NAMESPACE, RUN_NAMESPACE
from tests.platform.waiting import until

pytestmark = pytest.mark.e2e

REQUEST = "users"
"""The tenant's request: a few users, as gzipped CSV."""
ACCOUNT = f"system:serviceaccount:{NAMESPACE}:export-operator"
KEY_SECONDS = 40
"""How long the key of one destination lasts, from when its links are asked for."""
SHOWN = ("ExportDownload", "ExportRequest", "ExportDestination", "Job", "Pod", "Event", "ConfigMap")


@pytest.fixture(scope="module")
def team(world: World) -> Iterator[Team]:
    """A tenant who has exported to a bucket that people reach, and once by a key that ends soon."""
    platform = world.platform
    platform.api.apply(links.reachable(platform, world.storage, "e2e-public"))
    made = world.team(PLENTY, label="downloads")
    made.ask(REQUEST, destination={"name": "e2e-public"}, output={"format": "CSV", "compression": "Gzip"})
    made.succeeded(REQUEST)
    yield made
    world.leave(made)


@pytest.fixture(scope="module")
def linked(world: World, team: Team) -> Team:
    """The same, where the operator may create Secrets."""
    tenants.let_link(world.platform.api, team.namespace)
    return team


@pytest.fixture(scope="module")
def ending(world: World, linked: Team) -> dict[str, str]:
    """Links that were made with a key that ends soon."""
    name = "e2e-ending"
    catalogue.writer(world.platform.api, world.platform.services, name)
    place = links.reachable(world.platform, world.storage, name, credentialsSecret={"name": name})
    world.platform.api.apply(place)
    linked.ask("ending", destination={"name": name})
    linked.succeeded("ending")
    end = datetime.now(UTC) + timedelta(seconds=KEY_SECONDS)
    change = {"stringData": {"AWS_CREDENTIAL_EXPIRATION": end.isoformat()}}
    world.platform.api.patch("Secret", name, RUN_NAMESPACE, change)
    links.ask(linked, "ending", "ending", expirationSeconds=3600)
    return links.ready(linked, "ending")


def test_a_namespace_in_which_no_secret_may_be_made_says_so_and_goes_on_when_one_may(world: World, team: Team) -> None:
    links.ask(team, "early", REQUEST)
    told = links.until_it_says(team, "early", "Pending", "SecretsForbidden")
    assert "downloads.namespaces" in told["message"]
    tenants.let_link(world.platform.api, team.namespace)
    # It would look again within a minute; a change makes it look now.
    world.platform.api.patch("ExportDownload", "early", team.namespace, {"metadata": {"labels": {"look": "now"}}})
    assert links.ready(team, "early")
    world.platform.api.delete("RoleBinding", "export-operator-downloads", team.namespace)


def test_a_link_that_is_fetched_with_plain_http_gives_what_was_delivered(
    world: World, linked: Team, ending: dict[str, str]
) -> None:
    result = linked.status(REQUEST)["result"]
    links.ask(linked, "plain", REQUEST)
    found = links.ready(linked, "plain")
    (url,) = found["urls"].split()
    code, content = links.fetch(url)
    assert (code, len(content), hashlib.sha256(content).hexdigest()) == (200, result["bytes"], result["sha256"])
    assert content == world.storage.read(result["uri"])
    assert found["SHA256SUMS"] == f"{result['sha256']}  {REQUEST}.csv.gz\n"
    code, manifest = links.fetch(found["manifestURL"])
    assert (code, json.loads(manifest)["rows"]) == (200, FEW)
    bare = url.partition("?")[0]
    assert links.fetch(bare)[0] == 403
    assert links.fetch(url.replace(f"/{REQUEST}.csv.gz", "/manifest.json"))[0] == 403
    assert ending["urls"] != found["urls"]


def test_curl_and_sha256sum_take_the_secret_as_the_guide_says(linked: Team, tmp_path: Path) -> None:
    linked.ask("parts", destination={"name": "e2e-public"}, output={"format": "Parquet", "layout": "PartObjects"})
    links.ask(linked, "parts", "parts")  # at once: it waits for the run
    found = links.ready(linked, "parts")
    for command, given in (("curl --silent --show-error --config -", "curl"), ("sha256sum --check", "SHA256SUMS")):
        ended = subprocess.run(command.split(), input=found[given], cwd=tmp_path, text=True, capture_output=True)  # noqa: PLW1510
        assert ended.returncode == 0, ended.stderr
    assert sorted(each.name for each in tmp_path.iterdir()) == ["manifest.json", "parts-00001.parquet"]


def test_a_stranger_gets_no_links_until_it_may_act_as_the_requester(world: World, linked: Team) -> None:
    stranger = f"stranger-{linked.user}"
    tenants.let_edit(world.platform.api, linked.namespace, stranger)
    theirs = world.platform.api.as_user(stranger)
    before = secrets_of(world, linked)
    links.ask(linked, "theirs", REQUEST, theirs)
    told = links.until_it_says(linked, "theirs", "Failed", "NotAllowed")
    assert (linked.user in told["message"], "secretRef" in told, secrets_of(world, linked)) == (True, False, before)
    with pytest.raises(ApiError, match=f'spec.requester.username is "{linked.user}" but you are "{stranger}"'):
        links.ask(linked, "forged", REQUEST, theirs, requester={"username": linked.user})
    let_act(world, linked, stranger)
    links.ask(linked, "granted", REQUEST, theirs)
    assert links.fetch(links.ready(linked, "granted")["urls"].strip())[0] == 200


def let_act(world: World, team: Team, user: str) -> None:
    """The verb act-as for the tenant's own name, in its namespace."""
    group = "rbac.authorization.k8s.io"
    metadata = {"name": "act-as-tenant", "namespace": team.namespace}
    rule = {
        "apiGroups": ["export-operator.io"],
        "resources": ["requesters"],
        "resourceNames": [team.user],
        "verbs": ["act-as"],
    }
    role = {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": metadata, "rules": [rule]}
    binding = {
        "apiVersion": f"{group}/v1",
        "kind": "RoleBinding",
        "metadata": metadata,
        "roleRef": {"apiGroup": group, "kind": "Role", "name": "act-as-tenant"},
        "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
    }
    for document in (role, binding):
        world.platform.api.apply(document)
    until("the right to act", lambda: may_act(world.platform.api.as_user(user), team), 15)


def may_act(user: Api, team: Team) -> bool:
    """Whether the API server has heard of it. kubectl cannot ask about a resource that does not exist."""
    attributes = {
        "namespace": team.namespace,
        "verb": "act-as",
        "group": "export-operator.io",
        "resource": "requesters",
        "name": team.user,
    }
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    answer = user.call("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review)
    return bool(answer["status"].get("allowed"))


def secrets_of(world: World, team: Team) -> list[str]:
    return sorted(each["metadata"]["name"] for each in world.platform.api.items("Secret", team.namespace))


@pytest.mark.parametrize("verb", ["get", "list", "watch", "update", "patch", "delete"])
def test_the_operator_may_make_secrets_of_tenants_and_nothing_else_with_them(
    linked: Team, world: World, verb: str
) -> None:
    kubectl = Kubectl(world.platform.cluster, linked.namespace)
    question = ("auth", "can-i", verb, "secrets", f"--as={ACCOUNT}")
    assert kubectl.run(*question, check=False).stdout.strip() == "no"


def test_no_link_shows_in_any_object_log_or_event(world: World, operator: Kubectl, linked: Team) -> None:
    links.ask(linked, "hidden", REQUEST)
    found = links.ready(linked, "hidden")
    signature = found["urls"].strip().rpartition("X-Amz-Signature=")[2]
    assert len(signature.partition("&")[0]) == 64
    api = world.platform.api
    texts = {kind: json.dumps(api.items(kind)) for kind in SHOWN}
    texts["the operator's log"] = operator.output("logs", f"deployment/{DEPLOYMENT}")
    assert [where for where, text in texts.items() if "X-Amz-" in text or signature in text] == []
    assert "hidden" in texts["ExportDownload"]
    assert "LinksMade" in texts["Event"]


def test_links_end_with_the_key_that_signed_them_and_download_and_secret_go(
    world: World, linked: Team, ending: dict[str, str]
) -> None:
    found = links.status(linked, "ending")
    gone = not found  # the tests before this one may have taken the time
    if not gone:
        assert "they end with the key" in found["message"]
        end = datetime.fromisoformat(found["expirationTime"])
        assert end - datetime.now(UTC) <= timedelta(seconds=KEY_SECONDS)
    until("the download to go", lambda: not links.status(linked, "ending"), KEY_SECONDS + 20)
    owners = "the Secret to go with it"
    until(owners, lambda: not any(name.startswith("ending-") for name in secrets_of(world, linked)), 30)
    # The bucket counts whole seconds from when a link was signed, a moment after the key's end was read.
    until("the link to be refused", lambda: links.fetch(ending["urls"].strip())[0] == 403, 10)
    assert linked.status("ending")["phase"] == "Succeeded"


def test_links_to_what_was_removed_are_not_made(world: World, linked: Team) -> None:
    linked.ask("removed", destination={"name": DESTINATION})
    result: Json = linked.succeeded("removed")
    bucket, _, key = result["uri"].removeprefix("s3://").partition("/")
    world.storage.client.delete_object(Bucket=bucket, Key=key)
    links.ask(linked, "removed", "removed")
    assert result["uri"] in links.until_it_says(linked, "removed", "Failed", "ObjectsNotFound")["message"]
