"""Of another process, since this one must not leave its mount namespace."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.paths import REPOSITORY

pytestmark = pytest.mark.unit

WITHIN = """
import os, pathlib, signal, sys
from tests.bench.mounted import large_pages
directory = pathlib.Path(sys.argv[1])
with large_pages(directory, 8 * 1024 * 1024) as large:
    (directory / "seen").write_text("")
    print(large, os.statvfs(directory).f_blocks * os.statvfs(directory).f_frsize == 8 * 1024 * 1024, flush=True)
    if sys.argv[2] == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
print(os.listdir(directory))
"""


def within(directory: Path, end: str) -> list[str]:
    command = [sys.executable, "-c", WITHIN, str(directory), end]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == (-signal.SIGKILL if end == "killed" else 0), done.stderr
    return done.stdout.splitlines()


def test_what_is_written_to_memory_of_large_pages_is_seen_by_nobody_else_and_gone_afterwards(tmp_path: Path) -> None:
    allowed = os.geteuid() == 0
    assert within(tmp_path, "ended") == [f"{allowed} {allowed}", "[]" if allowed else "['seen']"]
    assert list(tmp_path.iterdir()) == ([] if allowed else [tmp_path / "seen"])


def test_who_is_killed_leaves_nothing_mounted(tmp_path: Path) -> None:
    allowed = os.geteuid() == 0
    assert within(tmp_path, "killed") == [f"{allowed} {allowed}"]
    assert list(tmp_path.iterdir()) == ([] if allowed else [tmp_path / "seen"])
    assert str(tmp_path) not in Path("/proc/mounts").read_text()
