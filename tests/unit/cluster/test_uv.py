"""What is installed by uv is so by the one that make would take."""

from pathlib import Path

import pytest

from tests.bench import peers
from tests.cluster import paths
from tests.cluster.problem import Problem

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def nothing_on_the_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("UV", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(paths, "cache", lambda: tmp_path / "cache")


def executable(path: Path) -> Path:
    path.parent.mkdir(parents=True)
    path.touch(mode=0o755)
    return path


def test_the_one_in_the_cache_will_do(tmp_path: Path) -> None:
    cached = executable(tmp_path / "cache" / "uv-1.2.3" / "bin" / "uv")
    assert paths.uv() == str(cached)


def test_one_on_the_path_comes_before_the_cache(tmp_path: Path) -> None:
    executable(tmp_path / "cache" / "uv-1.2.3" / "bin" / "uv")
    found = executable(tmp_path / "bin" / "uv")
    assert paths.uv() == str(found)


def test_the_one_that_is_named_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    executable(tmp_path / "bin" / "uv")
    monkeypatch.setenv("UV", "/named/uv")
    assert paths.uv() == "/named/uv"


def test_without_any_the_error_names_it() -> None:
    assert paths.uv() is None
    with pytest.raises(Problem, match=r"^uv is not installed"):
        peers.install()
