"""kwok, which plays kubelets, built from its Go module at the version that go.mod beside this file pins; Apache-2.0, as
its module says."""

from pathlib import Path

from tests.cluster import digests, golang, locks, paths

SOURCE = Path(__file__).resolve().parent
MODULE = "sigs.k8s.io/kwok"


def version() -> str:
    return golang.version(MODULE, cwd=SOURCE)


def program() -> Path:
    """kwok for this machine; built if it is not there."""

    def build(directory: Path) -> None:
        title = f"building kwok {version()} from its Go module (once; a minute)"
        args = ["-ldflags", "-s -w", "-o", str(directory / "kwok")]
        golang.build(title, args, cwd=SOURCE, package=f"{MODULE}/cmd/kwok")

    digest = digests.of_files(SOURCE, ["go.mod", "go.sum"])
    return locks.built(paths.cache() / "programs" / f"kwok-{digest}", build) / "kwok"


def stages(*names: str) -> list[str]:
    """Stages as kwok ships them, in YAML: files below its `kustomize/stage`."""
    root = golang.module_directory(MODULE, cwd=SOURCE) / "kustomize" / "stage"
    return [(root / name).read_text(encoding="utf-8") for name in names]
