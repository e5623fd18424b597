"""What thousands of documents say in the same words, kept once: names of fields, reasons, what a policy gives. So a
request that has ended takes half as much."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MOST = 20_000  # texts: of a document a dozen are its own


class Words:
    """Texts that are known. Full, it begins anew: what is said often is back soon."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def shared(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """The same document, of texts that are known."""
        if len(self._known) > MOST:
            self._known.clear()
        return {self._share(name): self._share(value) for name, value in document.items()}

    def _share(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._known.setdefault(value, value)
        if isinstance(value, dict):
            return {self._share(name): self._share(item) for name, item in value.items()}
        if isinstance(value, list):
            return [self._share(item) for item in value]
        return value
