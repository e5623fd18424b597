"""What the user sees while something takes long.

Everything goes to standard error, so that standard output holds only what a script would want (paths, image names,
`export` lines). On a terminal a running step shows its seconds and how far it is; elsewhere a step is one line, when it
ends, and only if it took noticeable time; a long one gives a sign of life now and then.
"""

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

NOTICEABLE = 0.5
"""Seconds under which a step that went well is not worth a line in a log file."""
SELDOM = 30.0
"""Seconds between two signs of life in a log file."""

_running: list["Step"] = []
"""The steps that run, the innermost last."""


def _terminal() -> bool:
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def paint(code: str, text: str) -> str:
    """`text` in a colour, where colours can be seen and are not declined (NO_COLOR)."""
    return f"\033[{code}m{text}\033[0m" if _terminal() and not os.environ.get("NO_COLOR") else text


def line(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def warn(text: str) -> None:
    line(f"{paint('33', 'note:')} {text}")


class Step:
    """A running step; whoever does the work may say how far it is."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.detail = ""
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def progress(self, detail: str) -> None:
        self.detail = detail

    def show(self, stop: threading.Event) -> None:
        """Until told to stop, show how far it is: on a terminal all the time, in a log file once in a while."""
        terminal = _terminal()
        pause = 0.2 if terminal else SELDOM
        while not stop.wait(pause):
            if _running[-1:] != [self]:
                continue  # a step inside this one has the line
            detail = f" {self.detail}" if self.detail else ""
            text = f"{paint('36', '…')} {self.title}{detail} ({self.seconds:.0f} s)"
            print(f"\r\033[K{text}" if terminal else text, end="" if terminal else "\n", file=sys.stderr, flush=True)


@contextmanager
def step(title: str) -> Iterator[Step]:
    """Show `title` while the block runs, and how long it took when it ended."""
    running = Step(title)
    _running.append(running)
    stop = threading.Event()
    shower = threading.Thread(target=running.show, args=(stop,), daemon=True)
    shower.start()
    good = False
    try:
        yield running
        good = True
    finally:
        stop.set()
        shower.join()
        _running.remove(running)
        if _terminal():
            print("\r\033[K", end="", file=sys.stderr)
        if _terminal() or running.seconds >= NOTICEABLE or not good:
            line(f"{paint('32', '✓') if good else paint('31', '✗')} {title} ({running.seconds:.1f} s)")
