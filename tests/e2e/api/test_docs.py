"""What the documentation shows can be applied: each YAML of it is taken to the API server."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.api.kubectl import Kubectl

ROOT = Path(__file__).resolve().parents[3]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs" / "guide").glob("*.md"))]
BLOCK = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)


def examples() -> list[Any]:
    found = [
        pytest.param(example, id=f"{page.stem}-{number}")
        for page in PAGES
        for number, block in enumerate(BLOCK.findall(page.read_text()), start=1)
        # Those of Kueue are applied where Kueue is: tests/e2e/test_kueue.py.
        if not (example := yaml.safe_load(block))["apiVersion"].startswith("kueue.x-k8s.io/")
    ]
    assert found, "the documentation has no examples any more"
    return found


@pytest.mark.parametrize("example", examples())
def test_an_example_of_the_documentation_is_accepted(namespace: Kubectl, example: dict[str, Any]) -> None:
    example["metadata"].pop("namespace", None)
    if example["kind"] != "ExportRequest":
        example["metadata"]["name"] += "-docs"  # one of that name may be in use
    answer = namespace.dry_run(example)
    assert answer.ok, answer.error
