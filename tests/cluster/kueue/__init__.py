"""Kueue, built from its Go module at the version that go.mod beside this file pins; Apache-2.0, as its module says."""

import sys
from pathlib import Path

from tests.cluster import digests, golang, locks, paths

SOURCE = Path(__file__).resolve().parent
MODULE = "sigs.k8s.io/kueue"
LEAN = "all=-l -dwarf=false"
"""No inlining, no debug information: half the time to compile, and fast enough for tests."""


def version() -> str:
    return golang.version(MODULE, cwd=SOURCE)


def digest() -> str:
    """Changes with Kueue's version and with that of anything in it."""
    return digests.of([digests.of_files(SOURCE, ["go.mod", "go.sum"]), LEAN])


def manager() -> Path:
    """Kueue's program for a container, which runs Linux; built if it is not there."""

    def build(directory: Path) -> None:
        title = f"building Kueue {version()} from its Go module (once; some minutes)"
        args = ["-gcflags", LEAN, "-ldflags", "-s -w", "-o", str(directory / "manager")]
        system = "" if sys.platform == "linux" else "linux"
        golang.build(title, args, cwd=SOURCE, package=f"{MODULE}/cmd/kueue", system=system)
        golang.drop_build_cache()

    return locks.built(paths.cache() / "programs" / f"kueue-{digest()}", build) / "manager"


def chart() -> Path:
    """The Helm chart of the same version."""
    return golang.module_directory(MODULE, cwd=SOURCE) / "charts" / "kueue"
