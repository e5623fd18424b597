"""Of another process, since this one must not leave its mount namespace."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.paths import REPOSITORY

pytestmark = pytest.mark.unit

WITHIN = """
import os, pathlib, sys
from tests.bench.mounted import large_pages
directory = pathlib.Path(sys.argv[1])
with large_pages(directory, 8 * 1024 * 1024) as large:
    (directory / "seen").write_text("")
    print(large, os.statvfs(directory).f_blocks * os.statvfs(directory).f_frsize == 8 * 1024 * 1024)
print(os.listdir(directory))
"""


def test_what_is_written_to_memory_of_large_pages_is_seen_by_nobody_else_and_gone_afterwards(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHIN, str(tmp_path)], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    allowed = os.geteuid() == 0
    assert done.stdout.splitlines() == [f"{allowed} {allowed}", "[]" if allowed else "['seen']"]
    assert list(tmp_path.iterdir()) == ([] if allowed else [tmp_path / "seen"])
