"""What the documentation shows can be applied: each YAML of it is taken to the API server."""

from typing import Any

import pytest

from tests.e2e import guides
from tests.e2e.api.kubectl import Kubectl

PAGES = [guides.ROOT / "README.md", *sorted(guides.GUIDES.glob("*.md"))]


def examples() -> list[Any]:
    found = [
        pytest.param(example, id=name)
        for page in PAGES
        for name, example in guides.examples(page)
        # Values of the chart are rendered by tests/unit/manifests; what is Kueue's is applied by test_kueue.py.
        if "apiVersion" in example and not example["apiVersion"].startswith("kueue.x-k8s.io/")
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
