"""Links and commands of the documentation lead somewhere, and whoever starts at the README finds every page."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[3]
START = ROOT / "README.md"
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "tests").rglob("README.md")]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def without_code(page: Path) -> str:
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ +(.*)$", without_code(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(page: Path) -> Iterator[tuple[Path, str]]:
    """Where each link leads that stays in the repository: a file and an anchor."""
    for target in LINK.findall(without_code(page)):
        if not re.match(r"https?:|mailto:", target):
            path, _, anchor = target.partition("#")
            yield (page.parent / path).resolve() if path else page, anchor


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_link_leads_to_a_file_and_heading_that_there_are(page: Path) -> None:
    lost = [(str(file), anchor) for file, anchor in links(page) if not file.exists()]
    lost += [
        (file.name, anchor)
        for file, anchor in links(page)
        if anchor and file.suffix == ".md" and file.exists() and anchor not in anchors(file)
    ]
    assert lost == []


def test_every_page_is_found_from_the_readme() -> None:
    found, ahead = {START}, [START]
    while ahead:
        for file, _ in links(ahead.pop()):
            if file.suffix == ".md" and file.exists() and file not in found:
                found.add(file)
                ahead.append(file)
            elif file.is_dir():
                found.update(file.glob("*.md"))
    assert {str(page.relative_to(ROOT)) for page in PAGES} - {str(page.relative_to(ROOT)) for page in found} == set()


MAKE = re.compile(r"(?:`|^    |&& )make ([a-z0-9-]+)", re.MULTILINE)
MODULE = re.compile(r"python3? -m ((?:tests|scripts)[a-z_.]*[a-z_])")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_command_of_the_repository_that_a_page_names_is_there(page: Path) -> None:
    text = page.read_text()
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(MAKE.findall(text)) - targets == set()
    for module in (ROOT.joinpath(*name.split(".")) for name in MODULE.findall(text)):
        assert module.with_suffix(".py").exists() or (module / "__main__.py").exists(), module


def test_the_index_of_decisions_has_each_by_its_title() -> None:
    pages = sorted((ROOT / "docs" / "adr").glob("[0-9]*.md"))
    titles = [page.read_text().splitlines()[0].removeprefix("# ").split(": ", 1) for page in pages]
    expected = [f"| {number} | [{title}]({page.name}) |" for page, (number, title) in zip(pages, titles, strict=True)]
    index = (ROOT / "docs" / "adr" / "README.md").read_text().splitlines()
    assert [line for line in index if line.startswith("| 0")] == expected
