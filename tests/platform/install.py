"""Everything at once: cluster, images, chart, services. Each step is quick when its work is done already."""

from dataclasses import dataclass

from tests.cluster import images, providers, say
from tests.cluster.kubectl import Kubectl
from tests.platform import chart
from tests.platform.api import Api
from tests.platform.database import Database
from tests.platform.names import NAMESPACE
from tests.services import cluster as services
from tests.services import data


@dataclass(frozen=True)
class Platform:
    """An installation. `kubectl` is the administrator in the operator's namespace."""

    cluster: providers.Cluster
    images: images.Images
    services: services.Services
    api: Api
    kubectl: Kubectl


def cluster() -> providers.Cluster:
    """The cluster of `tests.cluster`: started if need be, and never another that KUBECONFIG happens to name."""
    return providers.up()


def platform(found: providers.Cluster, built: images.Images, running: services.Services) -> Platform:
    return Platform(found, built, running, Api(found.kubeconfig), Kubectl(found, NAMESPACE))


def install(found: providers.Cluster) -> Platform:
    """Images, chart and services."""
    built = images.build_and_load(found)
    chart.install(found, built)
    return platform(found, built, services.deploy(found, built))


def load(running: services.Services, database: Database, rows: int = data.ROWS, scale: int = 10) -> None:
    """The users and pgbench's accounts, unless they are there."""
    if database.count("users") != rows:
        with say.step(f"loading {rows:,} users"):
            data.load_users(running, rows)
    if database.count("pgbench_accounts") != scale * 100_000:
        with say.step(f"loading {scale * 100_000:,} accounts"):
            running.pgbench(scale)
