"""Credentials are replaced while a run goes on: the kubelet renews the pod's files, and the run does not notice."""

import json
import secrets
from collections.abc import Iterator

import pytest

from tests.cluster.kubectl import Kubectl
from tests.e2e.conftest import World
from tests.e2e.furniture import BUCKET, FICKLE, SOURCE, address, destination
from tests.e2e.team import Team
from tests.platform import catalogue
from tests.platform.api import Json
from tests.platform.names import RUN_NAMESPACE
from tests.platform.storage import Storage, storage
from tests.platform.waiting import until
from tests.services import data

pytestmark = pytest.mark.e2e

NAME = "e2e-rotated"
"""Of the Secrets, sources and destinations of these tests."""
PATIENT: Json = {"runDeadlineSeconds": 300}


@pytest.fixture
def fickle(world: World) -> Iterator[Storage]:
    with storage(world.platform.services, FICKLE) as found:
        found.have_bucket(BUCKET)
        yield found


def exporting(world: World, team: Team, name: str) -> Json:
    """The pod of a run, when the first bytes of its object are made."""
    pod = team.running_pod(name)

    def look() -> bool:
        last = world.platform.api.log(pod["metadata"]["name"], RUN_NAMESPACE, 1)
        return last.startswith("{") and json.loads(last).get("bytes", 0) > 0

    until(f"bytes of {name}", look, 60)
    return pod


def renewed(world: World, runs: Kubectl, pod: Json, file: str, value: str) -> None:
    """The Secret's new value stands in the pod. A pod that changes is looked at by the kubelet at once, not within its
    minute."""
    name = pod["metadata"]["name"]
    world.platform.api.patch("Pod", name, RUN_NAMESPACE, {"metadata": {"annotations": {"looked-at": "now"}}})
    path = f"/etc/export-runner/{file}"
    until(f"the new {file}", lambda: runs.run("exec", name, "--", "cat", path, check=False).stdout == value, 120)


def keys_are(world: World, **accounts: str) -> None:
    """Who may use the S3 server besides its owner: access keys and secrets."""
    known = {
        access: {"access": access, "secret": secret, "role": "admin", "userID": 0, "groupID": 0, "projectID": 0}
        for access, secret in accounts.items()
    }
    write = "cat >/tmp/users.new && mv /tmp/users.new /tmp/users.json"
    given = json.dumps({"accessAccounts": known})
    world.platform.services.kubectl.run("exec", "-i", f"deployment/{FICKLE}", "--", "sh", "-c", write, stdin=given)


def test_a_run_goes_on_when_its_s3_key_is_replaced_and_the_old_one_taken_away(
    world: World, team: Team, runs: Kubectl, fickle: Storage
) -> None:
    api, services = world.platform.api, world.platform.services
    old, new = ((f"key{number}", secrets.token_urlsafe(24)) for number in (1, 2))

    def tell(access: str, secret: str) -> None:
        catalogue.secret(api, NAME, AWS_ACCESS_KEY_ID=access, AWS_SECRET_ACCESS_KEY=secret)

    keys_are(world, **dict([old]))
    tell(*old)
    api.apply(destination(services, NAME, endpoint=address(FICKLE), credentialsSecret={"name": NAME}))
    team.ask("rotated", "paced", destination={"name": NAME}, **PATIENT)
    pod = exporting(world, team, "rotated")
    keys_are(world, **dict([old, new]))
    tell(*new)
    renewed(world, runs, pod, "destination/AWS_ACCESS_KEY_ID", new[0])
    keys_are(world, **dict([new]))
    assert team.status("rotated")["phase"] == "Running"
    result = team.succeeded("rotated")
    assert team.status("rotated")["attempts"] == 1
    assert world.database.compare_csv(fickle.read(result["uri"]), "users", data.COLUMNS).none
    assert fickle.uploads(BUCKET) == []


def test_a_run_whose_session_ends_logs_in_with_the_new_password(world: World, team: Team, runs: Kubectl) -> None:
    api, services = world.platform.api, world.platform.services
    catalogue.reader(api, services, NAME, NAME)
    source = api.get("ExportSource", SOURCE)
    spec = {**source["spec"], "credentialsSecret": {"name": NAME}}
    api.apply(catalogue.named("ExportSource", NAME, spec))
    team.ask("rotated", "paced", source={"name": NAME, "dataset": "paced"}, **PATIENT)
    pod = exporting(world, team, "rotated")
    password = secrets.token_urlsafe(18)
    services.psql(data.reader_sql(NAME, password))
    catalogue.secret(api, NAME, username=NAME, password=password)
    renewed(world, runs, pod, "source/password", password)
    ended = services.psql(f"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = '{NAME}'")
    assert int(ended) == 1
    result = team.succeeded("rotated", 120)
    assert team.status("rotated")["attempts"] == 1
    assert world.database.compare_csv(world.storage.read(result["uri"]), "users", data.COLUMNS).none
