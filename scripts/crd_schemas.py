"""Strict JSON schemas of our kinds, made from the CRDs, for checks without a cluster.

python -m scripts.crd_schemas DIRECTORY writes one <kind>.json for each, as kubeconform reads them.
"""

import json
import sys
from pathlib import Path
from typing import Any

import yaml

CRDS = Path(__file__).resolve().parent.parent / "manifests" / "crds"


def crds() -> dict[str, dict[str, Any]]:
    """The CRDs by kind."""
    documents = [yaml.safe_load(path.read_text()) for path in sorted(CRDS.glob("*.yaml"))]
    return {document["spec"]["names"]["kind"]: document for document in documents}


def strict(schema: dict[str, Any]) -> dict[str, Any]:
    """The same schema, refusing fields that it does not name, as the API server does for `kubectl apply`."""
    made = dict(schema)
    if "properties" in made:
        made["properties"] = {name: strict(field) for name, field in made["properties"].items()}
        made.setdefault("additionalProperties", False)
    if isinstance(made.get("items"), dict):
        made["items"] = strict(made["items"])
    if isinstance(made.get("additionalProperties"), dict):
        made["additionalProperties"] = strict(made["additionalProperties"])
    return made


def json_schema(crd: dict[str, Any]) -> dict[str, Any]:
    """A kind's schema, with apiVersion and kind fixed."""
    made = strict(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
    made["required"] = ["apiVersion", "kind", "metadata", *made.get("required", [])]
    made["properties"]["apiVersion"] = {"const": f"{crd['spec']['group']}/{crd['spec']['versions'][0]['name']}"}
    made["properties"]["kind"] = {"const": crd["spec"]["names"]["kind"]}
    made["properties"]["metadata"] = {"type": "object", "required": ["name"]}
    return made


def main() -> None:
    directory = Path(sys.argv[1])
    for kind, crd in crds().items():
        (directory / f"{kind.lower()}.json").write_text(json.dumps(json_schema(crd)))


if __name__ == "__main__":
    main()
