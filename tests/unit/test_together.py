"""Commands that run at once: all of them to their end, and none of their failures lost."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit
ROOT = Path(__file__).parents[2]


def together(*commands: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.together", *commands],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_each_line_stands_behind_its_commands_name() -> None:
    with together("a: echo one", "long: echo two") as running:
        out, _ = running.communicate(timeout=30)
    assert (sorted(out.splitlines()), running.returncode) == (["a    | one", "long | two"], 0)


def test_a_failure_ends_nobody_else_and_is_told(tmp_path: Path) -> None:
    end = tmp_path / "end"
    with together("fails: false", f"goes-on: sh -c 'sleep 0.2; touch {end}'") as running:
        running.communicate(timeout=30)
    assert (running.returncode, end.exists()) == (1, True)


def test_the_last_lines_of_what_failed_are_said_again_behind_all_else() -> None:
    with together("fails: sh -c 'echo why; exit 3'", "goes-on: sh -c 'sleep 0.2; echo done'") as running:
        out, _ = running.communicate(timeout=30)
    expected = ["fails   | why", "goes-on | done", "fails failed with 3. Its last lines:", "why"]
    assert (out.splitlines(), running.returncode) == (expected, 3)


def test_ctrl_c_lets_each_end_in_its_own_way(tmp_path: Path) -> None:
    ends = [tmp_path / name for name in "ab"]
    trapped = "sh -c 'trap \"touch {end}; exit 3\" INT; echo ready; while :; do sleep 0.05; done'"
    with together(*(f"{end.name}: {trapped.format(end=end)}" for end in ends)) as running:
        assert running.stdout is not None
        assert sorted(running.stdout.readline() for _ in ends) == ["a | ready\n", "b | ready\n"]
        os.killpg(running.pid, signal.SIGINT)
        running.communicate(timeout=30)
    assert (running.returncode, [end.exists() for end in ends]) == (130, [True, True])
