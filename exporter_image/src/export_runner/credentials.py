"""Credentials in the files of a mounted Secret, read again when they change: a long run survives their rotation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


class Files:
    """Files of a directory, each a value. Kubernetes replaces all of a Secret's at once, by a symbolic link."""

    def __init__(self, directory: str, names: Sequence[str]) -> None:
        self._directory = Path(directory)
        self._names = tuple(names)

    def read(self) -> dict[str, str]:
        """The values now, without the line break that an editor leaves at their end; absent files are left out."""
        found: dict[str, str] = {}
        for name in self._names:
            try:
                found[name] = (self._directory / name).read_text(encoding="utf-8").rstrip("\r\n")
            except (OSError, UnicodeDecodeError):
                continue
        return found
