"""Writes docs/reference/api.md from the CRDs: python -m scripts.api_reference manifests/crds."""

import sys
from pathlib import Path
from typing import Any

import yaml

HEAD = """\
<!-- Rendered from manifests/crds by scripts/render-manifests. Do not edit. -->
# API reference

Group `export-operator.io`, version `v1alpha1`. `kubectl explain exportrequest.spec` shows the same in a terminal.
"""
ORDER = [
    "ExportRequest",
    "ScheduledExport",
    "ExportDownload",
    "ExportSource",
    "ExportDestination",
    "ExportPolicy",
    "ExportUsage",
]


def kind_of(schema: dict[str, Any]) -> str:
    """A type as a person reads it: `string`, `[string]`, `map of number`."""
    if schema.get("x-kubernetes-int-or-string"):
        return "quantity"
    if schema["type"] == "array":
        return f"list of {kind_of(schema['items'])}"
    if "additionalProperties" in schema:
        return f"map of {kind_of(schema['additionalProperties'])}"
    return "time" if schema.get("format") == "date-time" else str(schema["type"])


def bounds(schema: dict[str, Any]) -> list[str]:
    """What a value must keep to."""
    said = []
    if "enum" in schema:
        said.append(" · ".join(f"`{value}`" for value in schema["enum"]))
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        said.append(f"{low} to {high}")
    elif low is not None:
        said.append(f"at least {low}")
    if "maxLength" in schema and schema.get("format") != "date-time" and "enum" not in schema:
        said.append(f"at most {schema['maxLength']} characters")
    if "maxItems" in schema:
        said.append(f"at most {schema['maxItems']}")
    if "maxProperties" in schema:
        said.append(f"at most {schema['maxProperties']}")
    if "default" in schema and not isinstance(schema["default"], dict):
        said.append(f"default `{schema['default']}`")
    if schema["type"] == "array" and "enum" in schema["items"]:
        said.append(" · ".join(f"`{value}`" for value in schema["items"]["enum"]))
    return said


def rows(schema: dict[str, Any], path: str) -> list[str]:
    """The table's lines for an object's fields, depth first."""
    lines = []
    for name, field in schema.get("properties", {}).items():
        full = f"{path}.{name}" if path else name
        required = "yes" if name in schema.get("required", []) else ""
        text = " ".join(field.get("description", "").split()).replace("|", "\\|").replace("<", "&lt;")
        lines.append(f"| `{full}` | {kind_of(field)} | {required} | {'; '.join(bounds(field))} | {text} |")
        if field["type"] == "array":
            lines += rows(field["items"], f"{full}[]")
        elif field["type"] == "object":
            lines += rows(field, full)
    return lines


def rules(schema: dict[str, Any]) -> list[str]:
    """The messages of all CEL rules below, once each."""
    found = [str(rule["message"]) for rule in schema.get("x-kubernetes-validations", [])]
    for field in [*schema.get("properties", {}).values(), schema.get("items"), schema.get("additionalProperties")]:
        if isinstance(field, dict):
            found += rules(field)
    return list(dict.fromkeys(found))


def page(crd: dict[str, Any]) -> str:
    """One kind's section."""
    names, version = crd["spec"]["names"], crd["spec"]["versions"][0]
    schema = version["schema"]["openAPIV3Schema"]
    scope = "in a namespace" if crd["spec"]["scope"] == "Namespaced" else "cluster-wide"
    header = ["| field | type | required | bounds | meaning |", "|---|---|---|---|---|"]
    parts = [
        f"## {names['kind']}",
        f"`{names['plural']}`, short `{names['shortNames'][0]}`, {scope}. {' '.join(schema['description'].split())}",
    ]
    for part in ("spec", "status"):
        if part in schema["properties"]:
            parts += [f"### {names['kind']} {part}", "\n".join([*header, *rows(schema["properties"][part], part)])]
    if found := rules(schema):
        parts += [f"### {names['kind']} rules", "\n".join(f"- {message}" for message in found)]
    if fields := [each["jsonPath"].removeprefix(".") for each in version.get("selectableFields", [])]:
        parts.append("Field selectors: " + ", ".join(f"`{field}`" for field in fields) + ".")
    return "\n\n".join(parts)


def main() -> None:
    crds = [yaml.safe_load(path.read_text()) for path in Path(sys.argv[1]).glob("*.yaml")]
    crds.sort(key=lambda crd: ORDER.index(crd["spec"]["names"]["kind"]))
    sys.stdout.write("\n".join([HEAD, *(page(crd) + "\n" for crd in crds)]))


if __name__ == "__main__":
    main()
