"""Images for the local provider: built by buildah on a base that is made here, as there is no registry to pull from."""

import json
import tempfile
from pathlib import Path

from tests.cluster import digests, golang, locks, netconfig, paths, say, shell
from tests.cluster.local import store
from tests.cluster.local.provider import Local

SUITE = "trixie"
PYTHON_BASE = "localhost/python:3.13-slim"
UV_BASE = "localhost/uv:local"
UV_VERSION = "0.13.9"
BASE_PACKAGES = "python3,ca-certificates,tzdata"
TRIMMED = ("/usr/share/man/*", "/usr/share/locale/*", "/usr/share/doc/*", "/usr/share/info/*")
UNTAGGED_KEPT = 60
"""Layers that buildah may keep for later builds. Past that all go, and the next build is a slow one."""


class LocalBuilder:
    """buildah on one side, the cluster's containerd on the other."""

    base = digests.of([SUITE, BASE_PACKAGES, *TRIMMED, UV_VERSION])

    def __init__(self, cluster: Local) -> None:
        self._containerd = cluster.containerd

    def known(self, reference: str) -> str:
        return reference

    def loaded(self) -> set[str]:
        return self._containerd.images()

    def build(self, dockerfile: str, context: Path, reference: str) -> None:
        if store.has(reference):
            return
        make_bases()
        with tempfile.TemporaryDirectory() as directory:
            file = Path(directory) / "Dockerfile"
            file.write_text(dockerfile)
            volumes = [f"--volume={source}:{place}:ro" for source, place in netconfig.mounts(Path(directory)).items()]
            bases = [f"--build-arg=BASE_IMAGE={PYTHON_BASE}", f"--build-arg=UV_IMAGE={UV_BASE}"]
            shape = ["--isolation=chroot", "--layers", "--force-rm", "--format=docker", "--pull-never"]
            store.buildah("build", "--quiet", *shape, *bases, *volumes, "-t", reference, "-f", file, context)

    def load(self, reference: str) -> str:
        self._containerd.load(reference)
        return reference

    def used(self) -> str:
        return self._containerd.used()

    def remove(self, references: list[str]) -> None:
        self._containerd.remove(references)
        if references:
            store.buildah("rmi", *references, check=False)
        store.buildah("rm", "--all", check=False)  # what interrupted builds have left
        untagged = store.buildah("images", "--filter", "dangling=true", "--quiet", check=False).stdout.split()
        if len(untagged) > UNTAGGED_KEPT:
            store.buildah("rmi", "--prune", check=False)


def make_bases() -> None:
    """Have what the Dockerfiles build on, under names of our own."""
    with locks.exclusive("base-images"):
        if not store.has(_versioned(UV_BASE)):
            _make_uv()
        if not store.has(_versioned(PYTHON_BASE)):
            _make_python()


def _versioned(reference: str) -> str:
    """The same, with a tag by which we see that the recipe has changed since."""
    return f"{reference.rpartition(':')[0]}:{LocalBuilder.base}"


def _make_uv() -> None:
    """uv as its publisher's image has it: one file in the root."""
    unpacked = locks.built(paths.cache() / "wheels" / f"uv-{UV_VERSION}", _unpack_uv)
    program = next(each for each in unpacked.rglob("bin/uv"))
    store.from_files(UV_BASE, {program: "/uv"}, [])
    store.buildah("tag", UV_BASE, _versioned(UV_BASE))


def _unpack_uv(directory: Path) -> None:
    with say.step("fetching uv"):
        golang.install_wheel(f"uv=={UV_VERSION}", directory)


def _make_python() -> None:
    """Debian's own Python 3.13 on a minimal root file system: what python:3.13-slim is to others."""
    mirror = netconfig.debian_mirror()
    options = [f"--aptopt={line}" for line in netconfig.apt_options()]
    options += ['--aptopt=Acquire::Languages "none"', '--aptopt=APT::Install-Recommends "false"']
    options += [f"--dpkgopt=path-exclude={each}" for each in TRIMMED]
    options += ["--dpkgopt=path-include=/usr/share/doc/*/copyright"]
    hook = '--customize-hook=ln -s python3 "$1/usr/bin/python"'
    with say.step(f"making the base image (Debian {SUITE} with Python 3.13)"):
        work = store.home() / "tmp"
        work.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=work) as directory:
            root = Path(directory) / "root.tar"
            shape = ["--quiet", "--variant=minbase", f"--include={BASE_PACKAGES}", *options, hook]
            shell.run(["mmdebstrap", *shape, SUITE, root, *([mirror] if mirror else [])], env={"TMPDIR": directory})
            path = "/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin"
            config = ["--env", f"PATH={path}", "--env", "LANG=C.UTF-8", "--cmd", json.dumps(["python3"])]
            store.from_files(PYTHON_BASE, {root: "/"}, config)
        store.buildah("tag", PYTHON_BASE, _versioned(PYTHON_BASE))
