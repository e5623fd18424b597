"""Memory that is held while nobody needs it, so that it is there when somebody does.

A virtual machine may give memory that is free back to its host (free page reporting, balloons), and then waits for
the host when it is used again: seconds a GiB, for whoever writes most. What is held is let go of as others need it,
so that little is free, and given back, at any time.
"""

import mmap
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

MIB = 1024 * 1024
PIECE = 256 * MIB
FREE = 1024 * MIB
"""Bytes that stay free: more than anybody takes between two looks."""
LOOK_SECONDS = 0.025


def free() -> int:
    """Bytes of memory that nobody uses, not even for files."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemFree:"))


class Ballast:
    """Lets go by itself while it is entered; `fill` takes what is free by then."""

    def __init__(self, free: Callable[[], int] = free, piece: int = PIECE) -> None:
        """`free` tells the bytes that nobody uses; `piece` are the bytes that are taken or let go of at once."""
        self._free = free
        self._piece = piece
        self._pieces: list[mmap.mmap] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._ease, name="ballast", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()
        while self._pieces:
            self._pieces.pop().close()

    @property
    def bytes(self) -> int:
        return len(self._pieces) * self._piece

    def fill(self) -> None:
        """Takes all that is free but for some. What was free for long may have to come from the host."""
        while self._free() >= FREE + 2 * self._piece:
            piece = mmap.mmap(-1, self._piece, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            piece.madvise(mmap.MADV_HUGEPAGE)  # taken and let go of in a fraction of the time
            np.frombuffer(piece, dtype=np.uint8)[:: mmap.PAGESIZE] = 1
            self._pieces.append(piece)

    def _ease(self) -> None:
        while not self._ended.wait(LOOK_SECONDS):
            while self._pieces and self._free() < FREE:
                self._pieces.pop().close()
