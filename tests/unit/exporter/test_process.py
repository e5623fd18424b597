"""What the process holds does not leave it by a side way."""

import subprocess
import sys

import pytest

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
