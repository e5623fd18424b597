"""What a build may see, and the tag that follows from it.

The files that a Dockerfile copies are read from the Dockerfile itself; exactly these are laid into a directory that
becomes the build's context, and exactly these make the tag. So the tag cannot miss a change, whatever else lies in the
repository, and a container engine is not sent what the build does not use.
"""

import fnmatch
import json
import re
import shlex
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.cluster import digests
from tests.cluster.problem import Problem

NEVER = ("**/__pycache__", "**/*.pyc", "**/*.egg-info", "**/.venv", "**/.*_cache", ".git")
"""Left by tools in any checkout: never part of an image."""
BIND_SOURCE = re.compile(r"--mount=(\S*type=bind\S*)")


def instructions(dockerfile: str) -> list[str]:
    """A Dockerfile's instructions: comments gone, continued lines joined."""
    lines = [line for line in dockerfile.splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [line.strip() for line in joined.splitlines() if line.strip()]


def sources(dockerfile: str) -> list[str]:
    """The paths that a Dockerfile takes from its context, as it writes them."""
    found: list[str] = []
    for instruction in instructions(dockerfile):
        verb, _, rest = instruction.partition(" ")
        if verb.upper() in ("COPY", "ADD"):
            words = _words(rest)
            if not any(word.startswith("--from=") for word in words):
                found += [word for word in words if not word.startswith("--")][:-1]
        if verb.upper() == "RUN":
            for mount in BIND_SOURCE.findall(rest):
                options = dict(option.partition("=")[::2] for option in mount.split(","))
                if "from" not in options:
                    found.append(options.get("source") or options.get("src") or ".")
    return list(dict.fromkeys(each.strip("/") or "." for each in found))


def _words(text: str) -> list[str]:
    flags = [word for word in text.split() if word.startswith("--")]
    rest = text.split(None, len(flags))[-1] if flags else text
    if rest.startswith("["):
        return [*flags, *json.loads(rest)]
    return shlex.split(text)


def ignored(name: str, patterns: Iterable[str]) -> bool:
    """Does .dockerignore leave this path out? As there, the last pattern that matches decides, and `!` takes back."""
    out = False
    for written in patterns:
        pattern = written.removeprefix("!").strip("/")
        if _matches(name, pattern):
            out = not written.startswith("!")
    return out


def _matches(name: str, pattern: str) -> bool:
    parts = name.split("/")
    above = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
    if pattern.startswith("**/"):
        tail = pattern.removeprefix("**/")
        return any(fnmatch.fnmatchcase(each, pattern) or fnmatch.fnmatchcase(each, tail) for each in above) or any(
            fnmatch.fnmatchcase(part, tail) for part in parts
        )
    depth = pattern.count("/") + 1
    return any(fnmatch.fnmatchcase(each, pattern) for each in above if each.count("/") + 1 == depth or "**" in pattern)


def ignore_patterns(root: Path) -> list[str]:
    """The patterns of the repository's .dockerignore, and what never belongs into an image."""
    try:
        written = (root / ".dockerignore").read_text().splitlines()
    except OSError:
        written = []
    return [*(line.strip() for line in written if line.strip() and not line.startswith("#")), *NEVER]


def files(root: Path, dockerfile: str, others: Iterable[str] = ()) -> list[str]:
    """The files below `root` that a build of this Dockerfile can see. `others` are given apart from the repository."""
    given, patterns = set(others), ignore_patterns(root)
    found: set[str] = set()
    for source in sources(dockerfile):
        if source in given:
            continue
        matches = list(root.glob(source)) if any(sign in source for sign in "*?[") else [root / source]
        for match in matches:
            below = match.rglob("*") if match.is_dir() else [match]
            found.update(str(each.relative_to(root)) for each in below if each.is_file() or each.is_symlink())
        if not any(match.exists() for match in matches):
            raise Problem(f"the Dockerfile copies {source}, and {root} has no such file")
    return sorted(name for name in found if not ignored(name, patterns))


def tag(root: Path, dockerfile: str, names: Iterable[str], inputs: Mapping[str, str]) -> str:
    """The tag: from the Dockerfile, the files, and what else goes in (the base image and the like, by its identity)."""
    other = sorted(f"{key}={value}" for key, value in inputs.items())
    modes = [f"{name} {'x' if (root / name).stat().st_mode & 0o100 else '-'}" for name in names]
    return digests.of([dockerfile, digests.of_files(root, names), *modes, *other])


def lay(root: Path, names: Iterable[str], others: Mapping[str, Path], directory: Path) -> None:
    """Fill `directory` with the context: copies, with their times, so that an engine's own cache still holds."""
    for name, source in [*((name, root / name) for name in names), *others.items()]:
        target = directory / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)
