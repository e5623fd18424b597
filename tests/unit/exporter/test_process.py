"""What the process holds does not leave it by a side way, and what it asks of the kernel."""

import subprocess
import sys

import pytest

from export_runner import process

pytestmark = pytest.mark.unit

SEALED = """
import ctypes, logging, os, resource, sys, warnings
from export_runner import process
logging.getLogger("library").warning("before")
process.seal()
os.write(2, b"a library's own words")
logging.getLogger("library").warning("a library's log")
warnings.warn("a library's warning")
print(resource.getrlimit(resource.RLIMIT_CORE), ctypes.CDLL(None).prctl(3))
print("ours", file=sys.stderr)
os.abort()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_a_sealed_process_dumps_no_core_and_says_nothing_but_its_own_words() -> None:
    done = subprocess.run([sys.executable, "-c", SEALED], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("(0, 0) 0\n", "before\nours\n")


def test_without_a_standard_error_a_process_is_sealed_and_speaks_to_nobody() -> None:
    spoken = "import sys; from export_runner import process; process.seal(); print('ours', file=sys.stderr, flush=True)"
    command = ["sh", "-c", 'exec "$0" -c "$1" 2>&-', sys.executable, spoken]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


TUNED = """
import os, threading
from export_runner import process
process.tune()
told = []
thread = threading.Thread(target=lambda: told.append(os.sched_getscheduler(0)))
thread.start()
thread.join()
print(told == [os.SCHED_BATCH])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="SCHED_BATCH is Linux's")
def test_no_thread_of_a_tuned_process_pushes_others_off_their_processor() -> None:
    done = subprocess.run([sys.executable, "-c", TUNED], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_a_kernel_that_refuses_the_tuning_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setenv("_RJEM_MALLOC_CONF", "dirty_decay_ms:500")  # is left as well, and not given to other tests
    monkeypatch.setattr("os.sched_setscheduler", refuse, raising=False)
    monkeypatch.setattr("ctypes.CDLL", refuse)
    process.tune()
