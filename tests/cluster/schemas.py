"""JSON schemas of the Kubernetes API for kubeconform, without network.

The API's own description lies in the Kubernetes module that the local provider is built of. It is turned into one
strict schema for each kind, in the places where kubeconform looks:

    kubeconform -strict -kubernetes-version 1.36.3 -schema-location "$(python -m tests.cluster schemas)/<template>" …

with kubeconform's template for a directory, which `LOCATION` holds.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.cluster import digests, locks, paths, say
from tests.cluster.local import program

Schema = dict[str, Any]
LOCATION = "{{.NormalizedKubernetesVersion}}-standalone{{.StrictSuffix}}/{{.ResourceKind}}{{.KindSuffix}}.json"
"""What follows the directory in kubeconform's -schema-location."""
PREFIX = "#/definitions/"
DIALECT = "http://json-schema.org/draft-07/schema#"
KINDS = "x-kubernetes-group-version-kind"
QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
INT_OR_STRING: Schema = {"oneOf": [{"type": "string"}, {"type": "integer"}]}


def file_name(kind: str, group: str, version: str) -> str:
    """kubeconform's name for a kind: deployment-apps-v1.json, role-rbac-v1.json, pod-v1.json."""
    parts = [kind, group.partition(".")[0], version] if group else [kind, version]
    return "-".join(parts).lower() + ".json"


def strict(schema: Schema) -> Schema:
    """The same schema, but a misspelt field is an error, and an optional one may be null, as the API server has it."""
    kept = {key: value for key, value in schema.items() if not key.startswith("x-")}
    if schema.get("x-kubernetes-int-or-string") or schema.get("format") == "int-or-string":
        return {"description": schema.get("description", ""), **INT_OR_STRING}
    required = set(schema.get("required", ()))
    if isinstance(properties := schema.get("properties"), dict):
        converted = {name: strict(each) for name, each in properties.items()}
        kept["properties"] = {n: each if n in required else nullable(each) for n, each in converted.items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            kept.setdefault("additionalProperties", False)
    for key in ("items", "additionalProperties", "not"):
        if isinstance(schema.get(key), dict):
            kept[key] = strict(schema[key])
    for key in ("oneOf", "anyOf", "allOf"):
        if key in schema:
            # A branch narrows what is beside it; it does not list all the fields there are.
            kept[key] = schema[key]
    return kept


def nullable(schema: Schema) -> Schema:
    """The same schema, or null. Not so for whole objects: a null there is a slip, and the error stays readable."""
    if isinstance(schema.get("type"), str):
        changed = {**schema, "type": [schema["type"], "null"]}
        if "enum" in schema:
            changed["enum"] = [*schema["enum"], None]
        return changed
    return schema


def _references(value: object) -> Iterable[str]:
    """The names of the definitions that a schema refers to."""
    if isinstance(value, dict):
        reference = value.get("$ref")
        if isinstance(reference, str):
            yield reference.removeprefix(PREFIX)
        for each in value.values():
            yield from _references(each)
    elif isinstance(value, list):
        for each in value:
            yield from _references(each)


def _reachable(name: str, definitions: dict[str, Schema]) -> set[str]:
    """The definition and all it needs; the API's description of schemas refers to itself, so: a set."""
    found, todo = set[str](), [name]
    while todo:
        current = todo.pop()
        if current not in found:
            found.add(current)
            todo += _references(definitions[current])
    return found


def convert(description: Schema) -> dict[str, Schema]:
    """The schemas of all kinds in an API description (Swagger 2), by file name."""
    definitions = {name: strict(each) for name, each in description["definitions"].items()}
    definitions[QUANTITY] = {"oneOf": [{"type": "string"}, {"type": "number"}]}
    schemas: dict[str, Schema] = {}
    for name, original in description["definitions"].items():
        kinds = original.get(KINDS, [])
        if len(kinds) != 1:  # more: a helper such as DeleteOptions, which is in every group
            continue
        kind = kinds[0]
        used = {each: definitions[each] for each in sorted(_reachable(name, definitions) - {name})}
        if _refers_to(name, used):
            used[name] = definitions[name]
        schema = _pinned(definitions[name], kind["group"], kind["version"], kind["kind"])
        schemas[file_name(kind["kind"], kind["group"], kind["version"])] = {
            "$schema": DIALECT,
            **schema,
            "definitions": used,
        }
    return schemas


def _refers_to(name: str, definitions: dict[str, Schema]) -> bool:
    return name in set(_references(definitions))


def _pinned(schema: Schema, group: str, version: str, kind: str) -> Schema:
    """The schema for this apiVersion and kind and no other."""
    properties = dict(schema.get("properties", {}))
    if "apiVersion" in properties:
        properties["apiVersion"] = {"type": "string", "enum": [f"{group}/{version}" if group else version]}
    if "kind" in properties:
        properties["kind"] = {"type": "string", "enum": [kind]}
    return {**schema, "properties": properties} if properties else schema


def custom(definition: Schema) -> dict[str, Schema]:
    """The schemas of a CustomResourceDefinition (already parsed), by file name; for `kubeconform` on our own kinds."""
    spec = definition["spec"]
    kind, group = spec["names"]["kind"], spec["group"]
    schemas: dict[str, Schema] = {}
    for version in spec["versions"]:
        schema: Schema = dict(version["schema"]["openAPIV3Schema"])
        present = schema.get("properties", {})
        plain = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}}
        schema["properties"] = {**plain, **present, "metadata": {"type": "object"}}
        pinned = _pinned(strict(schema), group, version["name"], kind)
        schemas[file_name(kind, group, version["name"])] = {"$schema": DIALECT, **pinned}
    return schemas


def write(schemas: dict[str, Schema], directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name, schema in schemas.items():
        (directory / name).write_text(json.dumps(schema))


def _build(directory: Path) -> None:
    version = program.kubernetes()
    with say.step(f"converting the API description of Kubernetes {version} to JSON schemas"):
        module = program.module_directory("k8s.io/kubernetes")
        description: Schema = json.loads((module / "api" / "openapi-spec" / "swagger.json").read_text())
        write(convert(description), directory / f"{version}-standalone-strict")


def directory() -> Path:
    """Where the schemas lie; made if they do not."""
    key = digests.of([program.kubernetes(), Path(__file__).read_bytes()])
    return locks.built(paths.cache() / "schemas" / key, _build)
