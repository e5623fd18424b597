"""Signals for a container, on any node: a pod that sees the node's processes and finds those of the container.

Nothing inside a container can do it: the kernel shields the first process of a PID namespace from its own kind.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cluster import templates
from tests.cluster.kubectl import Kubectl
from tests.platform.api import Json
from tests.platform.install import Platform

NAMESPACE = "e2e-killer"
SIGNAL = """
for file in $(grep -ls "$0" /proc/[0-9]*/cgroup); do
  pid=${file#/proc/}; kill -"$1" "${pid%/cgroup}" && echo sent
done
exit 0
"""


class Killer:
    """Reaches containers by the id that the runtime gave them."""

    def __init__(self, kubectl: Kubectl) -> None:
        self._kubectl = kubectl

    def kill(self, pod: Json) -> bool:
        """SIGKILL to the processes of the pod's only container; False when none was there any more."""
        return self._signal("KILL", pod)

    def freeze(self, pod: Json) -> bool:
        """They stand still, and nobody notices: a node that hangs looks like that."""
        return self._signal("STOP", pod)

    def thaw(self, pod: Json) -> bool:
        """They go on, and do not know that time has passed."""
        return self._signal("CONT", pod)

    def _signal(self, signal: str, pod: Json) -> bool:
        identity = pod["status"]["containerStatuses"][0]["containerID"].rpartition("/")[2]
        assert len(identity) == 64, identity
        return "sent" in self._kubectl.output("exec", "killer", "--", "sh", "-c", SIGNAL, identity, signal)


@contextmanager
def killer(platform: Platform) -> Iterator[Killer]:
    """A killer on the cluster's node while the block runs."""
    kubectl = Kubectl(platform.cluster, NAMESPACE)
    manifest = Path(__file__).with_name("manifests") / "killer.yaml"
    kubectl.apply(templates.render(manifest.read_text(), {"NAMESPACE": NAMESPACE, "IMAGE": platform.images.postgres}))
    try:
        kubectl.run("wait", "--for=condition=Ready", "pod/killer", "--timeout=60s")
        yield Killer(kubectl)
    finally:
        kubectl.run("delete", "namespace", NAMESPACE, "--wait=false")
