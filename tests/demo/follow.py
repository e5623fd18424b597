"""Following a request: one line that changes on a terminal, a line a change elsewhere.

What a request says of progress is written every ten seconds at most, and the demo's export takes less: so its pod is
asked as well, as the platform team may.
"""

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from export_contract.report import Progress
from tests.platform.api import Api, Json
from tests.platform.names import LABEL_RUN, RUN_NAMESPACE

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


class Logs:
    """The newest progress in the log of a run's pod."""

    def __init__(self, platform: Api) -> None:
        self._platform = platform
        self._pod = ""

    def latest(self, run: str) -> Json:
        """In the form of `status.progress`; empty while there is none."""
        if not self._pod:
            pods = self._platform.items("Pod", RUN_NAMESPACE, f"{LABEL_RUN}={run}")
            self._pod = next((pod["metadata"]["name"] for pod in pods), "")
        lines = self._platform.log(self._pod, RUN_NAMESPACE, 3).splitlines() if self._pod else []
        told = [
            progress for line in lines if (progress := Progress.from_line(line)) is not None and progress.run == run
        ]
        return shown(told[-1]) if told else {}


def shown(progress: Progress) -> Json:
    """As `status.progress` has it."""
    found: Json = {
        "rows": progress.rows,
        "bytes": progress.bytes,
        "rowsPerSecond": int(progress.rows / max(progress.elapsed_seconds, 0.001)),
    }
    if progress.estimated_rows:
        percent = min(99, progress.rows * 100 // progress.estimated_rows)
        found |= {"estimatedRows": progress.estimated_rows, "percent": percent}
    return found


def follow(
    read: Callable[[], Json], began: float, patience: float, live: Callable[[str], Json] = lambda _: {}
) -> Followed:
    """Print what the request says on its way, with seconds since `began`; `live` is asked how far its run is."""
    told = ""
    seen: dict[str, float] = {}
    while True:
        request = read()
        status = request.get("status") or {}
        progress = status.get("progress") or {}
        if status.get("phase") == "Running":
            progress = max(progress, live(str(status["run"])), key=lambda each: each.get("rows", 0))
        now, elapsed = describe({**status, "progress": progress}), time.monotonic() - began
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
        about = f" of about {progress['estimatedRows']:,}" if progress.get("estimatedRows") else ""
        line += f"  {progress['rows']:,} rows{about}"
        line += f", {progress['percent']} %" if "percent" in progress else ""
        line += f", {progress['rowsPerSecond']:,} rows/s" if progress.get("rowsPerSecond") else ""
        line += f", {size(progress.get('bytes', 0))}"
    if foreseen := progress.get("estimatedCompletionTime"):
        line += f", until about {foreseen[11:19]} UTC"
    return line
