"""This process, as the kernel sees it."""

from __future__ import annotations

import os
import re
import resource
import sys
import time
from pathlib import Path


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
