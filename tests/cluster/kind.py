"""The provider for a machine with Docker or Podman: kind, built from its Go module, with a pinned node image.

No run of it is recorded: the command lines are from kind's documentation of this version.
"""

from pathlib import Path

from tests.cluster import choice, locks, paths, say, shell, tools
from tests.cluster.problem import Problem

NODE_IMAGE = "kindest/node:v1.36.1@sha256:3489c7674813ba5d8b1a9977baea8a6e553784dab7b84759d1014dbd78f7ebd5"
"""The node image that kind 0.32.0 was released with; the pin in tools/go.mod and this one change together."""
CONFIG = paths.HERE / "kind.yaml"


class Kind:
    """A cluster in one container."""

    name = "kind"
    cluster = paths.PRODUCT

    def __init__(self, engine: choice.Engine | None = None) -> None:
        self._engine = engine

    @property
    def engine(self) -> choice.Engine:
        """The engine that runs the node, and builds images."""
        if self._engine is None:
            self._engine = "docker" if choice.answers("docker") else "podman"
        return self._engine

    @property
    def kubeconfig(self) -> Path:
        return paths.cache() / "kind" / "kubeconfig"

    @property
    def node(self) -> str:
        """The container that is the node."""
        return f"{self.cluster}-control-plane"

    @property
    def no_proxy(self) -> list[str]:
        return ["127.0.0.1", "localhost"]

    def kind(self, *args: str | Path) -> str:
        """What kind said."""
        return shell.output([tools.path("kind"), *args], env={"KIND_EXPERIMENTAL_PROVIDER": self.engine})

    def _exists(self) -> bool:
        return self.cluster in self.kind("get", "clusters").split()

    def running(self) -> bool:
        if not self.kubeconfig.exists():
            return False
        return shell.answers([tools.path("kubectl"), "--kubeconfig", self.kubeconfig, "get", "--raw", "/readyz"])

    def up(self) -> None:
        if self.running():
            return
        with locks.exclusive("kind"), say.step(f"creating a cluster with kind ({NODE_IMAGE.partition('@')[0]})"):
            self.kubeconfig.parent.mkdir(parents=True, exist_ok=True)
            # One that exists and does not answer is what an interrupted start, or a restart of the machine, left.
            if self._exists():
                self.kind("delete", "cluster", "--name", self.cluster, "--kubeconfig", self.kubeconfig)
            target: list[str | Path] = ["--name", self.cluster, "--kubeconfig", self.kubeconfig]
            self.kind("create", "cluster", *target, "--config", CONFIG, "--image", NODE_IMAGE, "--wait", "120s")

    def down(self) -> None:
        with locks.exclusive("kind"), say.step("deleting the kind cluster"):
            self.kind("delete", "cluster", "--name", self.cluster, "--kubeconfig", self.kubeconfig)
            self.kubeconfig.unlink(missing_ok=True)

    def purge(self) -> None:
        """A kind cluster leaves nothing behind but the node image, which may serve others."""
        self.down()

    def status(self) -> list[tuple[str, str, str]]:
        answer = "ready" if self.running() else "does not answer"
        return [("engine", self.engine, ""), ("API server", answer, str(self.kubeconfig)), ("node", self.node, "")]

    def logs(self, component: str | None) -> list[Path]:
        directory = paths.cache() / "kind" / "logs"
        self.kind("export", "logs", directory, "--name", self.cluster)
        found = sorted(each for each in directory.rglob(f"*{component or ''}*") if each.is_file())
        if not found:
            raise Problem(f"no log has {component} in its name; all of them are in {directory}")
        return found
