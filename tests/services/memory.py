"""A limit on the memory of processes, as a container has one: a control group, at whose limit the kernel kills.

    with memory.group(256) as group:
        subprocess.Popen([*group.prefix, "program"])
        group.fill()                        # another process takes what is left

docs.kernel.org/admin-guide/cgroup-v2.html, and cgroup-v1/memory.html where machines still have that.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

MIB = 1024 * 1024
_LIMITS = {Path("/sys/fs/cgroup/memory"): "memory.limit_in_bytes", Path("/sys/fs/cgroup"): "memory.max"}
_JOIN = 'echo $$ > "$0"'
_FIRST = "echo 1000 > /proc/self/oom_score_adj"
"""Of several processes the kernel kills this one first, as it does with a container's."""
_GREEDY = """
taken = []
while True:
    taken.append(bytes([1]) * (1 << 20))
"""


@dataclass
class Group:
    """Processes that share so much memory."""

    directory: Path
    _fillers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def prefix(self) -> list[str]:
        """Before a command line: it runs in the group, under the process id that the caller sees."""
        return self._through(f"{_JOIN} && {_FIRST}")

    def fill(self) -> None:
        """Takes memory until the kernel kills somebody for it, and then itself."""
        self._fillers.append(subprocess.Popen([*self._through(_JOIN), sys.executable, "-c", _GREEDY]))

    def _through(self, script: str) -> list[str]:
        return ["sh", "-c", f'{script} && exec "$@"', str(self.directory / "cgroup.procs")]

    def close(self) -> None:
        """Ends what `fill` started."""
        for each in self._fillers:
            each.kill()
            each.wait()


@contextmanager
def group(mebibytes: int) -> Iterator[Group | None]:
    """A group with so much memory; None where we may not make one, which takes root and a writable hierarchy."""
    made = _make(mebibytes * MIB)
    if made is None:
        yield None
        return
    try:
        yield made
    finally:
        made.close()
        with suppress(OSError):
            made.directory.rmdir()


def _make(limit: int) -> Group | None:
    for root, name in _LIMITS.items():
        directory = root / f"export-operator-tests-{os.getpid()}"
        with suppress(OSError):
            directory.mkdir(exist_ok=True)
            (directory / name).write_text(str(limit))
            return Group(directory)
        with suppress(OSError):
            directory.rmdir()
    return None
