"""The provider for a cluster that somebody else made: nothing is started, nothing is stopped."""

import os
from pathlib import Path

from tests.cluster import shell, tools
from tests.cluster.problem import Problem


class Current:
    """Wherever KUBECONFIG leads."""

    name = "current"

    @property
    def kubeconfig(self) -> Path:
        return Path(os.environ.get("KUBECONFIG") or Path.home() / ".kube" / "config")

    @property
    def no_proxy(self) -> list[str]:
        return []

    def running(self) -> bool:
        return shell.answers([tools.path("kubectl"), "--kubeconfig", self.kubeconfig, "get", "--raw", "/readyz"])

    def up(self) -> None:
        if not self.running():
            raise Problem(f"the cluster of {self.kubeconfig} does not answer")

    def down(self) -> None:
        """Not ours to stop."""

    def purge(self) -> None:
        """Not ours to remove."""

    def status(self) -> list[tuple[str, str, str]]:
        return [("API server", "ready" if self.running() else "does not answer", str(self.kubeconfig))]

    def logs(self, component: str | None) -> list[Path]:
        del component
        raise Problem("the logs of an existing cluster lie where its owner keeps them")
