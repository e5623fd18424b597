"""kubectl: whichever is at hand and of the right age, or else one of our own."""

import json
from pathlib import Path

from tests.cluster import apt, digests, golang, locks, paths, shell
from tests.cluster.local import program


def path() -> Path:
    """The local cluster's program is a kubectl too; where there is none, the machine's; else it is built."""
    if program.exists():
        return program.kubectl()
    found = apt.find("kubectl")
    if found and fits(shell.run([found, "version", "--client", "-o", "json"], check=False).stdout):
        return found
    version, made = program.kubernetes(), program.made_by()
    args = ["-ldflags", f"-s -w -X k8s.io/component-base/version.gitVersion={version}"]

    def build(directory: Path) -> None:
        output = ["-o", str(directory / "kubectl")]
        title = f"building kubectl {version} from its Go module (once)"
        golang.build(
            title,
            [*args, *output],
            cwd=made.module,
            package="k8s.io/kubernetes/cmd/kubectl",
            modfile=made.modfile,
        )

    key = digests.of_files(program.SOURCE, made.pins())
    return locks.built(paths.cache() / "tools" / f"kubectl-{key}", build) / "kubectl"


def fits(version: str) -> bool:
    """Is a kubectl (by its `version -o json`) at most one minor version away from the cluster, as is supported?"""
    try:
        minor = int(json.loads(version)["clientVersion"]["minor"].rstrip("+"))
    except (ValueError, KeyError):
        return False
    return abs(minor - int(program.kubernetes().split(".")[1])) <= 1
