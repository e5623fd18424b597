"""A server as a child process: it ends with us, however we end, and tests may break it."""

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.cluster import apt, shell
from tests.cluster.problem import Problem

PORTS = range(10000, 30000)
"""Below those of Services (30000 to 32767) and those that Linux gives to outgoing connections (from 32768): one that is
free stays so until its server starts, and while it is down."""


def free_port() -> int:
    """A loopback port that nobody has at this moment."""
    while True:
        port = secrets.choice(PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def listens(host: str, port: int) -> bool:
    """Does anybody take connections there?"""
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0


def unprivileged() -> str:
    """Whom a server runs as when we are root, since PostgreSQL refuses to be root; "" when we are not."""
    if os.geteuid() != 0:
        return ""
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in ("postgres", "nobody") if name in known)


def as_user(user: str, death: str = "KILL") -> list[str]:
    """A prefix for a command line: run as `user`, and be sent the signal `death` when the parent dies.

    The kernel keeps that promise even when pytest is killed. Where there is no such kernel, the prefix is empty.
    """
    setpriv = apt.find("setpriv")
    if not setpriv:
        return []
    prefix = [str(setpriv), "--pdeathsig", death]
    if user:
        group = str(pwd.getpwnam(user).pw_gid)
        prefix += ["--reuid", user, "--regid", group, "--clear-groups"]
    return [*prefix, "--"]


@contextmanager
def workplace(kind: str) -> Iterator[Path]:
    """A new directory for a server, removed afterwards; whose process was killed has its own removed by the next."""
    root = Path(tempfile.gettempdir())
    for left in root.glob(f"export-operator-{kind}-*-*"):
        pid = left.name.split("-")[-2]
        if pid.isdigit() and Path("/proc/self").exists() and not Path(f"/proc/{pid}").exists():
            shutil.rmtree(left, ignore_errors=True)  # another user's stays
    with tempfile.TemporaryDirectory(prefix=f"export-operator-{kind}-{os.getpid()}-", dir=root) as directory:
        yield Path(directory)


def children(pid: int) -> list[int]:
    """The processes that a process started and that still run."""
    try:
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


class Server:
    """A program that serves on a loopback port; started, stopped, killed, started again on the same port."""

    host = "127.0.0.1"
    stop_signal = signal.SIGTERM

    def __init__(self, name: str, log: Path) -> None:
        self.name = name
        self.log = log
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> Sequence[str | Path]:
        raise NotImplementedError

    def environment(self) -> Mapping[str, str]:
        return {}

    def ready(self) -> bool:
        """Does it serve?"""
        raise NotImplementedError

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Its process id, for tests that send signals of their own."""
        assert self._process
        return self._process.pid

    @property
    def exit_code(self) -> int:
        """Of one that has ended; negative: the signal that ended it."""
        assert self._process
        assert self._process.returncode is not None
        return self._process.returncode

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def start(self, seconds: float = 30) -> None:
        """Start, unless it runs, and wait until it serves."""
        self.launch()
        self._until(self.ready, seconds)

    def launch(self) -> None:
        """Start, unless it runs."""
        if not self.running:
            with self.log.open("ab") as log:
                self._process = subprocess.Popen(
                    [str(each) for each in self.command()],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd="/",
                    env=shell.environment(self.environment()),
                    start_new_session=True,  # Ctrl-C is for the tests, who then stop their servers in good order
                )

    def _until(self, ready: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not ready():
            if not self.running or time.monotonic() > deadline:
                problem = self.problem()
                self.kill()
                raise problem
            time.sleep(0.02)

    def problem(self) -> Problem:
        """That it does not serve, with what it said last."""
        state = "does not answer" if self.running else "ended"
        tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
        return Problem(f"{self.name} {state}; its last words ({self.log}):\n{tail}")

    def stop(self, seconds: float = 10) -> None:
        """Ask it to end, in good order; make it, if it does not."""
        if self._process and self.running:
            self._process.send_signal(self.stop_signal)
            try:
                self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """SIGKILL, to it and to what it has started: no goodbye to any client."""
        if self._process:
            for pid in (self._process.pid, *children(self._process.pid)) if self.running else ():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.wait()

    def restart(self) -> None:
        self.stop()
        self.start()
