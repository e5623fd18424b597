"""What stands ready before the tenant asks: the platform team's part. Each step is quick when its work is done."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.cluster import images
from tests.demo.download import PUBLIC
from tests.platform import catalogue, chart, install, tenants
from tests.platform.api import Api
from tests.platform.database import Database
from tests.platform.storage import Storage
from tests.services import cluster as services

TEAM = "team-a"
ALICE = "alice"
ANYBODY_ELSE = "bob"
RUNS_OF_ALICE = 1000
"""So that nobody is kept from a demo by the demos before; everybody else has the product's five runs a day."""


@dataclass
class Clock:
    """How long each step took, in order."""

    steps: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self.steps[name] = self.steps.get(name, 0.0) + time.monotonic() - began

    @property
    def total(self) -> float:
        return sum(self.steps.values())


def build(clock: Clock) -> tuple[install.Platform, Api]:
    """Cluster, images, chart, servers; and the cluster as alice sees it."""
    with clock.step("cluster"):
        cluster = install.cluster()
    with clock.step("images"):
        built = images.build_and_load(cluster)
    with clock.step("chart"):
        chart.install(cluster, built)
    with clock.step("PostgreSQL and S3"):
        running = services.deploy(cluster, built)
    platform = install.platform(cluster, built, running)
    return platform, platform.api.as_user(ALICE)


def furnish(platform: install.Platform, storage: Storage, database: Database) -> None:
    """Data, credentials, what may be exported where, a policy, and the tenants' namespace."""
    api = platform.api
    install.load(platform.services, database)
    source, destination = catalogue.sample("source"), catalogue.sample("destination")
    catalogue.reader(api, platform.services, source["spec"]["credentialsSecret"]["name"], "exporter")
    catalogue.writer(api, platform.services, destination["spec"]["credentialsSecret"]["name"])
    storage.have_bucket(destination["spec"]["bucket"])
    destination["spec"]["publicEndpoint"] = PUBLIC
    for document in (source, destination):
        api.apply(document)
    api.apply(catalogue.named("ExportPolicy", "demo", policy(destination["metadata"]["name"])))
    tenants.namespace(api, TEAM)
    for user in (ALICE, ANYBODY_ELSE):
        tenants.let_edit(api, TEAM, user)
    tenants.let_link(api, TEAM)


def policy(destination: str) -> dict[str, object]:
    return {
        "selector": {"users": [ALICE]},
        "limits": {"windowSeconds": 86_400, "user": {"requests": RUNS_OF_ALICE}},
        "defaults": {"destination": destination, "format": "CSV", "compression": "Gzip"},
    }
