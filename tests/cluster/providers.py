"""The cluster that the commands, the demo and the tests mean."""

import os
from pathlib import Path
from typing import Protocol

from tests.cluster import choice, paths, say
from tests.cluster.current import Current
from tests.cluster.kind import Kind
from tests.cluster.local.provider import Local
from tests.cluster.problem import Problem


class Cluster(Protocol):
    """What each provider offers."""

    name: str

    @property
    def kubeconfig(self) -> Path:
        """Leads to the cluster as its administrator."""

    @property
    def no_proxy(self) -> list[str]:
        """What must be reached without a proxy."""

    def running(self) -> bool: ...

    def up(self) -> None:
        """Have the cluster: ready when this returns; at once if it runs."""

    def down(self) -> None:
        """Leave nothing running and nothing mounted. What was downloaded and built stays."""

    def purge(self) -> None:
        """`down`, and remove what the provider keeps between starts."""

    def status(self) -> list[tuple[str, str, str]]:
        """Rows of (what, how it is, where to look)."""

    def logs(self, component: str | None) -> list[Path]: ...


def _of(chosen: choice.Choice) -> Cluster:
    match chosen.provider:
        case "current":
            return Current()
        case "kind":
            return Kind(chosen.engine)
        case "local":
            return Local()


def _note() -> Path:
    return paths.cache() / "provider"


def remembered() -> Cluster | None:
    """The provider of the last `up`: what `env`, `status` and `down` mean when CLUSTER does not say."""
    name = os.environ.get("CLUSTER") or (_note().read_text().strip() if _note().exists() else "")
    match name:
        case "current":
            return Current()
        case "kind":
            return Kind()
        case "local":
            return Local()
    return None


def up() -> Cluster:
    """Have a cluster. Says which provider and why."""
    last = remembered()
    if last and not os.environ.get("CLUSTER") and last.running():
        last.up()
        say.line(f"cluster: {last.name} (it is running already)")
        return last
    chosen = choice.choose(choice.gather())
    say.line(f"cluster: {chosen.provider} ({chosen.why})")
    cluster = _of(chosen)
    if last and last.name not in (cluster.name, "current") and last.running():
        say.warn(f"the {last.name} cluster goes on; to stop it: CLUSTER={last.name} python -m tests.cluster down")
    _note().write_text(cluster.name + "\n")
    cluster.up()
    return cluster


def running() -> Cluster:
    """The cluster that `up` made."""
    cluster = remembered()
    if not cluster or not cluster.running():
        raise Problem("no cluster is running; start one: python -m tests.cluster up")
    return cluster


def environment(cluster: Cluster) -> dict[str, str]:
    """What a program needs in its environment to reach the cluster with kubectl, helm or a client library."""
    variables = {
        "KUBECONFIG": str(cluster.kubeconfig),
        "PATH": os.pathsep.join([str(paths.binaries()), os.environ.get("PATH", "")]),
    }
    for name in ("NO_PROXY", "no_proxy"):
        known = [each for each in os.environ.get(name, "").split(",") if each]
        direct = [*known, *(each for each in cluster.no_proxy if each not in known)]
        if direct:
            variables[name] = ",".join(direct)
    return variables
