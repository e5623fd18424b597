"""The CRDs keep the API's own rules: described, bounded, taught."""

import re
from collections.abc import Iterator
from typing import Any

import cel
import jsonschema
import pytest
import yaml
from scripts import api_reference, crd_schemas
from scripts.crd_schemas import CRDS, crds

from export_operator.domain.cron import ALIASES, read_schedule

pytestmark = pytest.mark.unit

KINDS = crds()
ROOT = CRDS.parent.parent
SAMPLES = sorted((ROOT / "manifests" / "samples").glob("*.yaml"))


def version(kind: str) -> dict[str, Any]:
    found: dict[str, Any] = KINDS[kind]["spec"]["versions"][0]
    return found


def fields(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every field below a schema with its path, items and values of maps included."""
    for name, field in schema.get("properties", {}).items():
        yield f"{path}.{name}", field
        yield from fields(field, f"{path}.{name}")
    for part in ("items", "additionalProperties"):
        if isinstance(schema.get(part), dict):
            yield f"{path}[]", schema[part]
            yield from fields(schema[part], f"{path}[]")


EACH_KIND = pytest.mark.parametrize("kind", sorted(KINDS))


def all_fields(kind: str) -> list[tuple[str, dict[str, Any]]]:
    """Every field but the metadata, which the API server describes."""
    return [pair for pair in fields(version(kind)["schema"]["openAPIV3Schema"]) if pair[0] != ".metadata"]


@EACH_KIND
def test_every_field_is_described_in_a_sentence(kind: str) -> None:
    said = {path: " ".join(field.get("description", "").split()) for path, field in all_fields(kind)}
    assert [path for path, text in said.items() if not re.search(r"\S.*[.]\)?$", text)] == []


@EACH_KIND
def test_every_string_is_bounded(kind: str) -> None:
    strings = [(path, field) for path, field in all_fields(kind) if field.get("type", "string") == "string"]
    assert [path for path, field in strings if not {"maxLength", "enum"} & set(field)] == []


@EACH_KIND
def test_every_list_is_bounded_and_says_how_it_merges(kind: str) -> None:
    lists = [(path, field) for path, field in all_fields(kind) if field.get("type") == "array"]
    assert [path for path, field in lists if field.get("maxItems", 1_000_000) > 1024] == []
    assert [path for path, field in lists if "x-kubernetes-list-type" not in field] == []


@EACH_KIND
def test_every_map_is_bounded(kind: str) -> None:
    maps = [(path, field) for path, field in all_fields(kind) if "additionalProperties" in field]
    assert [path for path, field in maps if field.get("maxProperties", 1_000_000) > 32] == []


@EACH_KIND
def test_nothing_escapes_the_schema(kind: str) -> None:
    for path, field in all_fields(kind):
        assert "x-kubernetes-preserve-unknown-fields" not in field, path
        assert field.get("type") != "object" or {"properties", "additionalProperties"} & set(field), path


def test_phase_has_no_enum_so_that_an_old_crd_does_not_break_a_new_operator() -> None:
    status = version("ExportRequest")["schema"]["openAPIV3Schema"]["properties"]["status"]
    assert "enum" not in status["properties"]["phase"]


def test_no_default_stands_where_a_policy_gives_one() -> None:
    spec = version("ExportRequest")["schema"]["openAPIV3Schema"]["properties"]["spec"]
    assert [path for path, field in fields(spec) if "default" in field] == []


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"ExportUsage"}))
def test_a_fresh_object_is_not_current(kind: str) -> None:
    assert version(kind)["schema"]["openAPIV3Schema"]["properties"]["status"]["default"] == {"observedGeneration": -1}
    assert version(kind)["subresources"] == {"status": {}}


@EACH_KIND
def test_a_kind_is_found_by_a_short_name_and_in_the_category(kind: str) -> None:
    names = KINDS[kind]["spec"]["names"]
    assert names["categories"] == ["exports"]
    assert len(names["shortNames"]) == 1
    assert KINDS[kind]["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


@EACH_KIND
def test_printer_columns_and_selectable_fields_name_fields_that_exist(kind: str) -> None:
    known = {path for path, _ in fields(version(kind)["schema"]["openAPIV3Schema"])}
    columns = [column["jsonPath"] for column in version(kind)["additionalPrinterColumns"]]
    selectable = [field["jsonPath"] for field in version(kind).get("selectableFields", [])]
    for path in [*columns, *selectable]:
        if not path.startswith(".metadata."):
            assert re.sub(r"\[\?\(.*\)\]", "[]", path) in known


def test_every_field_of_a_request_is_immutable_but_for_the_four_that_steer_it() -> None:
    spec = version("ExportRequest")["schema"]["openAPIV3Schema"]["properties"]["spec"]
    rules = [rule for rule in spec["x-kubernetes-validations"] if rule["reason"] == "FieldValueForbidden"]
    guarded = {rule["fieldPath"].removeprefix(".") for rule in rules}
    assert set(spec["properties"]) - guarded == {"suspend", "cancel", "runID", "ttlSecondsAfterFinished"}


@EACH_KIND
def test_every_rule_says_what_to_do(kind: str) -> None:
    for message in api_reference.rules(version(kind)["schema"]["openAPIV3Schema"]):
        assert len(message) > 40


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_a_sample_of_our_kinds_is_valid(path: Any) -> None:
    document = yaml.safe_load(path.read_text())
    if document["kind"] in KINDS:  # Kubernetes' own are for kubeconform
        jsonschema.validate(document, crd_schemas.json_schema(KINDS[document["kind"]]))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "sources"), {}),
        (("spec", "output", "format"), "XML"),
        (("spec", "runDeadlineSeconds"), 0),
        (("spec", "source", "columns"), []),
        (("spec", "destination", "keyPrefix"), "/absolute"),
    ],
    ids=str,
)
def test_the_schemas_for_checks_without_a_cluster_refuse_what_is_wrong(path: tuple[str, ...], value: Any) -> None:
    document: dict[str, Any] = {
        "apiVersion": "export-operator.io/v1alpha1",
        "kind": "ExportRequest",
        "metadata": {"name": "one"},
        "spec": {"source": {"name": "app-db"}, "output": {}, "destination": {}},
    }
    schema = crd_schemas.json_schema(KINDS["ExportRequest"])
    jsonschema.validate(document, schema)
    place = document
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, schema)


def test_the_api_reference_is_that_of_the_crds() -> None:
    page = (ROOT / "docs" / "reference" / "api.md").read_text()
    for kind in KINDS:
        for path, _ in fields(version(kind)["schema"]["openAPIV3Schema"]):
            if "[][]" not in path and not path.endswith("[]") and path.startswith((".spec.", ".status.")):
                assert f"`{path.removeprefix('.')}`" in page


def test_the_enums_are_those_that_the_exporter_knows() -> None:
    from typing import get_args, get_type_hints

    from export_contract import runspec

    def properties(kind: str, *path: str) -> dict[str, Any]:
        found = version(kind)["schema"]["openAPIV3Schema"]["properties"]["spec"]
        for name in path:
            found = found["properties"][name]
            found = found.get("items", found)
        made: dict[str, Any] = found["properties"]
        return made

    def known(kind: type, field: str) -> list[str]:
        return list(get_args(get_type_hints(kind)[field]))

    request, source = properties("ExportRequest"), properties("ExportSource")
    output, destination = properties("ExportRequest", "output"), properties("ExportDestination")
    assert output["format"]["enum"] == list(get_args(runspec.Format))
    assert output["compression"]["enum"] == list(get_args(runspec.Compression))
    assert output["layout"]["enum"] == list(get_args(runspec.Layout))
    assert output["onUnrepresentable"]["enum"] == known(runspec.Output, "on_unrepresentable")
    assert output["csv"]["properties"]["quoting"]["enum"] == known(runspec.CsvOptions, "quoting")
    assert output["csv"]["properties"]["lineEnd"]["enum"] == known(runspec.CsvOptions, "line_end")
    for name, field in {"bigNumbers": "big_numbers", "nonFinite": "non_finite", "bytea": "bytea"}.items():
        assert output["json"]["properties"][name]["enum"] == known(runspec.JsonOptions, field)
    assert request["resume"]["enum"] == list(get_args(runspec.Resume))
    assert request["consistency"]["enum"] == list(get_args(runspec.Consistency))
    assert source["sslMode"]["enum"] == list(get_args(runspec.SSLMode))
    assert properties("ExportSource", "datasets", "parameters")["type"]["enum"] == list(get_args(runspec.ParameterType))
    assert properties("ExportSource", "datasets", "masks")["kind"]["enum"] == known(runspec.Mask, "kind")
    assert destination["encryption"]["properties"]["mode"]["enum"] == known(runspec.Encryption, "mode")


SCHEDULES = (
    *ALIASES,
    "30 2 * * 1-5",
    "*/10 0-6,22 1,15 JAN-MAR MON-FRI",
    "0 6 L * ?",
    "0 6 LW * *",
    "0 6 ? * mon#1",
    "0 6 * * 5L",
)


@pytest.mark.parametrize("text", SCHEDULES)
def test_the_api_server_takes_the_schedules_that_the_operator_reads(text: str) -> None:
    read_schedule(text, "")
    assert cel.evaluate(_rule("schedule"), {"self": text})


@pytest.mark.parametrize(
    "text", ["@reboot", "@every 5m", "CRON_TZ=UTC 0 0 * * *", "0 * * * * *", "* * * *", "a b c d e"]
)
def test_what_is_no_schedule_at_all_does_not_get_past_the_api_server(text: str) -> None:
    assert not cel.evaluate(_rule("schedule"), {"self": text})


@pytest.mark.parametrize(
    ("zone", "taken"),
    [("UTC", True), ("Europe/Berlin", True), ("America/Argentina/Buenos_Aires", True), ("Etc/GMT+5", True)]
    + [(zone, False) for zone in ("Local", "../etc/passwd", "+01:00", "Europe/", "")],
)
def test_time_zones_are_names(zone: str, taken: bool) -> None:
    assert cel.evaluate(_rule("timeZone"), {"self": zone}) is taken


TOLERATIONS: list[tuple[dict[str, Any], bool]] = [
    ({"key": "pool", "operator": "Equal", "value": "batch", "effect": "NoSchedule"}, True),
    ({"key": "pool", "effect": "NoExecute", "tolerationSeconds": 60}, True),
    ({"operator": "Exists"}, True),
    ({"effect": "NoSchedule"}, False),
    ({"key": "pool", "operator": "Exists", "value": "batch"}, False),
    ({"key": "pool", "operator": "Exists", "tolerationSeconds": 60}, False),
]


@pytest.mark.parametrize(("toleration", "taken"), TOLERATIONS, ids=str)
def test_a_policy_tolerates_only_what_kubernetes_takes_in_a_pod(toleration: dict[str, Any], taken: bool) -> None:
    spec = version("ExportPolicy")["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    rules = spec["pod"]["properties"]["tolerations"]["items"]["x-kubernetes-validations"]
    assert all(cel.evaluate(rule["rule"], {"self": toleration}) for rule in rules) is taken


def _rule(field: str) -> str:
    """The one rule of a field of ScheduledExports."""
    (rule,) = version("ScheduledExport")["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"][field][
        "x-kubernetes-validations"
    ]
    return str(rule["rule"])
