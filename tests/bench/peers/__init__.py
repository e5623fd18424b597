"""The peers' environment, apart from the repository's own: made from its lock when the benchmark needs it.

`copy_table.py` runs in it, as a process for each measurement, and so does what draws the plot.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from tests.cluster import paths, say, shell

HERE = Path(__file__).resolve().parent
SCRIPT = HERE / "copy_table.py"
PLOT_SCRIPT = HERE / "plot.py"


def _directory() -> Path:
    return paths.cache() / "bench" / "peers"


def python() -> Path:
    """Its interpreter, whether it is there or not."""
    return _directory() / "bin" / "python"


def installed() -> bool:
    return python().exists()


def install() -> None:
    """Makes the environment as its lock says; quick when it is there. Raises `Problem`."""
    with say.step("installing the locked peers"):
        shell.run(
            [paths.uv() or "uv", "sync", "--frozen", "--quiet", "--project", HERE],
            env={"UV_PROJECT_ENVIRONMENT": str(_directory()), "VIRTUAL_ENV": ""},
        )


def versions(names: Sequence[str]) -> dict[str, str]:
    """Of the packages in it; none when it is not installed."""
    if not installed():
        return {}
    load = "import json, sys; from importlib.metadata import version"
    ask = f"{load}; print(json.dumps({{name: version(name) for name in sys.argv[1:]}}))"
    found: dict[str, str] = json.loads(shell.output([python(), "-c", ask, *names]))
    return found
