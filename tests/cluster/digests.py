"""Names from content: what has not changed is not built again."""

import hashlib
from collections.abc import Iterable
from pathlib import Path


def of(parts: Iterable[str | bytes]) -> str:
    """Twelve hexadecimal digits that change when any part does. Parts are framed: ("ab", "c") is not ("a", "bc")."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(f"{len(data)}:".encode())
        digest.update(data)
    return digest.hexdigest()[:12]


def of_files(root: Path, names: Iterable[str | Path]) -> str:
    """The digest of some files below `root`: their names and what is in them."""
    return of(part for name in sorted(str(each) for each in names) for part in (name, (root / name).read_bytes()))
