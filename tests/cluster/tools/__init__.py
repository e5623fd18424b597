"""Programs built from their Go modules, at the versions that go.mod beside this file pins.

Each is built when it is first asked for, into the user's cache, under a name that changes with go.mod and go.sum.
"""

import os
import sys
from pathlib import Path

from tests.cluster import apt, digests, golang, locks, paths
from tests.cluster.problem import Problem
from tests.cluster.tools import kubectl

SOURCE = Path(__file__).resolve().parent
PACKAGES = {
    "helm": "helm.sh/helm/v4/cmd/helm",
    "kind": "sigs.k8s.io/kind",
    "kubeconform": "github.com/yannh/kubeconform/cmd/kubeconform",
    "toxiproxy": "github.com/Shopify/toxiproxy/v2/cmd/server",
    "versitygw": "github.com/versity/versitygw/cmd/versitygw",
}
DISTRIBUTED = {"shellcheck": "shellcheck"}
"""Programs that the distribution has: program to package."""
NAMES = (*sorted(PACKAGES), "kubectl", *DISTRIBUTED)


def path(name: str) -> Path:
    """Where the program is; built, or installed, if it is not there."""
    if name in DISTRIBUTED:
        if not (found := apt.find(name)):
            apt.need({name: DISTRIBUTED[name]})
            found = apt.find(name)
        assert found
        return found
    if name not in NAMES:
        raise Problem(f"no tool is called {name}; there are: {', '.join(NAMES)}")
    target = kubectl.path() if name == "kubectl" else _built(name)
    return _link(name, target)


def digest() -> str:
    """Changes with the version of any tool."""
    return digests.of_files(SOURCE, ["go.mod", "go.sum"])


def for_image(name: str) -> Path:
    """The same program for a container, which runs Linux whatever this machine runs."""
    return path(name) if sys.platform == "linux" else _built(name, system="linux")


def _built(name: str, system: str = "") -> Path:
    def build(directory: Path) -> None:
        args = ["-ldflags", "-s -w", "-o", str(directory / name)]
        title = f"building {name} from its Go module (once)"
        golang.build(title, args, cwd=SOURCE, package=PACKAGES[name], system=system)

    key = "-".join(each for each in (name, system, digest()) if each)
    return locks.built(paths.cache() / "tools" / key, build) / name


def _link(name: str, target: Path) -> Path:
    """The same name for every version, for PATH."""
    link = paths.binaries() / name
    if not (link.is_symlink() and link.readlink() == target):
        fresh = link.with_name(f".{name}.{os.getpid()}")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(target)
        fresh.rename(link)
    return link
