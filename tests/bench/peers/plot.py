"""Draws the plot: `python plot.py RESULTS.json PLOT.svg TITLES.json`. Runs in the peers' environment, for matplotlib.

A bar a contestant for each suite, by median wall time, with every run as a dot; ours in one colour, others in another.
"""

import json
import statistics
import sys
from pathlib import Path
from typing import Any

COLOURS = {"bare": "#1f77b4", "shipped": "#2ca02c", "peer": "#b0b0b0"}
LEGEND = {"bare": "the exporter, to a file", "shipped": "the exporter as shipped, to S3", "peer": "others, to a file"}
PANEL_HEIGHT = 0.26  # inches a bar


def main(results_file: str, plot_file: str, titles_file: str) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "bench"  # the same results draw the same file
    mpl.rcParams["svg.fonttype"] = "none"  # text stays text
    mpl.rcParams["font.size"] = 8
    from matplotlib import pyplot as plt
    from matplotlib.patches import Patch

    results = json.loads(Path(results_file).read_text(encoding="utf-8"))
    titles = json.loads(Path(titles_file).read_text(encoding="utf-8"))
    panels = [(suite, _bars(suite)) for suite in results["suites"].values()]
    panels = [(suite, bars) for suite, bars in panels if bars]
    heights = [len(bars) + 3 for _, bars in panels]
    figure, every = plt.subplots(
        len(panels), 1, figsize=(9, PANEL_HEIGHT * sum(heights) + 0.6), height_ratios=heights, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for (suite, bars), axes in zip(panels, every[:, 0], strict=True):
        _panel(axes, suite, bars, titles)
    kinds = [Patch(color=COLOURS[kind], label=LEGEND[kind]) for kind in COLOURS]
    figure.legend(handles=kinds, loc="outside upper center", ncols=3, frameon=False)
    figure.savefig(plot_file, metadata={"Date": None})


def _bars(suite: dict[str, Any]) -> list[tuple[str, list[float]]]:
    """Contestants that count, the fastest first."""
    counted = [
        (name, [sample["wall"] for sample in found["samples"]])
        for name, found in suite["measured"].items()
        if found["samples"] and not found["refused"]
    ]
    return sorted(counted, key=lambda each: statistics.median(each[1]))


def _panel(axes: Any, suite: dict[str, Any], bars: list[tuple[str, list[float]]], titles: dict[str, list[str]]) -> None:
    for at, (name, walls) in enumerate(bars):
        median = statistics.median(walls)
        axes.barh(at, median, color=COLOURS[titles[name][1]], height=0.72)
        axes.plot(walls, [at] * len(walls), "o", color="black", markersize=2.2, alpha=0.6)
        axes.annotate(f"{median:.1f}" if median >= 10 else f"{median:.2f}", (max(walls), at), (4, 0),
                      textcoords="offset points", va="center")  # fmt: skip
    axes.set_yticks(range(len(bars)), [titles[name][0] for name, _ in bars])
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.08)
    axes.set_xlabel("seconds of wall time")
    axes.set_title(f"{suite['title']} ({suite['table']['rows']:,} rows)", loc="left", fontweight="bold")


if __name__ == "__main__":
    main(*sys.argv[1:])
