"""What the chart makes, and the manifests beside it, as tests read them."""

from pathlib import Path
from typing import Any

import yaml

from tests.cluster import shell, tools

ROOT = Path(__file__).resolve().parents[3]
CHART = ROOT / "charts" / "export-operator"


def documents(path: Path) -> list[dict[str, object]]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def rendered(*options: str | Path, **settings: str) -> list[dict[str, Any]]:
    """What the chart makes in the namespace exports with these options and values, dots in their names written as
    `__`."""
    given = [option for name, value in settings.items() for option in ("--set", f"{name.replace('__', '.')}={value}")]
    text = shell.run([tools.path("helm"), "template", "x", CHART, "--namespace", "exports", *options, *given]).stdout
    return [each for each in yaml.safe_load_all(text) if each]


HISTORY = {
    "history__enabled": "true",
    "history__host": "audit.db.svc",
    "history__database": "audit",
    "history__credentialsSecret__name": "history",
}
