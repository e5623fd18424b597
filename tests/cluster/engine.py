"""Images by Docker or Podman: for kind, and for clusters that pull from a registry. No run of it is recorded."""

import os
from pathlib import Path

from tests.cluster import choice, shell
from tests.cluster.kind import Kind
from tests.cluster.problem import Problem

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
"""Build arguments that every engine knows without an ARG line."""


def build(engine: choice.Engine, dockerfile: str, context: Path, reference: str) -> None:
    """Build with the public base images that the Dockerfile names by default."""
    proxies = [f"--build-arg={name}={os.environ[name]}" for name in PROXIES if os.environ.get(name)]
    file = context / ".Dockerfile"
    file.write_text(dockerfile)
    command = [engine, "build", "--quiet", *proxies, "-t", reference, "-f", file, context]
    # Docker's containerd store saves an image without its attestations, and then kind's node misses them (kind #3795).
    shell.run(command, env={"BUILDX_NO_DEFAULT_ATTESTATIONS": "1"})


class KindBuilder:
    """The engine builds, kind carries the image into its node."""

    base = "public"

    def __init__(self, cluster: Kind) -> None:
        self._cluster = cluster
        self._ctr = [cluster.engine, "exec", cluster.node, "ctr", "--namespace=k8s.io"]

    def known(self, reference: str) -> str:
        return reference

    def loaded(self) -> set[str]:
        return set(shell.output([*self._ctr, "images", "ls", "-q"]).split())

    def build(self, dockerfile: str, context: Path, reference: str) -> None:
        if not shell.answers([self._cluster.engine, "image", "inspect", reference]):
            build(self._cluster.engine, dockerfile, context, reference)

    def load(self, reference: str) -> str:
        cluster = self._cluster
        if cluster.engine == "docker":
            cluster.kind("load", "docker-image", reference, "--name", cluster.cluster)
            return reference
        # kind does not see podman's images, but takes an archive of one
        archive = cluster.kubeconfig.parent / "image.tar"
        archive.unlink(missing_ok=True)
        shell.run([cluster.engine, "save", "-o", archive, reference])
        cluster.kind("load", "image-archive", archive, "--name", cluster.cluster)
        archive.unlink()
        return reference

    def used(self) -> str:
        return shell.output([*self._ctr, "containers", "ls"])

    def remove(self, references: list[str]) -> None:
        if references:
            shell.run([*self._ctr, "images", "rm", *references], check=False)
            shell.run([self._cluster.engine, "rmi", *references], check=False)


class RegistryBuilder:
    """For a cluster that is not ours: images go where it can pull them from."""

    base = "public"

    def __init__(self) -> None:
        self._registry = os.environ.get("IMAGE_REGISTRY", "").rstrip("/")
        if not self._registry:
            raise Problem(
                "CLUSTER=current pulls images from a registry: set IMAGE_REGISTRY to one that you may push to and the"
                " cluster may pull from, such as registry.example.com/team"
            )
        engines: list[choice.Engine] = ["docker", "podman"]
        answering = [engine for engine in engines if choice.answers(engine)]
        if not answering:
            raise Problem("images for CLUSTER=current are built with Docker or Podman, and neither answers")
        self._engine = answering[0]

    def known(self, reference: str) -> str:
        return reference.replace("localhost", self._registry, 1)

    def loaded(self) -> set[str]:
        """What this machine's engine has under the registry's name was pushed when it was built."""
        listed = shell.output([self._engine, "images", "--format", "{{.Repository}}:{{.Tag}}"])
        return set(listed.split())

    def build(self, dockerfile: str, context: Path, reference: str) -> None:
        build(self._engine, dockerfile, context, reference)

    def load(self, reference: str) -> str:
        pushed = self.known(reference)
        shell.run([self._engine, "tag", reference, pushed])
        if (push := shell.run([self._engine, "push", pushed], check=False)).returncode:
            shell.run([self._engine, "rmi", pushed], check=False)  # its name would say that it had been pushed
            raise Problem(f"pushing {pushed} failed:\n{push.stderr.strip()}")
        return pushed

    def used(self) -> str:
        return ""

    def remove(self, references: list[str]) -> None:
        """A registry is its owner's to tidy."""
