"""The exporter with clocks at the seams of its stages: `python -m tests.bench.clocks MODULE ARGUMENT…` runs what
`python -m MODULE ARGUMENT…` would, and prints the CPU seconds of each part as a last line of JSON.

They are the kernel's own sums for the thread that does the work: waiting costs nothing, and what other processes do is
not in them. A part that calls another does not count the other's time. There are a few calls a block, so the clocks
themselves cost nothing that can be measured.
"""

import functools
import json
import os
import resource
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

PARTS = ("start", "read", "decode", "encode", "hash", "upload", "rest")
BARE = "tests.bench.bare"
TICK = os.sysconf("SC_CLK_TCK")

Spent = NDArray[np.float64]
"""CPU seconds: of the program, and of the kernel for it."""


class Clocks:
    """Adds up what threads spend, by part."""

    def __init__(self) -> None:
        self.spent: defaultdict[str, Spent] = defaultdict(_nothing)
        self._lock = threading.Lock()
        self._here = threading.local()

    @contextmanager
    def at(self, part: str) -> Iterator[None]:
        """The body is of this part, but for what is of another within it."""
        before, begun = getattr(self._here, "within", _nothing()), _of(resource.RUSAGE_THREAD)
        self._here.within = _nothing()
        try:
            yield
        finally:
            taken = _of(resource.RUSAGE_THREAD) - begun
            with self._lock:
                self.spent[part] += taken - self._here.within
            self._here.within = before + taken

    def of(self, part: str, owner: Any, *names: str, all_at_once: bool = False) -> None:
        """These functions of a class or module are of that part. `all_at_once`: they give an iterator."""
        for name in names:
            setattr(owner, name, self._timed(part, getattr(owner, name), all_at_once=all_at_once))

    def _timed(self, part: str, function: Callable[..., Any], *, all_at_once: bool) -> Callable[..., Any]:
        @functools.wraps(function)
        def timed(*arguments: Any, **named: Any) -> Any:
            with self.at(part):
                found = function(*arguments, **named)
                return iter(list(found)) if all_at_once else found

        return timed


def _nothing() -> Spent:
    return np.zeros(2)


def _of(whose: int) -> Spent:
    usage = resource.getrusage(whose)
    return np.array((usage.ru_utime, usage.ru_stime))


def _libraries() -> Spent:
    """Of threads that live and are not Python's: polars' pool, which encodes Parquet."""
    ours = {each.native_id for each in threading.enumerate()}
    ticks = _nothing()
    for task in Path("/proc/self/task").iterdir():
        if int(task.name) in ours:
            continue
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended since
            ticks += [int(field) for field in (task / "stat").read_text().rpartition(")")[2].split()[11:13]]
    return ticks / TICK  # proc(5): utime, stime


def install(clocks: Clocks) -> None:
    """At the seams of what the exporter has loaded when its first stage begins."""
    from export_runner import pipeline
    from export_runner.sinks import parts

    clocks.of("read", pipeline.Pipeline, "_fetch")
    clocks.of("encode", pipeline.Pipeline, "_encode")
    clocks.of("upload", pipeline.Pipeline, "_upload", "_hand_over")  # a bare file is written by the latter
    clocks.of("hash", parts.PartCutter, "add", "rest", all_at_once=True)
    if typed := sys.modules.get("export_runner.formats.typed"):
        from export_runner.frames import compiled  # its first block would load it

        clocks.of("decode", compiled, "decode")
        clocks.of("decode", typed.TypedFormat, "frame")


def main(module: str, *arguments: str) -> int:
    """The exit code of what was run."""
    from export_runner import __main__, pipeline, process

    clocks, run = Clocks(), pipeline.Pipeline.run

    def begun(self: pipeline.Pipeline) -> pipeline.Encoded:
        install(clocks)
        clocks.spent["start"] = _of(resource.RUSAGE_SELF)
        return run(self)

    pipeline.Pipeline.run = begun  # type: ignore[method-assign]
    code = 0
    if module == BARE:
        from tests.bench import bare

        bare.main(*arguments)
    else:
        process.seal()
        process.tune()
        code = __main__.main(arguments)
    clocks.spent["encode"] += _libraries()
    clocks.spent["rest"] = _of(resource.RUSAGE_SELF) - sum(clocks.spent.values(), _nothing())
    print(json.dumps({part: clocks.spent[part].tolist() for part in PARTS}))
    return code


if __name__ == "__main__":
    ended = main(*sys.argv[1:])
    sys.stdout.flush()
    os._exit(ended)  # as the exporter leaves
