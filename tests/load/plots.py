"""The plots, drawn by `drawing.py` in the environment that the benchmarks' peers have, which has what draws them."""

import tempfile
from pathlib import Path

from tests.bench import peers
from tests.cluster import say, shell
from tests.load.results import Results

SCRIPT = Path(__file__).resolve().parent / "drawing.py"


def draw(source: Path, plot: Path, results: Results) -> bool:
    """Whether there is a plot of the results in `source`: something to draw, and what draws it. Raises `Problem`."""
    if results.populations is None and results.stream is None:
        return False
    if not peers.installed():
        say.warn("no plot: `make bench` installs what draws it")
        return False
    with tempfile.TemporaryDirectory() as directory:
        shell.run([peers.python(), SCRIPT, source, plot], env={"MPLCONFIGDIR": directory})
    return True
