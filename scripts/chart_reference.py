"""Prints docs/reference/chart.md from the comments of the chart's values: python -m scripts.chart_reference FILE."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

HEAD = """\
<!-- Rendered from charts/export-operator/values.yaml by scripts/render-manifests. Do not edit. -->
# Values of the chart

Give them with `--set` or `--values`; a name or a type that is not here is refused.

| value | default | meaning |
|---|---|---|
"""
LINE = re.compile(r"^(?P<indent> *)(?P<key>[A-Za-z]+):")
WHOLE = ("resources", "labels")
"""Values that are Kubernetes' own structures, shown whole."""


def comments(text: str) -> Iterator[tuple[str, str]]:
    """Each value's dotted path with the comment above it."""
    path: list[str] = []
    comment: list[str] = []
    for line in text.splitlines():
        if line.lstrip().startswith("#"):
            comment.append(line.lstrip("# "))
        elif found := LINE.match(line):
            path = [*path[: len(found["indent"]) // 2], found["key"]]
            yield ".".join(path), " ".join(comment)
            comment = []
        else:
            comment = []


def page(text: str) -> str:
    """The whole page."""
    values = yaml.safe_load(text)
    lines = []
    for path, comment in comments(text):
        keys = path.split(".")
        value: Any = values
        for key in keys:
            value = value[key]
        inner = isinstance(value, dict) and value and keys[-1] not in WHOLE
        if set(keys[:-1]) & set(WHOLE):
            continue
        default = "" if inner else f"`{json.dumps(value)}`"
        lines.append(f"| `{path}` | {default} | {comment} |\n")
    return HEAD + "".join(lines)


if __name__ == "__main__":
    sys.stdout.write(page(Path(sys.argv[1]).read_text()))
