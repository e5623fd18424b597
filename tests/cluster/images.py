"""This repository's images, built from their Dockerfiles and brought to the cluster.

A tag is made of the content (see `context`): if the cluster has an image of that name there is nothing to do.
"""

import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tests.cluster import locks, paths, providers, say
from tests.cluster.current import Current
from tests.cluster.kind import Kind
from tests.cluster.problem import Problem
from tests.cluster.recipes import Recipe, all_recipes

KEPT = 5
"""Tags of one image that are kept: the last that were asked for. Others may run yet, and their pods start again."""


@dataclass(frozen=True)
class Images:
    """The names by which the cluster knows the images."""

    operator: str
    exporter: str
    postgres: str
    s3: str


class Builder(Protocol):
    """What each provider can do with images."""

    base: str
    """The identity of what the images are built on."""

    def loaded(self) -> set[str]:
        """The images that the cluster has."""

    def build(self, dockerfile: str, context: Path, reference: str) -> None:
        """Build, unless it is built."""

    def load(self, reference: str) -> str:
        """Bring to the cluster; returns the name by which the cluster knows it."""

    def used(self) -> str:
        """Text that has in it the name of each image that the cluster runs."""

    def remove(self, references: list[str]) -> None:
        """Forget, in the cluster and where they were built."""

    def known(self, reference: str) -> str:
        """The name by which the cluster knows an image."""


def builder(cluster: providers.Cluster) -> Builder:
    """The builder that goes with a cluster."""
    from tests.cluster import engine
    from tests.cluster.local.builder import LocalBuilder
    from tests.cluster.local.provider import Local

    if isinstance(cluster, Local):
        return LocalBuilder(cluster)
    if isinstance(cluster, Kind):
        return engine.KindBuilder(cluster)
    assert isinstance(cluster, Current)
    return engine.RegistryBuilder()


def build_and_load(cluster: providers.Cluster | None = None) -> Images:
    """Have all images in the cluster, as the repository's files are now."""
    return Images(**references(cluster or providers.running()))


def references(cluster: providers.Cluster, only: Iterable[str] = ()) -> dict[str, str]:
    """Have some images in the cluster (if none are named, all that everybody needs): short name to the name in the
    cluster."""
    recipes = all_recipes()
    chosen = list(only) or [name for name, recipe in recipes.items() if not recipe.on_demand]
    if unknown := [name for name in chosen if name not in recipes]:
        raise Problem(f"no image is called {' '.join(unknown)}; there are: {' '.join(recipes)}")
    images = builder(cluster)
    wanted = {name: recipes[name].reference(images.base) for name in chosen}
    _note(wanted.values())
    loaded = images.loaded()
    if any(images.known(reference) not in loaded for reference in wanted.values()):
        with locks.exclusive("images"):
            loaded = images.loaded()
            for name, reference in wanted.items():
                if images.known(reference) not in loaded:
                    _make(images, recipes[name], reference)
            used = images.used()
            old = outdated(images.loaded(), _noted(), wanted.values())
            images.remove([reference for reference in old if reference not in used])
    return {name: images.known(reference) for name, reference in wanted.items()}


def _make(images: Builder, recipe: Recipe, reference: str) -> None:
    with say.step(f"building the {recipe.name} image") as step, tempfile.TemporaryDirectory() as directory:
        recipe.lay_context(Path(directory))
        images.build(recipe.text(), Path(directory), reference)
        step.progress("bringing it to the cluster")
        images.load(reference)


def _notes() -> Path:
    directory = paths.cache() / "asked-for"
    directory.mkdir(exist_ok=True)
    return directory


def _note(references: Iterable[str]) -> None:
    """Remember when an image was last asked for: by the time of an empty file."""
    for reference in references:
        (_notes() / reference.replace("/", " ")).touch()


def _noted() -> dict[str, float]:
    """When each image was last asked for."""
    return {each.name.replace(" ", "/"): each.stat().st_mtime for each in _notes().iterdir()}


def outdated(loaded: Iterable[str], asked: Mapping[str, float], wanted: Iterable[str]) -> list[str]:
    """Images of ours that are not among the last few of their kind that were asked for."""
    gone: list[str] = []
    loaded = set(loaded)
    for repository in {reference.rpartition(":")[0] for reference in wanted}:
        tags = [each for each in loaded if each.rpartition(":")[0] == repository]
        gone += sorted(tags, key=lambda each: asked.get(each, 0.0), reverse=True)[KEPT:]
    return gone
