"""The schemas for kubeconform: names, strictness, and that they refer to nothing outside themselves."""

from typing import Any

import jsonschema
import pytest

from tests.cluster import schemas

pytestmark = pytest.mark.unit
GROUP_VERSION_KIND = "x-kubernetes-group-version-kind"
DESCRIPTION: dict[str, Any] = {
    "definitions": {
        "apps.v1.Deployment": {
            "type": "object",
            "required": ["spec"],
            "properties": {
                "apiVersion": {"type": "string"},
                "kind": {"type": "string"},
                "spec": {"$ref": "#/definitions/apps.v1.Spec"},
            },
            GROUP_VERSION_KIND: [{"group": "apps", "version": "v1", "kind": "Deployment"}],
        },
        "apps.v1.Spec": {
            "type": "object",
            "required": ["name"],
            "properties": {
                "name": {"type": "string"},
                "replicas": {"type": "integer"},
                "port": {"$ref": "#/definitions/IntOrString"},
                "cpu": {"$ref": f"#/definitions/{schemas.QUANTITY}"},
                "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                "inner": {"$ref": "#/definitions/apps.v1.Spec"},
            },
        },
        "IntOrString": {"type": "string", "format": "int-or-string"},
        schemas.QUANTITY: {"type": "string"},
        "unused": {"type": "object"},
        "helper": {"type": "object", GROUP_VERSION_KIND: [{"group": "a"}, {"group": "b"}]},
    }
}


@pytest.fixture(scope="module")
def deployment() -> dict[str, Any]:
    converted = schemas.convert(DESCRIPTION)
    assert list(converted) == ["deployment-apps-v1.json"]
    return converted["deployment-apps-v1.json"]


def manifest(**spec: object) -> dict[str, object]:
    return {"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"name": "x", **spec}}


@pytest.mark.parametrize(
    "good",
    [
        manifest(),
        manifest(replicas=3, port="http", cpu="100m", labels={"a": "b"}),
        manifest(replicas=None, port=80, cpu=1),
        manifest(inner={"name": "y", "inner": {"name": "z"}}),
    ],
)
def test_what_is_right_is_accepted(deployment: dict[str, Any], good: dict[str, object]) -> None:
    jsonschema.validate(good, deployment)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (manifest(replica=3), "replica"),
        (manifest(replicas="3"), "replicas|type"),
        (manifest(inner={}), "name"),
        (manifest(name=None), "None"),
        ({**manifest(), "kind": "DaemonSet"}, "DaemonSet"),
        ({**manifest(), "apiVersion": "v1"}, "v1"),
        ({"kind": "Deployment"}, "spec"),
    ],
)
def test_what_is_wrong_is_refused(deployment: dict[str, Any], bad: dict[str, object], said: str) -> None:
    with pytest.raises(jsonschema.ValidationError, match=said):
        jsonschema.validate(bad, deployment)


def test_a_schema_carries_what_it_refers_to_and_no_more(deployment: dict[str, Any]) -> None:
    assert set(deployment["definitions"]) == {"apps.v1.Spec", "IntOrString", schemas.QUANTITY}


@pytest.mark.parametrize(
    ("kind", "group", "version", "name"),
    [
        ("Pod", "", "v1", "pod-v1.json"),
        ("Job", "batch", "v1", "job-batch-v1.json"),
        ("Role", "rbac.authorization.k8s.io", "v1", "role-rbac-v1.json"),
        ("ExportRequest", "export-operator.io", "v1alpha1", "exportrequest-export-operator-v1alpha1.json"),
    ],
)
def test_names_are_those_that_kubeconform_looks_for(kind: str, group: str, version: str, name: str) -> None:
    assert schemas.file_name(kind, group, version) == name


def test_a_custom_resource_is_checked_as_strictly() -> None:
    spec = {"type": "object", "required": ["source"], "properties": {"source": {"type": "string"}}}
    definition = {
        "spec": {
            "group": "example.com",
            "names": {"kind": "Thing"},
            "versions": [
                {"name": "v1", "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}}
            ],
        }
    }
    schema = schemas.custom(definition)["thing-example-v1.json"]
    thing = {"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "x"}, "spec": {"source": "y"}}
    jsonschema.validate(thing, schema)
    with pytest.raises(jsonschema.ValidationError, match="sorce"):
        jsonschema.validate({**thing, "spec": {"sorce": "y"}}, schema)
