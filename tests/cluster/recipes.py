"""The images of this repository: which Dockerfile makes which, under which name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster import context, kueue, paths, tools
from tests.cluster.problem import Problem


@dataclass(frozen=True)
class Recipe:
    """One image. Its context is the repository, and for some a file that is built outside it."""

    name: str
    repository: str
    dockerfile: str
    given: Mapping[str, Callable[[], Path]] = field(default_factory=dict)
    """Files of the context that are not in the repository: name to who makes them."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """What `given` is made of; part of the tag in place of the files, which may be large, or not built yet."""
    on_demand: bool = False
    """Made only when it is asked for by name: few need it, and it takes long."""

    def text(self, root: Path = paths.REPOSITORY) -> str:
        try:
            return (root / self.dockerfile).read_text()
        except FileNotFoundError as error:
            raise Problem(f"the {self.name} image has no Dockerfile: {self.dockerfile}") from error

    def files(self, root: Path = paths.REPOSITORY) -> list[str]:
        return context.files(root, self.text(root), self.given)

    def reference(self, base: str, root: Path = paths.REPOSITORY) -> str:
        """The image's name and tag. `base` is the identity of the images that it is built on."""
        tag = context.tag(root, self.text(root), self.files(root), {**self.inputs, "base": base})
        return f"{self.repository}:{tag}"

    def lay_context(self, directory: Path, root: Path = paths.REPOSITORY) -> None:
        others = {name: make() for name, make in self.given.items()}
        context.lay(root, self.files(root), others, directory)


def all_recipes() -> dict[str, Recipe]:
    """Every image, by the short name that commands use."""
    recipes = (
        Recipe("operator", "localhost/export-operator", "operator/Dockerfile"),
        Recipe("exporter", "localhost/export-runner", "exporter_image/Dockerfile"),
        Recipe("postgres", "localhost/export-operator-postgres", "tests/services/postgres/Dockerfile"),
        Recipe(
            "s3",
            "localhost/export-operator-s3",
            "tests/services/s3/Dockerfile",
            given={"versitygw": lambda: tools.for_image("versitygw")},
            inputs={"versitygw": tools.digest()},
        ),
        Recipe(
            "kueue",
            "localhost/export-operator-kueue",
            "tests/services/kueue/Dockerfile",
            given={"manager": kueue.manager},
            inputs={"manager": kueue.digest()},
            on_demand=True,
        ),
    )
    return {recipe.name: recipe for recipe in recipes}
