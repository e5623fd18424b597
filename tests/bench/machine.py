"""What was measured on, and with what: enough to judge the figures by, nothing that names the machine."""

import os
import platform
import re
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from tests.bench import peers
from tests.cluster import shell
from tests.cluster.paths import REPOSITORY
from tests.services import host

OURS = ("export-native", "polars", "numpy", "psycopg", "botocore", "isal")
"""Those that are installed are told."""
PEERS = ("duckdb", "duckdb-extension-postgres-scanner", "adbc-driver-postgresql", "connectorx", "polars", "psycopg")


@dataclass(frozen=True, slots=True)
class Host:
    """This machine and this checkout."""

    processor: str
    processors: int
    memory_bytes: int
    kernel: str
    python: str
    commit: str


@dataclass(frozen=True, slots=True)
class Machine(Host):
    """With what was measured on it. Versions by name."""

    postgresql: str
    ours: dict[str, str]
    peers: dict[str, str]


def here() -> Host:
    """What is known without a server."""
    cpu = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return Host(
        processor=cpu[1].strip() if cpu else platform.machine(),
        processors=os.cpu_count() or 1,
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        kernel=re.match(r"[\d.]*\d", platform.release())[0],  # type: ignore[index]
        python=platform.python_version(),
        commit=commit(),
    )


def look(server: host.PostgresServer) -> Machine:
    """This machine, this checkout, this server."""
    return Machine(
        **asdict(here()),
        postgresql=server.psql("SHOW server_version"),
        ours={name: metadata.version(name) for name in OURS if _installed(name)},
        peers=peers.versions(PEERS),
    )


def _installed(name: str) -> bool:
    return any(metadata.distributions(name=name))


def commit() -> str:
    """The checkout's commit, and whether something was changed since."""
    git = ["git", "-C", str(REPOSITORY)]
    found = shell.run([*git, "rev-parse", "--short=12", "HEAD"], check=False)
    if found.returncode:
        return "no git checkout"
    changed = shell.output([*git, "status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs"])
    return found.stdout.strip() + (" with changes" if changed else "")


def exporter_environment() -> dict[str, str]:
    """What the exporter's image sets and what matters for time and memory: the benchmark measures what is shipped."""
    text = (REPOSITORY / "exporter_image" / "Dockerfile").read_text()
    return dict(re.findall(r"\b((?:MALLOC|OPENBLAS|POLARS)_\w+)=(\S+)", text))
