"""The YAML that the documentation shows."""

import re
from collections.abc import Iterator
from pathlib import Path

import yaml

from tests.platform.api import Json

ROOT = Path(__file__).resolve().parents[2]
GUIDES = ROOT / "docs" / "guide"
BLOCK = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)


def examples(page: Path) -> Iterator[tuple[str, Json]]:
    """Each example of a page, with a name for it."""
    for number, block in enumerate(BLOCK.findall(page.read_text()), start=1):
        yield f"{page.stem}-{number}", yaml.safe_load(block)
