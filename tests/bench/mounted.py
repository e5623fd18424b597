"""A file system in memory, of large pages, for this process and those that it starts.

Small pages are what writing to memory mostly costs: with large ones the S3 server's copy of a finished object takes a
third of the time. Nobody else sees it, and it ends with the last process that does, however that one ends: this thread
moves into a mount namespace of its own (mount_namespaces(7)).
"""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NAME = "tmpfs of large pages"
_NEW_NAMESPACE = 0x00020000  # CLONE_NEWNS, unshare(2)
_PRIVATE = (1 << 14) | (1 << 18)  # MS_REC | MS_PRIVATE, mount(2)
_DETACH = 2  # MNT_DETACH, umount2(2)


@contextmanager
def large_pages(directory: Path, size: int) -> Iterator[bool]:
    """`directory`, which is empty, holds up to `size` bytes within. False, and nothing is mounted, where we may not:
    who is not root."""
    libc = ctypes.CDLL(None, use_errno=True)
    where = os.fsencode(directory)
    options = f"huge=always,mode=0755,size={size}".encode()
    done = (
        libc.unshare(_NEW_NAMESPACE) == 0
        and libc.mount(b"none", b"/", None, ctypes.c_ulong(_PRIVATE), None) == 0
        and libc.mount(b"tmpfs", where, b"tmpfs", ctypes.c_ulong(0), options) == 0
    )
    try:
        yield done
    finally:
        if done:
            libc.umount2(where, _DETACH)
