"""One at a time, and all or nothing.

Two terminals, or make and pytest, may ask for the same thing at once: a lock lets the second wait for the first. What
is built appears under its name by one rename, so that a build that was interrupted is never mistaken for a whole one.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cluster import paths, say

_held: set[str] = set()


@contextmanager
def exclusive(name: str) -> Iterator[None]:
    """Hold the lock `name`. The kernel lets go of it when the holder dies, however it dies.

    A lock that this process holds already is not taken again: `up` builds images, and both want to be alone.
    """
    if name in _held:
        yield
        return
    directory = paths.cache() / "locks"
    directory.mkdir(exist_ok=True)
    descriptor = os.open(directory / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
            say.line(f"waiting for process {holder or 'unknown'}, which is busy with the same ({name})")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        _held.add(name)
        try:
            yield
        finally:
            _held.discard(name)
    finally:
        os.close(descriptor)


def built(target: Path, build: Callable[[Path], None]) -> Path:
    """`target`, a directory that `build` fills once. A failed or interrupted build leaves nothing under that name."""
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with exclusive(f"build-{target.name}"):
        if target.exists():
            return target
        for leftover in target.parent.glob(f".{target.name}.*"):
            shutil.rmtree(leftover, ignore_errors=True)
        workshop = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        try:
            workshop.chmod(0o755)
            build(workshop)
            workshop.rename(target)
        except BaseException:
            shutil.rmtree(workshop, ignore_errors=True)
            raise
    return target
