"""One contestant's process, measured from outside: wall time, whose CPU, peak memory, and what else the machine did.

CPU seconds are the kernel's own sums. The client's are those of its process and of the children that it waited for
(wait4). PostgreSQL's are those of all its processes: a backend's are added to the postmaster's when it has ended, so
the sum over the postmaster, what it has reaped and what still runs grows steadily and misses nothing. What all
processors did beyond these, the S3 server and the benchmark itself is foreign load: kernel threads and other people.
"""

import os
import resource
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.ballast import Ballast
from tests.bench.spread import Sample
from tests.services.processes import children

TICK = os.sysconf("SC_CLK_TCK")
LOOK_SECONDS = 0.025
"""How often the client's memory is looked at. The kernel keeps the peak: only growth at the very end is missed."""
LONGEST_SECONDS = 1800.0
"""A run that takes longer is killed, and fails."""
SETTLE_SECONDS = 3.0
"""How long PostgreSQL may take to end the session after the client has gone."""


@dataclass(frozen=True, slots=True)
class Command:
    """What to run. `environment` is all that the process gets, beside PATH. `cpu` pins it to one processor. `expected`
    is a file that may appear while it runs."""

    arguments: Sequence[str | Path]
    environment: Mapping[str, str]
    cpu: int | None = None
    expected: Path | None = None

    def line(self) -> list[str]:
        pin = [] if self.cpu is None else ["taskset", "--cpu-list", str(self.cpu)]
        return [*pin, *map(str, self.arguments)]


@dataclass(frozen=True, slots=True)
class Finished:
    """`said` is standard output, `complained` standard error."""

    sample: Sample
    code: int
    said: str
    complained: str


@dataclass(frozen=True, slots=True)
class _Clock:
    """CPU seconds so far."""

    machine: float
    server: float
    s3: float
    own: float


class Gauge:
    """Measures commands against these servers, given by the process id of their first process."""

    def __init__(self, postmaster: int, s3: int, directory: Path, ballast: Ballast | None = None) -> None:
        """`ballast` is filled before each run."""
        self._ballast = ballast
        self._postmaster = postmaster
        self._s3 = s3
        self._directory = directory
        self._resting = set(children(postmaster))

    def run(self, command: Command) -> Finished:
        """Runs it to its end. `output_bytes` of the sample is left to whoever finds the output."""
        said, complained = self._directory / "stdout", self._directory / "stderr"
        if self._ballast:
            self._ballast.fill()
        before = self._clock()
        began = time.monotonic()
        with said.open("wb") as out, complained.open("wb") as err:
            process = subprocess.Popen(
                command.line(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env={"PATH": os.environ["PATH"], **command.environment},
            )
            peak, appeared = _watch(process.pid, command.expected)
            _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        self._settle()
        after = self._clock()
        client, server, s3 = usage.ru_utime + usage.ru_stime, after.server - before.server, after.s3 - before.s3
        # The benchmark's own CPU has the client's in it by now, since it has waited for it.
        foreign = after.machine - before.machine - server - s3 - (after.own - before.own)
        sample = Sample(wall, client, server, s3, max(0.0, foreign), peak, 0, checkpointed=appeared)
        return Finished(
            sample, process.returncode, said.read_text(errors="replace"), complained.read_text(errors="replace")
        )

    def _settle(self) -> None:
        end = time.monotonic() + SETTLE_SECONDS
        while set(children(self._postmaster)) - self._resting and time.monotonic() < end:
            time.sleep(0.005)

    def _clock(self) -> _Clock:
        server = cpu_seconds(self._postmaster, reaped=True)
        server += sum(cpu_seconds(pid, reaped=False) for pid in children(self._postmaster))
        usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        own = sum(usage.ru_utime + usage.ru_stime for usage in usages)
        return _Clock(machine_cpu(), server, cpu_seconds(self._s3, reaped=False), own)


def _watch(pid: int, expected: Path | None) -> tuple[int, bool]:
    """Waits for the process to end; the peak of its resident memory, in bytes, and whether the file was seen.

    wait4 would tell the peak too, but counts the memory that the process had before it became the program: ours.
    """
    peak, appeared = 0, False
    end = time.monotonic() + LONGEST_SECONDS
    handle = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        while True:
            ended = bool(poll.poll(LOOK_SECONDS * 1000))
            peak = max(peak, peak_memory(pid))
            appeared = appeared or (expected is not None and expected.exists())
            if ended:
                return peak, appeared
            if time.monotonic() > end:
                os.kill(pid, signal.SIGKILL)
    finally:
        os.close(handle)


def peak_memory(pid: int) -> int:
    """Of resident memory so far, in bytes; 0 when the process has gone."""
    return _status(pid, "VmHWM:")


def resident(pid: int) -> int:
    """Memory at present, in bytes; 0 when the process has gone."""
    return _status(pid, "VmRSS:")


def _status(pid: int, field: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(field)), 0)


def cpu_seconds(pid: int, *, reaped: bool) -> float:
    """Of a process, with those of its children that it has waited for if `reaped`; 0 when it has gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15] if reaped else fields[11:13])) / TICK  # proc(5): utime, stime, cutime, cstime


def machine_cpu() -> float:
    """Of all processors since boot: everything but idling and waiting for disks."""
    user, nice, system, _idle, _wait, *rest = map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9])
    return (user + nice + system + sum(rest)) / TICK


def foreign_share(seconds: float = 1.0) -> float:
    """The part of the machine that is busy while we do nothing, 0 to 1."""
    before = machine_cpu()
    time.sleep(seconds)
    return (machine_cpu() - before) / (seconds * (os.cpu_count() or 1))
