"""Waiting for a condition, with a bound. Nothing sleeps for a time that somebody guessed."""

import time
from collections.abc import Callable
from typing import TypeVar

from tests.cluster.problem import Problem

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
