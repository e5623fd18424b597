"""The cluster's processes: started apart from the terminal, found again by later commands, stopped for certain.

A process is known by its id *and* the moment it started, because ids are used again after a reboot. What a pid file
does not know (the start was interrupted between fork and write) is found by its command line.
"""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from tests.cluster import paths
from tests.cluster.problem import Problem

OURS = frozenset({"onenode", "containerd", "containerd-shim-runc-v2"})
"""What we start, by program; somebody's `tail -f` of our logs is not among them."""


def started_at(pid: int) -> str:
    """When a process started, in the kernel's ticks; "" where there is none, or only its corpse."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


class Processes:
    """The components of one cluster, with their pid files and logs in its directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.run = directory / "run"
        self.logs = directory / "log"

    def pid(self, name: str) -> int | None:
        """The process id of a component that lives."""
        try:
            pid, _, began = (self.run / f"{name}.pid").read_text().strip().partition(" ")
            return int(pid) if began and started_at(int(pid)) == began else None
        except (OSError, ValueError):
            return None

    def start(self, name: str, command: Sequence[str | Path]) -> None:
        """Start a component unless it lives."""
        if self.pid(name):
            return
        self.run.mkdir(parents=True, exist_ok=True)
        self.logs.mkdir(parents=True, exist_ok=True)
        with (self.logs / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [str(each) for each in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                start_new_session=True,  # Ctrl-C in the terminal is not meant for the cluster
            )
        try:
            (self.run / f"{name}.pid").write_text(f"{process.pid} {started_at(process.pid)}")
        except BaseException:
            process.kill()  # whom no file knows would be started a second time
            raise
        process.returncode = 0  # it outlives us: nobody waits for it

    def log_tail(self, name: str, lines: int = 15) -> str:
        try:
            text = (self.logs / f"{name}.log").read_text(errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def must_live(self, names: Iterable[str]) -> None:
        """A component that died while we wait for it will not come: say so at once, with its last words."""
        for name in names:
            if not self.pid(name):
                raise Problem(f"{name} ended; its last words ({self.logs / f'{name}.log'}):\n{self.log_tail(name)}")

    def stop(self, names: Sequence[str], grace: float = 2.0) -> None:
        """Ask the named to end, wait a little, then make them."""
        pids = [pid for name in names if (pid := self.pid(name))]
        stop(pids, grace)
        for name in names:
            (self.run / f"{name}.pid").unlink(missing_ok=True)

    def _is_here(self, words: Iterable[str]) -> bool:
        here = str(self.directory)
        return any(word == here or f"{here}/" in word for word in words)

    def strays(self) -> list[int]:
        """Processes of this cluster, whether or not a pid file knows them."""
        return [pid for pid, words in command_lines() if Path(words[0]).name in OURS and self._is_here(words[1:])]

    def others(self, mountinfo: str) -> list[Path]:
        """The directories of other clusters in this network, alive or dead: what one left mounted holds addresses."""
        alive = {directory: pid for directory, pid in clusters() if directory != self.directory}
        elsewhere = {directory for directory, pid in alive.items() if not _shares_network(pid)}
        found = re.findall(rf" (/\S*/{paths.PRODUCT}/local(?:-[\d.]+)?)/", mountinfo)
        dead = {Path(each.encode().decode("unicode_escape")) for each in found}  # odd characters are octal numbers
        return sorted((alive.keys() | dead) - elsewhere - {self.directory})


def clusters() -> Iterator[tuple[Path, int]]:
    """Each cluster that runs, by its directory, with one of its processes."""
    for pid, words in command_lines():
        if Path(words[0]).name == "onenode" and "--data-dir" in words:
            yield Path(words[words.index("--data-dir") + 1]).parent, pid


def _shares_network(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/ns/net").readlink() == Path("/proc/self/ns/net").readlink()
    except OSError:
        return False  # it has just ended


def command_lines() -> Iterator[tuple[int, list[str]]]:
    """Every process on this machine, with the words of its command line."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                yield int(entry.name), (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")


def stop(pids: Iterable[int], grace: float = 2.0) -> None:
    """SIGTERM, then SIGKILL for who is still there after `grace` seconds."""
    alive = {pid: began for pid in pids if (began := started_at(pid))}
    for sent in (signal.SIGTERM, signal.SIGKILL):
        for pid in alive:
            with suppress(ProcessLookupError):
                os.kill(pid, sent)
        deadline = time.monotonic() + grace
        while alive and time.monotonic() < deadline:
            alive = {pid: began for pid, began in alive.items() if started_at(pid) == began}
            time.sleep(0.02)
