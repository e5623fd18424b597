"""The files of the report, beside the results that they are made of."""

import json
import os
import tempfile
from pathlib import Path

from tests.bench import markdown, peers
from tests.bench.contestants import CONTESTANTS
from tests.bench.results import Results
from tests.cluster import shell

PLOT = "results.svg"
GUIDE = Path(__file__).resolve().parents[2] / "docs" / "benchmarks" / "README.md"


def write(results: Results, source: Path) -> list[Path]:
    """Markdown, and the plot if the peers' environment, which has what draws it, is installed. Raises `Problem`."""
    text, plot = source.with_suffix(".md"), source.with_name(PLOT)
    drawn = peers.installed()
    if drawn:
        _draw(source, plot)
    guide = os.path.relpath(GUIDE, text.resolve().parent)
    text.write_text(markdown.render(results, PLOT if drawn else "", guide), encoding="utf-8")
    return [source, text, *([plot] if drawn else [])]


def _draw(source: Path, plot: Path) -> None:
    with tempfile.TemporaryDirectory() as directory:
        titles = Path(directory) / "titles.json"
        titles.write_text(json.dumps({each.name: [each.title, each.kind] for each in CONTESTANTS}))
        shell.run([peers.python(), peers.PLOT_SCRIPT, source, plot, titles], env={"MPLCONFIGDIR": directory})
