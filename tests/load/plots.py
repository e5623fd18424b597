"""The plots, drawn by `drawing.py` in the environment that the benchmarks' peers have, which has what draws them."""

import tempfile
from pathlib import Path

from tests.bench import peers
from tests.cluster import shell
from tests.load.results import Results

SCRIPT = Path(__file__).resolve().parent / "drawing.py"


def draw(source: Path, plot: Path, results: Results) -> bool:
    """Whether there is something to draw a plot of in `source`. Raises `Problem`."""
    if results.populations is None and results.stream is None:
        return False
    if not peers.installed():
        peers.install()
    with tempfile.TemporaryDirectory() as directory:
        shell.run([peers.python(), SCRIPT, source, plot], env={"MPLCONFIGDIR": directory})
    return True
