"""Queues between stages, bounded by bytes: memory depends on the bounds, never on how many rows there are."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, Protocol, TypeVar

from export_runner.clock import Stop
from export_runner.errors import Stopped

WAKE_SECONDS = 0.1
"""How long a waiting stage needs at most to see that the run was asked to stop."""


class Sized(Protocol):
    @property
    def size(self) -> int:
        """Bytes that the item holds in memory."""


T = TypeVar("T", bound=Sized)


class ByteQueue(Generic[T]):
    """First in, first out, from any number of stages to any number.

    An item counts until whoever took it is `done` with it. At most `items` are held, and no more bytes than `limit`,
    except that one item of any size always passes.
    """

    def __init__(self, limit: int, items: int, stop: Stop) -> None:
        self._limit = limit
        self._most = items
        self._count = 0
        self._stop = stop
        self._items: deque[T] = deque()
        self._bytes = 0
        self._closed = False
        self._changed = threading.Condition()

    @property
    def held(self) -> int:
        """Bytes of items that wait or are worked on."""
        return self._bytes

    def put(self, item: T) -> None:
        """Waits while the queue is full. Raises `Stopped`."""
        with self._changed:
            while self._count and (self._count >= self._most or self._bytes + item.size > self._limit):
                self._wait()
            self._items.append(item)
            self._count += 1
            self._bytes += item.size
            self._changed.notify_all()

    def get(self) -> T | None:
        """The next item; None after `close`, when all have been taken. Raises `Stopped`."""
        with self._changed:
            while not self._items:
                if self._closed:
                    return None
                self._wait()
            return self._items.popleft()

    def done(self, item: T) -> None:
        """The item is not held any more."""
        with self._changed:
            self._count -= 1
            self._bytes -= item.size
            self._changed.notify_all()

    def close(self) -> None:
        """No more items come."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _wait(self) -> None:
        if self._stop.requested:
            raise Stopped
        self._changed.wait(WAKE_SECONDS)
        if self._stop.requested:
            raise Stopped
