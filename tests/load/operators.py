"""The operator as a process, the same program that the image starts, with its service account and nothing more."""

from __future__ import annotations

import http.client
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.bench.measure import cpu_seconds, peak_memory, resident
from tests.cluster.paths import REPOSITORY
from tests.load.plane import direct
from tests.platform.names import NAMESPACE, RUN_NAMESPACE
from tests.services.processes import Server, as_user


class Measured(Server):
    """A process of which it is known what it took, while it runs and afterwards."""

    def __init__(self, name: str, log: Path) -> None:
        super().__init__(name, log)
        self._cpu = 0.0
        self._peak = 0

    @property
    def cpu(self) -> float:
        """Seconds, of all its processes so far."""
        return self._cpu + (cpu_seconds(self.pid, reaped=False) if self.running else 0.0)

    @property
    def peak_memory(self) -> int:
        """Bytes, of the largest of them."""
        return max(self._peak, peak_memory(self.pid) if self.running else 0)

    @property
    def memory(self) -> int:
        """Resident bytes at present; 0 of one that does not run."""
        return resident(self.pid) if self.running else 0

    def stop(self, seconds: float = 30) -> None:
        self._measure()
        super().stop(seconds)

    def kill(self) -> None:
        self._measure()
        super().kill()

    def _measure(self) -> None:
        self._cpu, self._peak = self.cpu, self.peak_memory


class Operator(Measured):
    """`ready` when it says so. `profile` is a file for cProfile to write; it costs a third of the speed. One that
    `usurps` believes that it leads, whatever the Lease says."""

    def __init__(
        self,
        directory: Path,
        number: int,
        kubeconfig: Path,
        settings: Mapping[str, str],
        *,
        profile: Path | None = None,
        usurps: bool = False,
    ) -> None:
        super().__init__(f"operator-{number}", directory / f"operator-{number}.log")
        self._kubeconfig = kubeconfig
        self._settings = settings
        self._profile = profile
        self._program = "tests.load.usurper" if usurps else "export_operator"

    def command(self) -> Sequence[str | Path]:
        profiled = ["-m", "cProfile", "-o", str(self._profile)] if self._profile else []
        return [*as_user(""), sys.executable, *profiled, "-m", self._program, "run"]

    def environment(self) -> Mapping[str, str]:
        given = {
            "RUN_NAMESPACE": RUN_NAMESPACE,
            "RUNNER_IMAGE": "none",
            "HTTP_PORT": str(self.port),
            "LOG_LEVEL": "INFO",
            **self._settings,
        }
        return {
            "KUBECONFIG": str(self._kubeconfig),
            "PYTHONPATH": str(REPOSITORY),
            "POD_NAME": self.name,
            "POD_UID": self.name,
            "POD_NAMESPACE": NAMESPACE,
            **direct(),
            **{f"EXPORT_OPERATOR_{name}": value for name, value in given.items()},
        }

    def ready(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()
