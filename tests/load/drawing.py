"""Draws the plot: `python drawing.py RESULTS.json PLOT.svg`. Runs in the peers' environment, for matplotlib."""

import json
import sys
from pathlib import Path
from typing import Any

OURS, BARE = "#1f77b4", "#b0b0b0"
MIB = 1024 * 1024


def main(results_file: str, plot_file: str) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "load"  # the same results draw the same file
    mpl.rcParams["svg.fonttype"] = "none"  # text stays text
    mpl.rcParams["font.size"] = 8
    from matplotlib import pyplot as plt

    results = json.loads(Path(results_file).read_text(encoding="utf-8"))
    populations, stream = results.get("populations"), results.get("stream")
    rows = (2 if populations else 0) + (1 if stream else 0)
    figure, axes = plt.subplots(rows, 3, figsize=(10, 2.8 * rows), squeeze=False, layout="constrained")
    if populations:
        _populations(axes[:2].flatten(), populations["levels"])
    if stream:
        _stream(axes[-1], stream["flow"])
    figure.savefig(plot_file, metadata={"Date": None})


def _populations(axes: Any, levels: list[dict[str, Any]]) -> None:
    """Cost against how many requests exist; ours beside the bare operator's."""
    sizes = [level["requests"] for level in levels]
    panels = [
        ("start until the first decision, s", "start", 1),
        ("CPU of a start, s", "start_cpu", 1),
        ("peak memory, MiB", "memory", 1 / MIB),
        ("CPU of an event, ms", "event_cpu", 1000),
        ("idle CPU, % of a processor", "idle_cpu", 100),
    ]
    for panel, (title, field, factor) in zip(axes, panels, strict=False):
        for who, colour, name in (("ours", OURS, "export-operator"), ("bare", BARE, "bare kopf")):
            panel.plot(sizes, [level[who][field] * factor for level in levels], "o-", color=colour, label=name)
        _finish(panel, title, "requests that exist")
        panel.set_xscale("log")
    calls = axes[5]
    for field, style, name in (("start_calls", "o-", "of a start"), ("event_calls", "s--", "of its events")):
        calls.plot(sizes, [sum(level["ours"][field].values()) for level in levels], style, color=OURS, label=name)
    _finish(calls, "API calls", "requests that exist")
    calls.set_xscale("log")


def _stream(axes: Any, flow: dict[str, Any]) -> None:
    minutes = [sample["minute"] for sample in flow["samples"]]
    latency, memory, cpu = axes
    for field, colour, name in (("median", OURS, "p50"), ("worst_percent", "#d62728", "p99")):
        latency.plot(minutes, [sample[field] * 1000 for sample in flow["samples"]], "-", color=colour, label=name)
    _finish(latency, "from apply to Job, ms", "minute")
    memory.plot(minutes, [sample["memory"] / MIB for sample in flow["samples"]], "-", color=OURS, label="resident")
    _finish(memory, "memory, MiB", "minute")
    cpu.plot(minutes, [sample["cpu"] for sample in flow["samples"]], "-", color=OURS, label="CPU")
    _finish(cpu, "CPU, s in a minute", "minute")


def _finish(axes: Any, title: str, below: str) -> None:
    axes.set_title(title, loc="left", fontweight="bold")
    axes.set_xlabel(below)
    axes.margins(y=0.15)
    axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
