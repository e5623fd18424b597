"""Runs several commands at once and tells their lines apart; ends when all have, with the first code that is not 0.
The last lines of those that failed are said again at the end, where they are looked for.

python -m tests.together "unit: pytest tests/unit" "cluster: python -m tests.cluster up"
"""

from __future__ import annotations

import contextlib
import shlex
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Sequence
from types import FrameType
from typing import IO

INTERRUPTED = 128 + signal.SIGINT
AGAIN_LINES = 20


def main(arguments: Sequence[str]) -> int:
    """`arguments` are names and commands, with a colon between. Ctrl-C reaches the commands by themselves, from the
    terminal: they are waited for. A SIGTERM is passed on."""
    commands = {name: shlex.split(command) for name, _, command in (each.partition(":") for each in arguments)}
    width = max(map(len, commands))
    lock = threading.Lock()
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
        for command in commands.values()
    ]

    def passed_on(number: int, _frame: FrameType | None) -> None:
        for each in running:
            each.send_signal(number)

    signal.signal(signal.SIGTERM, passed_on)
    last = [deque[str](maxlen=AGAIN_LINES) for _ in running]
    showing = [
        threading.Thread(target=_show, args=(name.ljust(width), process.stdout, lock, kept))
        for name, process, kept in zip(commands, running, last, strict=True)
    ]
    for thread in showing:
        thread.start()
    codes = [_ended(process) for process in running]
    for thread in showing:
        thread.join()
    for name, code, kept in zip(commands, codes, last, strict=True):
        if code:
            with contextlib.suppress(BrokenPipeError):
                print(f"{name} failed with {code}. Its last lines:", *kept, sep="\n", flush=True)
    return next((code for code in codes if code), 0)


def _show(name: str, lines: IO[str] | None, lock: threading.Lock, kept: deque[str]) -> None:
    assert lines is not None, "it was asked for"
    for line in map(str.rstrip, lines):
        kept.append(line)
        with lock, contextlib.suppress(BrokenPipeError):
            print(f"{name} | {line}", flush=True)


def _ended(process: subprocess.Popen[str]) -> int:
    interrupted = False
    while True:
        try:
            code = process.wait()
        except KeyboardInterrupt:
            interrupted = True
        else:
            return INTERRUPTED if interrupted else code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
