"""Following a request: one line that changes on a terminal, a line a change elsewhere."""

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.platform.api import Json

ENDS = {"Succeeded", "PartiallySucceeded", "Failed", "Rejected", "Cancelled", "Expired"}
COLOURS = {"Succeeded": "32", "Failed": "31", "Rejected": "31", "Queued": "33"}
LOOK_EVERY = 0.1


def terminal() -> bool:
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def paint(code: str, text: str) -> str:
    return f"\033[{code}m{text}\033[0m" if code and terminal() and not os.environ.get("NO_COLOR") else text


def size(count: float) -> str:
    """Bytes for people."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


@dataclass
class Followed:
    """A request at its end, or as it was when patience ended; and when each of its phases and reasons was first seen,
    in seconds since the beginning."""

    request: Json
    seen: dict[str, float]
    seconds: float


def follow(read: Callable[[], Json], began: float, patience: float) -> Followed:
    """Print what the request says on its way, with seconds since `began`."""
    told = ""
    seen: dict[str, float] = {}
    while True:
        request = read()
        status = request.get("status") or {}
        now, elapsed = describe(status), time.monotonic() - began
        for word in (status.get("phase"), status.get("reason")):
            seen.setdefault(str(word), elapsed)
        over = status.get("phase") in ENDS or elapsed > patience
        if terminal():
            keep = over or now != told
            print(f"\r\033[K  {elapsed:5.1f} s  {now}", end="\n" if keep else "", flush=True)
        elif now != told:
            print(f"  {elapsed:5.1f} s  {now}", flush=True)
        told = now
        if over:
            return Followed(request, seen, elapsed)
        time.sleep(LOOK_EVERY)


def describe(status: Json) -> str:
    """Where a request stands, in a line."""
    phase = str(status.get("phase") or "accepted by the API server")
    line = paint(COLOURS.get(phase, "36"), phase)
    if phase not in ENDS and (reason := status.get("reason")):
        line += f" ({reason})"
    progress = status.get("progress") or {}
    if progress.get("rows"):
        percent = f" of about {progress['estimatedRows']:,}" if progress.get("estimatedRows") else ""
        line += f"  {progress['rows']:,} rows{percent}, {size(progress.get('bytes', 0))}"
    return line
