"""A control group of our own, so that another kubelet on this machine is left alone."""

from pathlib import Path

from tests.cluster.problem import Problem

ROOT = Path("/sys/fs/cgroup")


def unified(root: Path = ROOT) -> bool:
    """Version 2 alone? (A hybrid machine has version 2 beside version 1, in a directory of its own.)"""
    return (root / "cgroup.controllers").exists()


def directories(name: str, root: Path = ROOT) -> list[Path]:
    """Our group in each hierarchy of this machine."""
    if unified(root):
        return [root / name]
    return [each / name for each in sorted(root.iterdir()) if each.is_dir() and not each.is_symlink()]


def up(name: str) -> None:
    if unified():
        _up_unified(name)
        return
    for directory in directories(name):
        try:
            directory.mkdir(exist_ok=True)
        except OSError:
            continue  # a directory that is no hierarchy, or is read-only
        for setting in ("cpuset.cpus", "cpuset.mems"):  # empty at first, and then nothing may run in it
            if (directory / setting).exists():
                (directory / setting).write_text((directory.parent / setting).read_text())


def _up_unified(name: str) -> None:
    wanted = {"cpu", "cpuset", "memory", "pids"}
    directory = ROOT / name
    directory.mkdir(exist_ok=True)
    for parent in (ROOT, directory):
        have = set((parent / "cgroup.controllers").read_text().split())
        if absent := wanted - have:
            raise Problem(f"the kernel gives no cgroup controllers {' '.join(sorted(absent))} in {parent}")
        control = " ".join(f"+{each}" for each in sorted(wanted))
        try:
            (parent / "cgroup.subtree_control").write_text(control)
        except OSError as error:
            raise Problem(
                f"cgroup controllers cannot be handed down from {parent}: {error}. Inside a container, start it with"
                " a cgroup namespace whose root has no processes of its own"
            ) from error


def members(name: str) -> list[int]:
    """Every process in our groups: containers, whoever started them."""
    pids: set[int] = set()
    for directory in directories(name):
        for listed in directory.rglob("cgroup.procs") if directory.exists() else []:
            try:
                pids.update(int(line) for line in listed.read_text().split())
            except OSError:
                continue
    return sorted(pids)


def down(name: str) -> None:
    """Remove our groups, children first; what is still in use stays."""
    for directory in directories(name):
        if not directory.exists():
            continue
        nested = sorted((each for each in directory.rglob("*") if each.is_dir()), reverse=True)
        for each in (*nested, directory):
            try:
                each.rmdir()
            except OSError:
                continue
