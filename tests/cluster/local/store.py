"""buildah's store, where the images of the local provider are made."""

import subprocess
from pathlib import Path

from tests.cluster import paths, shell

PAUSE = "localhost/pause:1"


def home() -> Path:
    return paths.cache() / "images"


def buildah(*args: str | Path, cwd: Path | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
    """buildah, with a store of its own, so that the machine's is left alone."""
    store: list[str | Path] = ["--root", home() / "buildah", "--runroot", home() / "run", "--storage-driver", "overlay"]
    return shell.run(["buildah", *store, *args], cwd=cwd, check=check)


def has(reference: str) -> bool:
    """Is this image in buildah's store?"""
    return buildah("inspect", "--type", "image", "--format", "{{.FromImage}}", reference, check=False).returncode == 0


def from_files(reference: str, files: dict[Path, str], config: list[str]) -> None:
    """Make an image of a few files (source to place) and nothing else."""
    container = buildah("from", "scratch").stdout.strip()
    try:
        for source, place in files.items():
            buildah("add", "--quiet", container, source, place)
        if config:
            buildah("config", *config, container)
        buildah("commit", "--quiet", container, reference)
    finally:
        buildah("rm", container, check=False)


def make_pause(program: Path) -> None:
    """The image of the process that holds a pod's namespaces."""
    if not has(PAUSE):
        from_files(PAUSE, {program: "/pause"}, ["--entrypoint", '["/pause"]', "--user", "65535:65535"])
