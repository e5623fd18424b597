"""The distribution's packages: installed only where missing."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from tests.cluster import locks, paths, say, shell
from tests.cluster.problem import Problem

SEARCHED = ("/usr/local/sbin", "/usr/sbin", "/sbin")
"""Not on everybody's PATH, and where half of what we need lies."""


def find(program: str) -> Path | None:
    """Where a program is: looked for on PATH and in the administrator's directories; an absolute path is itself."""
    path = os.pathsep.join([os.environ.get("PATH", ""), *SEARCHED])
    found = shutil.which(program, path=path)
    return Path(found) if found else None


def missing(programs: Mapping[str, str]) -> list[str]:
    """Of `programs` (program to package), the packages whose program is not there."""
    return sorted({package for program, package in programs.items() if not find(program)})


def need(programs: Mapping[str, str]) -> None:
    """Have these programs, or say which packages to install."""
    packages = missing(programs)
    if not packages:
        return
    wanted = " ".join(packages)
    if not find("apt-get") or os.geteuid() != 0:
        raise Problem(f"missing here, and to be installed by root with the system's package manager: {wanted}")
    environment = {"DEBIAN_FRONTEND": "noninteractive"}
    get = ["apt-get", "-o", "DPkg::Lock::Timeout=300", "-qq"]
    install = [*get, "install", "--yes", "--no-install-recommends", *packages]
    with say.step(f"installing packages: {wanted}"):
        # The lists may be missing or too old to lead to a file that still exists; asking for new ones costs seconds,
        # so it is the second try.
        if shell.run(install, env=environment, check=False).returncode:
            shell.run([*get, "update"], env=environment)
            shell.run(install, env=environment)
        if "containerd" in packages and Path("/run/systemd/system").exists():
            shell.run(["systemctl", "disable", "--now", "containerd"], check=False)  # we run our own
    if still := missing(programs):
        raise Problem(f"installed, and yet these programs are not found: {' '.join(still)}")


def unpacked(package: str) -> Path:
    """The files of a package, beside the system: it is not installed, nothing of it is started, and nobody is root."""

    def unpack(directory: Path) -> None:
        if not find("apt-get"):
            raise Problem(f"missing here, and to be installed with the system's package manager: {package}")
        download = ["apt-get", "-qq", "download", package]
        with say.step(f"fetching package {package}"):
            if shell.run(download, cwd=directory, check=False).returncode:
                shell.run(["apt-get", "-qq", "update"])
                shell.run(download, cwd=directory)
            (archive,) = directory.glob("*.deb")
            shell.run(["dpkg-deb", "--extract", archive, directory])
            archive.unlink()

    return locks.built(paths.cache() / "packages" / package, unpack)
