"""What follows from facts that seldom change, computed once."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")

MOST = 10_000  # as many people and shapes of requests as one catalogue is likely to see


class Memo:
    """Lives as long as the facts. Full, it begins anew: what is asked for often is back soon."""

    def __init__(self) -> None:
        self._known: dict[Hashable, Any] = {}

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """What `make` returned for `key` before, or returns now. What it raises is not remembered."""
        found: T | None = self._known.get(key)
        if found is None:
            found = make()
            if len(self._known) >= MOST:
                self._known.clear()
            self._known[key] = found
        return found
