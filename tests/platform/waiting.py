"""Waiting for a condition, with a bound. Nothing sleeps for a time that somebody guessed."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TypeVar

from tests.cluster.problem import Problem

A = TypeVar("A")
T = TypeVar("T")

PAUSE = 0.1
"""Between two looks: little against what is waited for, and much against what a look costs."""


class TooLong(Problem):
    """What was waited for did not come."""


def until(what: str, look: Callable[[], T | None], seconds: float, pause: float = PAUSE) -> T:
    """What `look` finds, as soon as it is something true. `what` says in the error what was missed."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise TooLong(f"{what}: not within {seconds:g} s")
        time.sleep(pause)


def together(work: Callable[[A], T], items: Sequence[A], at_once: int) -> list[T]:
    """What `work` makes of each item, in their order, so many at once. The first failure ends it, and so does Ctrl-C:
    a thread that waits for something holds up nobody, which those of `concurrent.futures` would."""
    todo: SimpleQueue[tuple[int, A]] = SimpleQueue()
    done: SimpleQueue[tuple[int, T | BaseException]] = SimpleQueue()
    for each in enumerate(items):
        todo.put(each)

    def serve() -> None:
        with suppress(Empty):
            while True:
                number, item = todo.get_nowait()
                try:
                    done.put((number, work(item)))
                except BaseException as error:
                    done.put((number, error))

    for _ in range(at_once):
        Thread(target=serve, daemon=True).start()
    found: dict[int, T] = {}
    for _ in items:
        number, made = done.get()
        if isinstance(made, BaseException):
            raise made
        found[number] = made
    return [found[number] for number in range(len(items))]
