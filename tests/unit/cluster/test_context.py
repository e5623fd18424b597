"""What a build sees, and that its tag follows from that and nothing else."""

from pathlib import Path

import pytest

from tests.cluster import context, recipes
from tests.cluster.problem import Problem

pytestmark = pytest.mark.unit
DOCKERFILE = """\
# COPY commented out
ARG BASE_IMAGE=python
FROM ${BASE_IMAGE} AS build
COPY --from=uv /uv /usr/bin/uv
COPY --chmod=755 pyproject.toml \\
     uv.lock ./
RUN --mount=type=bind,source=docs/name.txt,target=/n --mount=type=cache,target=/c cat /n
COPY ["with space/a b.txt", "/x/"]
COPY src/*.sql src/package /app/
COPY given /bin/given
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in (
        *(
            "pyproject.toml",
            "uv.lock",
            "docs/name.txt",
            "docs/other.txt",
            "with space/a b.txt",
            "src/a.sql",
            "src/b.txt",
        ),
        *("src/package/__init__.py", "src/package/deep/x.py", "src/package/__pycache__/x.pyc", "src/package/notes.md"),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


def tag(root: Path, dockerfile: str = DOCKERFILE, **inputs: str) -> str:
    return context.tag(root, dockerfile, context.files(root, dockerfile, ["given"]), inputs)


def test_the_sources_are_read_from_the_dockerfile() -> None:
    assert context.sources(DOCKERFILE) == [
        *("pyproject.toml", "uv.lock", "docs/name.txt", "with space/a b.txt", "src/*.sql", "src/package", "given"),
    ]


def test_the_files_are_those_that_the_sources_name(root: Path) -> None:
    assert context.files(root, DOCKERFILE, ["given"]) == [
        *("docs/name.txt", "pyproject.toml", "src/a.sql", "src/package/__init__.py", "src/package/deep/x.py"),
        *("src/package/notes.md", "uv.lock", "with space/a b.txt"),
    ]


def test_dockerignore_is_respected(root: Path) -> None:
    (root / ".dockerignore").write_text(
        "# all but\n*\n!src\n!pyproject.toml\n**/*.md\n!uv.lock\n!docs/name.txt\n!with space\n"
    )
    files = context.files(root, DOCKERFILE, ["given"])
    assert "src/package/notes.md" not in files
    assert "src/package/deep/x.py" in files


def test_a_source_that_is_not_there_is_a_problem(root: Path) -> None:
    with pytest.raises(Problem, match="nothing-here"):
        context.files(root, "FROM x\nCOPY nothing-here /x\n")


@pytest.mark.parametrize("name", ["uv.lock", "src/package/deep/x.py", "with space/a b.txt", "docs/name.txt"])
def test_a_change_of_what_is_copied_changes_the_tag(root: Path, name: str) -> None:
    before = tag(root)
    (root / name).write_text("changed")
    assert tag(root) != before


def test_a_new_file_or_mode_changes_the_tag(root: Path) -> None:
    tags = {tag(root)}
    (root / "src/package/new.py").touch()
    tags.add(tag(root))
    (root / "src/package/new.py").chmod(0o755)
    tags.add(tag(root))
    assert len(tags) == 3


def test_a_change_of_what_is_not_copied_does_not(root: Path) -> None:
    before = tag(root)
    for name in ("docs/other.txt", "src/b.txt", "src/package/__pycache__/x.pyc"):
        (root / name).write_text("changed")
    assert tag(root) == before


def test_the_dockerfile_and_the_base_are_part_of_the_tag(root: Path) -> None:
    tags = [tag(root), tag(root, DOCKERFILE + "USER 1\n"), tag(root, base="1"), tag(root, base="2")]
    assert len(set(tags)) == len(tags)


def test_the_context_holds_these_files_and_what_is_given(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    target = tmp_path_factory.mktemp("context")
    context.lay(root, ["src/a.sql", "with space/a b.txt"], {"given": root / "uv.lock"}, target)
    laid = sorted(str(each.relative_to(target)) for each in target.rglob("*") if each.is_file())
    assert laid == ["given", "src/a.sql", "with space/a b.txt"]
    assert (target / "given").read_text() == "uv.lock"


@pytest.mark.parametrize(
    ("name", "patterns", "out"),
    [
        ("a/b.pyc", ["**/*.pyc"], True),
        ("b.pyc", ["**/*.pyc"], True),
        ("a/b.pyc", ["*.pyc"], False),
        ("docs/a.md", ["docs"], True),
        ("docs/a.md", ["docs/*.md"], True),
        ("docs/x/a.md", ["docs/*.md"], False),
        ("docs/a.md", ["docs", "!docs/a.md"], False),
        ("a/.venv/bin/x", ["**/.venv"], True),
    ],
)
def test_ignore_patterns(name: str, patterns: list[str], out: bool) -> None:
    assert context.ignored(name, patterns) is out


@pytest.mark.parametrize("name", ["postgres", "s3", "kueue"])
def test_our_own_recipes_find_their_files(name: str) -> None:
    recipe = recipes.all_recipes()[name]
    assert recipe.reference("base").startswith(f"localhost/export-operator-{name}:")
    assert recipe.reference("base") == recipe.reference("base") != recipe.reference("another base")
