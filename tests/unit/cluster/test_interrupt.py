"""Ctrl-C: one clear line, exit code 130, and nothing that goes on behind one's back."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.platform.waiting import together, until

pytestmark = pytest.mark.unit

SLOW_DOCKER = '#!/bin/sh\necho $$ >"{started}.new" && mv "{started}.new" "{started}"\nexec sleep 600\n'
"""Asked first, as every command that needs a cluster looks for an engine."""


@pytest.mark.parametrize("command", [("tests.cluster", "up"), ("tests.demo",)], ids=" ".join)
def test_ctrl_c_ends_a_command_with_one_line(tmp_path: Path, command: tuple[str, ...]) -> None:
    started, program = tmp_path / "started", tmp_path / "bin" / "docker"
    program.parent.mkdir()
    program.write_text(SLOW_DOCKER.format(started=started))
    program.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if name not in {"CLUSTER", "KUBECONFIG"}}
    environment |= {"PATH": f"{program.parent}:{os.environ['PATH']}", "XDG_CACHE_HOME": str(tmp_path / "cache")}
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        env=environment,
        start_new_session=True,  # as a terminal has it: the signal reaches all of them
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    child = until("docker info", lambda: int(started.read_text()) if started.exists() else None, 30)
    os.killpg(process.pid, signal.SIGINT)
    out, error = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, "")
    assert error.strip().splitlines()[-1].startswith("interrupted; the same command goes on from here")
    assert "Traceback" not in error
    assert not Path(f"/proc/{child}").exists()


def test_ctrl_c_does_not_wait_for_what_threads_wait_for() -> None:
    """As pytest is interrupted in a test that does several things at once."""
    script = (
        "import os, signal, threading\n"
        "from tests.platform.waiting import together\n"
        "def work(number):\n"
        "    if number == 1:\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "    threading.Event().wait()\n"
        "together(work, range(3), 3)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == -signal.SIGINT
    assert "KeyboardInterrupt" in done.stderr


def test_things_done_together_come_in_the_order_of_the_items() -> None:
    assert together(lambda number: number * number, range(20), at_once=4) == [number * number for number in range(20)]


def test_the_first_failure_of_things_done_together_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        together(lambda number: 1 // number, [1, 0, 2], at_once=2)
