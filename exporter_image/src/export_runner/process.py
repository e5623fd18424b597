"""This process, as the kernel sees it."""

from __future__ import annotations

import os
import re
import resource
import sys
import time
from contextlib import suppress
from pathlib import Path

_PR_SET_DUMPABLE = 4  # prctl(2)
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # mallopt(3)
_POLARS = "_RJEM_MALLOC_CONF"  # the jemalloc that is in polars: jemalloc(3), "opt.dirty_decay_ms"
_DECAY = "dirty_decay_ms:10000"  # polars' own is half a second
_KEPT = 256 * 1024 * 1024
_LARGEST = 32 * 1024 * 1024  # that mallopt takes


def seal() -> None:
    """Credentials and rows are in this process's memory; they must not leave it by a side way.

    No core is dumped, neither to a file (RLIMIT_CORE) nor to a program of `core_pattern`, which that limit does not
    bind (core(5)); no other process of the same user reads its memory. File descriptor 2 goes nowhere: a panic of a
    compiled library writes its message there, which may quote a value. `sys.stderr` still has what we say, without what
    libraries log and warn of. Where the kernel has no such thing, it is left undone.
    """
    import ctypes
    import logging
    import warnings

    logging.lastResort = logging.NullHandler()
    warnings.simplefilter("ignore")
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    if sys.stderr is None:  # it was closed, and so 2 may be another file by now
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 - for as long as the process lives
        return
    with suppress(OSError):
        ours = os.fdopen(os.dup(2), "w", buffering=1, encoding=sys.stderr.encoding, errors="backslashreplace")
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)
        sys.stderr = ours


def tune() -> None:
    """Rows are to pass through quickly. Before any thread is started; whatever the system lacks is left undone."""
    _keep_memory()
    _give_way()


def _keep_memory() -> None:
    """What is given back is used again by this process: blocks and parts come and go all the time, and the kernel would
    hand out each of their pages anew, zeroed. One arena serves all threads, for what one gives back another takes."""
    import ctypes

    os.environ.setdefault(_POLARS, _DECAY)
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, value in ((_TRIM_THRESHOLD, _KEPT), (_MMAP_THRESHOLD, _LARGEST), (_ARENA_MAX, 1)):
            mallopt(parameter, value)


def _give_way() -> None:
    """SCHED_BATCH (sched(7)): a thread that wakes up does not push another off its processor, but waits until it is
    done or its time is up. Readers wake thousands of times a second, for a few rows each time; this way more have come
    when their turn is there. Its share of the processors is the same. ADR 0007 has what it saves."""
    with suppress(OSError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def started() -> float:
    """When the process began, on the monotonic clock, to 10 ms; now, where the kernel does not tell."""
    now = time.monotonic()
    try:
        # proc(5): field 22, in ticks since boot. The command's name may hold blanks, so count from behind it.
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        return now
    return now - age if 0 <= age < 3600 else now


def peak_memory() -> int:
    """Bytes of the largest resident set so far."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    except OSError:
        found = None
    if found:
        return int(found[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
