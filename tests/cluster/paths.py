"""Where things lie.

Sources lie in the repository; whatever is downloaded, built or run lies in the user's cache directory, so that a
clone stays clean and two clones share one cluster.
"""

import os
import shutil
from pathlib import Path

PRODUCT = "export-operator"
REPOSITORY = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent


def cache() -> Path:
    """The one directory that holds downloads, builds and the state of the local cluster."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    directory = Path(base).absolute() / PRODUCT
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def uv() -> str | None:
    """The uv that make would take: the one that is named (`uv run` names itself), else on the PATH, else the one that
    make put into the cache."""
    cached = sorted(map(str, cache().glob("uv-*/bin/uv")))
    return os.environ.get("UV") or shutil.which("uv") or (cached[-1] if cached else None)


def binaries() -> Path:
    """Links to the tools that are built: meant for PATH."""
    directory = cache() / "bin"
    directory.mkdir(exist_ok=True)
    return directory
