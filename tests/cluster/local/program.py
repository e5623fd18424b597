"""The one program that holds every component of Kubernetes, built once from the published Go modules."""

import os
from pathlib import Path

from tests.cluster import digests, golang, locks, paths
from tests.cluster.problem import Problem

SOURCE = Path(__file__).resolve().parent
NEWEST = "1.36"
OLDER = {"1.35": "kubernetes-1.35.mod"}
"""Releases beside the newest, with the file that pins each as go.mod pins that one."""
NAME = "onenode"
LEAN = "all=-l -dwarf=false"
"""No inlining, no debug information: half the time to compile, and the program is fast enough for tests."""


def release() -> str:
    """The release of Kubernetes that is meant, such as 1.36: KUBERNETES_VERSION in the environment chooses another."""
    wanted = os.environ.get("KUBERNETES_VERSION") or NEWEST
    if wanted not in (NEWEST, *OLDER):
        raise Problem(f"KUBERNETES_VERSION is {wanted!r}; there are: {', '.join((NEWEST, *OLDER))}")
    return wanted


def modfile() -> str:
    """The file in `SOURCE` that pins the modules of the release that is meant."""
    return OLDER.get(release(), golang.MODFILE)


def pins() -> list[str]:
    """Files whose change makes another program."""
    return [modfile(), str(Path(modfile()).with_suffix(".sum"))]


def _digest() -> str:
    return digests.of([digests.of_files(SOURCE, [*pins(), "main.go", "pause/main.go"]), LEAN])


def kubernetes() -> str:
    """The version of Kubernetes that the program is made of, such as v1.36.3."""
    return golang.version("k8s.io/kubernetes", cwd=SOURCE, modfile=modfile())


def _build(directory: Path) -> None:
    version = kubernetes()
    major, minor, _ = version.removeprefix("v").split(".")
    stamped = {"gitVersion": version, "gitMajor": major, "gitMinor": minor}
    links = " ".join(f"-X k8s.io/component-base/version.{key}={value}" for key, value in stamped.items())
    args = ["-gcflags", LEAN, "-ldflags", f"-s -w {links}", "-o", str(directory / NAME)]
    title = f"building Kubernetes {version} from its Go modules (once; some minutes)"
    golang.build(title, args, cwd=SOURCE, package=".", modfile=modfile())
    pause = ["-ldflags", "-s -w", "-o", str(directory / "pause")]
    golang.build("building the pause program", pause, cwd=SOURCE, package="./pause", modfile=modfile())
    (directory / "kubectl").symlink_to(NAME)  # the program looks at the name it is called by
    golang.drop_build_cache()


def _place() -> Path:
    return paths.cache() / "programs" / f"{NAME}-{_digest()}"


def exists() -> bool:
    """Is it built?"""
    return _place().exists()


def directory() -> Path:
    """Where the program lies; built if it does not."""
    return locks.built(_place(), _build)


def path() -> Path:
    return directory() / NAME


def kubectl() -> Path:
    return directory() / "kubectl"


def module_directory(module: str) -> Path:
    """The unpacked source of one of the program's modules: for the API descriptions inside."""
    return golang.module_directory(module, cwd=SOURCE, modfile=modfile())
