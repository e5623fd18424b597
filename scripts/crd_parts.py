"""Fills in what one CRD has in common with exportrequests.yaml: python -m scripts.crd_parts DIRECTORY.

Structural schemas have no references. Between two lines such as these stand the named fields, with all below them:

    # from exportrequests.yaml: spec.source spec.output
    # to here
"""

import sys
from collections.abc import Iterator
from pathlib import Path

SOURCE = "exportrequests.yaml"
BEGIN, END = f"# from {SOURCE}: ", "# to here"


def indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def block(lines: list[str], path: str) -> list[str]:
    """The lines of the field at `path`, such as spec.source, without their indentation. Raises `KeyError`."""
    part = lines
    for name in path.split("."):
        starts = [number for number, line in enumerate(part) if line.strip() == f"{name}:"]
        if not starts:
            raise KeyError(f"{SOURCE} has no field {path}")
        # Outermost first: a field of that name further in is another one.
        start = min(starts, key=lambda number: (indent(part[number]), number))
        depth = indent(part[start])
        rest = part[start + 1 :]
        length = next((n for n, line in enumerate(rest) if line.strip() and indent(line) <= depth), len(rest))
        part = part[start : start + 1 + length]
    return [line[indent(part[0]) :] for line in part]


def filled(lines: list[str], source: list[str]) -> Iterator[str]:
    """The lines, with what stands between the marks made anew."""
    inside = False
    for line in lines:
        if inside and line.strip() != END:
            continue
        inside = False
        yield line
        if line.strip().startswith(BEGIN):
            inside = True
            for path in line.strip().removeprefix(BEGIN).split():
                yield from ((" " * indent(line) + each).rstrip() for each in block(source, path))


def main() -> None:
    directory = Path(sys.argv[1])
    source = (directory / SOURCE).read_text().splitlines()
    for path in directory.glob("*.yaml"):
        path.write_text("\n".join(filled(path.read_text().splitlines(), source)) + "\n")


if __name__ == "__main__":
    main()
