"""Every file of manifests/samples is applied; its requests run to their end."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.cluster.kubectl import Kubectl
from tests.e2e import links
from tests.e2e.conftest import World
from tests.e2e.furniture import MASK_KEY, PLENTY
from tests.e2e.team import Team, one_object
from tests.platform import catalogue, tenants
from tests.platform.api import Json
from tests.platform.names import SAMPLES
from tests.platform.waiting import until

pytestmark = pytest.mark.e2e

FILES = sorted(SAMPLES.glob("*.yaml"))
OURS = {"app-db": "e2e-app-db", "exports-bucket": "e2e-exports-bucket", "spare-db": "e2e-spare-db"}
"""The samples' names of sources, destinations and Secrets, and those that a demo beside these tests has not."""


def document(file: Path) -> Json:
    text = file.read_text()
    for theirs, ours in OURS.items():
        text = text.replace(f"name: {theirs}", f"name: {ours}")
    found: Json = yaml.safe_load(text)
    return found


def of(*kinds: str) -> list[object]:
    return [pytest.param(file, id=file.stem) for file in FILES if document(file)["kind"] in kinds]


@pytest.fixture(scope="module")
def team(world: World) -> Iterator[Team]:
    """A tenant for whom the platform team has made what the samples show, and who has asked for all of it."""
    api, services = world.platform.api, world.platform.services
    catalogue.reader(api, services, "e2e-app-db", "e2e_samples")
    catalogue.writer(api, services, "e2e-exports-bucket")
    catalogue.secret(api, "e2e-app-db-mask", maskKey=MASK_KEY)
    catalogue.secret(api, "e2e-spare-db", username="nobody", password="nothing")
    world.storage.have_bucket("exports")
    for file in FILES:
        if (sample := document(file))["kind"] in {"ExportSource", "ExportDestination"}:
            api.apply(sample)
    made = world.team(PLENTY, label="samples")
    for file in FILES:
        if (sample := document(file))["kind"] == "ExportRequest":
            name = sample["metadata"]["name"]
            made.asked[name] = made.api.create({**sample, "metadata": {"name": name, "namespace": made.namespace}})[
                "metadata"
            ]["uid"]
    yield made
    world.leave(made)


@pytest.mark.parametrize("file", of("ExportRequest"))
def test_a_sample_of_a_request_succeeds(world: World, team: Team, file: Path) -> None:
    result = team.succeeded(document(file)["metadata"]["name"])
    assert result["rows"] > 0
    one_object(world.storage, result)


@pytest.mark.parametrize("file", of("ScheduledExport"))
def test_a_sample_of_a_schedule_is_accepted_and_waits_for_its_time(team: Team, file: Path) -> None:
    sample = document(file)
    name = sample["metadata"]["name"]
    team.api.create({**sample, "metadata": {"name": name, "namespace": team.namespace}})

    def waiting() -> bool:
        status = team.api.get("ScheduledExport", name, team.namespace).get("status") or {}
        return status.get("reason") == "Waiting" and bool(status.get("nextScheduleTime"))

    until("the schedule to wait", waiting, 30)


@pytest.mark.parametrize("file", of("ExportDownload"))
def test_a_sample_of_a_download_gets_links(world: World, team: Team, file: Path) -> None:
    sample = document(file)
    tenants.let_link(world.platform.api, team.namespace)
    team.api.create({**sample, "metadata": {**sample["metadata"], "namespace": team.namespace}})
    assert set(links.ready(team, sample["metadata"]["name"])) == {"urls", "manifestURL", "SHA256SUMS", "curl"}


@pytest.mark.parametrize("file", of("ExportPolicy", "ExportSource", "ExportDestination", "CronJob"))
def test_a_sample_for_the_platform_team_is_accepted_without_a_warning(team: Team, runs: Kubectl, file: Path) -> None:
    del team  # the run namespace is there
    answer = runs.run("apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", file)
    assert answer.stderr == ""
