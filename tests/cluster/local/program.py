"""The one program that holds every component of Kubernetes, built once from the published Go modules."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster import digests, golang, locks, paths
from tests.cluster.problem import Problem

SOURCE = Path(__file__).resolve().parent
NAME = "onenode"
LEAN = "all=-l -dwarf=false"
"""No inlining, no debug information: half the time to compile, and the program is fast enough for tests."""


@dataclass(frozen=True)
class Release:
    """How the program of a release of Kubernetes is made. `folder` in `SOURCE` has its module, `modfile` its pins."""

    folder: str = "."
    modfile: str = golang.MODFILE
    tags: str = ""
    alone: bool = False
    """Without etcd and CoreDNS: it cannot be built with the versions of modules that those need."""
    flags: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """What components of this release are told besides."""

    @property
    def module(self) -> Path:
        """The directory to build in."""
        return SOURCE / self.folder

    def pins(self) -> list[str]:
        """Files in `SOURCE` whose change makes another program."""
        both = (self.modfile, Path(self.modfile).with_suffix(".sum"))
        return [str(Path(self.folder) / name) for name in both]


NEWEST = "1.36"
RELEASES = {
    NEWEST: Release(),
    "1.35": Release(modfile="kubernetes-1.35.mod"),
    "1.30": Release(
        folder="kubernetes-1.30",
        tags="providerless",  # no clouds: their modules take longer to build than all else
        alone=True,
        flags={"kube-proxy": ("--feature-gates", "NFTablesProxyMode=true")},  # on by itself from 1.31
    ),
}


def release() -> str:
    """The release of Kubernetes that is meant, such as 1.36: KUBERNETES_VERSION in the environment chooses another."""
    wanted = os.environ.get("KUBERNETES_VERSION") or NEWEST
    if wanted not in RELEASES:
        raise Problem(f"KUBERNETES_VERSION is {wanted!r}; there are: {', '.join(RELEASES)}")
    return wanted


def made_by() -> Release:
    """How the program of the release that is meant is made."""
    return RELEASES[release()]


def kubernetes(wanted: str = "") -> str:
    """The version of Kubernetes that the program is made of, such as v1.36.3; of the release that is meant, unless one
    is `wanted`."""
    made = RELEASES[wanted or release()]
    return golang.version("k8s.io/kubernetes", cwd=made.module, modfile=made.modfile)


def _digest(wanted: str) -> str:
    made = RELEASES[wanted]
    files = [*made.pins(), str(Path(made.folder) / "main.go"), "pause/main.go"]
    return digests.of([digests.of_files(SOURCE, files), LEAN])


def _build(wanted: str, directory: Path) -> None:
    version, made = kubernetes(wanted), RELEASES[wanted]
    major, minor, _ = version.removeprefix("v").split(".")
    stamped = {"gitVersion": version, "gitMajor": major, "gitMinor": minor}
    links = " ".join(f"-X k8s.io/component-base/version.{key}={value}" for key, value in stamped.items())
    args = ["-gcflags", LEAN, "-ldflags", f"-s -w {links}", "-o", str(directory / NAME)]
    title = f"building Kubernetes {version} from its Go modules (once; some minutes)"
    golang.build(title, args, cwd=made.module, package=".", modfile=made.modfile, tags=made.tags)
    pause = ["-ldflags", "-s -w", "-o", str(directory / "pause")]
    golang.build("building the pause program", pause, cwd=SOURCE, package="./pause")
    (directory / "kubectl").symlink_to(NAME)  # the program looks at the name it is called by
    golang.drop_build_cache()


def _place(wanted: str) -> Path:
    return paths.cache() / "programs" / f"{NAME}-{_digest(wanted)}"


def exists() -> bool:
    """Is it built?"""
    return _place(release()).exists()


def directory(wanted: str = "") -> Path:
    """Where the program lies; built if it does not."""
    wanted = wanted or release()
    return locks.built(_place(wanted), lambda place: _build(wanted, place))


def path() -> Path:
    return directory() / NAME


def services() -> Path:
    """The program with etcd and CoreDNS."""
    return directory(NEWEST if made_by().alone else "") / NAME


def kubectl() -> Path:
    return directory() / "kubectl"


def module_directory(module: str) -> Path:
    """The unpacked source of one of the program's modules: for the API descriptions inside."""
    made = made_by()
    return golang.module_directory(module, cwd=made.module, modfile=made.modfile)
