"""Dataclasses to JSON and back, and what is refused on the way."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_contract.codec import ContractError, camel, decode, dumps, encode, loads
from export_contract.manifest import Column, Manifest, ObjectRef
from export_contract.runspec import Destination, Limits, Output, Parameter, Relation, Run, RunSpec, Source

pytestmark = pytest.mark.unit


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """Holds one of each simple kind."""

    name: str
    flag: bool = False
    number: int = 0
    ratio: float = 0.0
    mode: Literal["On", "Off"] = "On"
    version: Literal[1] = 1
    note: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """Holds one of each compound kind."""

    leaf: Leaf
    leaves: tuple[Leaf, ...] = ()
    sizes: dict[str, float] = field(default_factory=dict)
    other_leaf: Leaf | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Picky:
    """Refuses what its types allow."""

    number: int

    def __post_init__(self) -> None:
        if self.number < 0:
            raise ContractError("'number' must not be negative")


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    picky: Picky


texts = st.text(st.characters(codec="utf-8"), max_size=12)
finite = st.floats(allow_nan=False, allow_infinity=False)
leaves = st.builds(
    Leaf,
    name=texts,
    flag=st.booleans(),
    number=st.integers(),
    ratio=finite,
    mode=st.sampled_from(["On", "Off"]),
    note=st.none() | texts,
)
trees = st.builds(
    Tree,
    leaf=leaves,
    leaves=st.lists(leaves, max_size=3).map(tuple),
    sizes=st.dictionaries(texts, finite, max_size=3),
    other_leaf=st.none() | leaves,
)
run_specs = st.builds(
    RunSpec,
    run=st.builds(Run, id=texts, namespace=texts, name=texts, uid=texts, run_id=texts, requester=texts),
    source=st.builds(
        Source,
        name=texts,
        dataset=texts,
        host=texts,
        database=texts,
        columns=st.lists(texts, min_size=1, max_size=3).map(tuple),
        relation=st.builds(Relation, schema=texts, table=texts),
        query=st.none(),
        parameters=st.lists(st.builds(Parameter, name=texts, type=st.just("text"), value=texts), max_size=2).map(tuple),
    ),
    destination=st.builds(Destination, name=texts, bucket=texts, key=texts, manifest_key=texts),
    output=st.builds(Output),
    limits=st.builds(Limits),
)
manifests = st.builds(
    Manifest,
    run=st.builds(Run, id=texts, namespace=texts, name=texts, uid=texts),
    columns=st.lists(st.builds(Column, name=texts, type=texts), max_size=2).map(tuple),
    objects=st.lists(st.builds(ObjectRef, bucket=texts, key=texts), max_size=2).map(tuple),
    source=texts,
    dataset=texts,
    format=texts,
)


@given(trees)
def test_what_is_written_is_read_back(tree: Tree) -> None:
    assert loads(Tree, dumps(tree)) == tree


@given(run_specs)
def test_a_run_spec_is_read_back(spec: RunSpec) -> None:
    assert RunSpec.from_json(spec.to_json()) == spec


@given(manifests)
def test_a_manifest_is_read_back(manifest: Manifest) -> None:
    assert Manifest.from_json(manifest.to_json()) == manifest


@given(trees)
def test_a_document_is_one_line(tree: Tree) -> None:
    assert len(dumps(tree).split("\n")) == 1


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("name", "name"),
        ("key_prefix", "keyPrefix"),
        ("run_id", "runID"),
        ("manifest_uri", "manifestURI"),
        ("id", "id"),
        ("uri", "uri"),
        ("peak_memory_bytes", "peakMemoryBytes"),
    ],
)
def test_names_are_written_as_kubernetes_does(name: str, expected: str) -> None:
    assert camel(name) == expected


def test_fields_that_are_none_are_left_out() -> None:
    assert encode(Tree(leaf=Leaf(name="a"))) == {
        "leaf": {"name": "a", "flag": False, "number": 0, "ratio": 0.0, "mode": "On", "version": 1},
        "leaves": [],
        "sizes": {},
    }


LEAF = {"name": "a"}
ERRORS: list[tuple[Any, str]] = [
    ([], "$: expected an object, got list"),
    (None, "$: expected an object, got NoneType"),
    ({}, "$: field 'leaf' is missing"),
    ({"leaf": LEAF, "leave": []}, "$: unknown field 'leave'; known: leaf, leaves, otherLeaf, sizes"),
    ({"leaf": {}}, "$.leaf: field 'name' is missing"),
    ({"leaf": []}, "$.leaf: expected an object, got list"),
    ({"leaf": None}, "$.leaf: expected an object, got NoneType"),
    ({"leaf": LEAF | {"name": 1}}, "$.leaf.name: expected str, got int"),
    ({"leaf": LEAF | {"name": None}}, "$.leaf.name: expected str, got NoneType"),
    ({"leaf": LEAF | {"number": True}}, "$.leaf.number: expected int, got bool"),
    ({"leaf": LEAF | {"number": 1.0}}, "$.leaf.number: expected int, got float"),
    ({"leaf": LEAF | {"flag": 1}}, "$.leaf.flag: expected bool, got int"),
    ({"leaf": LEAF | {"ratio": "1"}}, "$.leaf.ratio: expected float, got str"),
    ({"leaf": LEAF | {"ratio": True}}, "$.leaf.ratio: expected float, got bool"),
    ({"leaf": LEAF | {"mode": "on"}}, "$.leaf.mode: 'on' is not one of On, Off"),
    ({"leaf": LEAF | {"mode": []}}, "$.leaf.mode: [] is not one of On, Off"),
    ({"leaf": LEAF | {"version": 2}}, "$.leaf.version: 2 is not one of 1"),
    ({"leaf": LEAF | {"version": True}}, "$.leaf.version: True is not one of 1"),
    ({"leaf": LEAF, "leaves": {}}, "$.leaves: expected a list, got dict"),
    ({"leaf": LEAF, "leaves": [LEAF, {}]}, "$.leaves[1]: field 'name' is missing"),
    ({"leaf": LEAF, "sizes": []}, "$.sizes: expected an object, got list"),
    ({"leaf": LEAF, "sizes": {"a": "b"}}, "$.sizes.a: expected float, got str"),
    ({"leaf": LEAF, "otherLeaf": 1}, "$.otherLeaf: expected an object, got int"),
]


@pytest.mark.parametrize(("data", "message"), ERRORS, ids=[message for _, message in ERRORS])
def test_an_error_names_path_type_and_what_is_allowed(data: Any, message: str) -> None:
    with pytest.raises(ContractError) as refused:
        decode(Tree, data)
    assert str(refused.value) == message


def test_a_rule_of_the_class_is_told_with_its_path() -> None:
    with pytest.raises(ContractError) as refused:
        decode(Holder, {"picky": {"number": -1}})
    assert str(refused.value) == "$.picky: 'number' must not be negative"


@pytest.mark.parametrize("text", ["", "{", "nul", "[" * 5000, '{"a":' * 2000, "1" * 5000, b"\xff"])
def test_text_that_is_no_json_is_refused_by_name(text: str | bytes) -> None:
    with pytest.raises(ContractError, match=r"^\$: not JSON: "):
        loads(Tree, text)


@pytest.mark.parametrize(
    ("text", "path"),
    [('{"name": "a\\ud800"}', "$.name"), ('{"name": "a", "note": "\\udfff"}', "$.note")],
)
def test_half_a_surrogate_pair_is_refused_because_no_utf8_can_hold_it(text: str, path: str) -> None:
    with pytest.raises(ContractError, match=f"^{re.escape(path)}: holds half of a surrogate pair"):
        loads(Leaf, text)


def test_a_whole_surrogate_pair_is_a_character() -> None:
    assert loads(Leaf, '{"name": "\\ud83d\\ude00"}').name == "😀"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "9" * 400])
def test_a_number_without_bound_is_refused(number: str) -> None:
    with pytest.raises(ContractError, match=r"^\$\.leaf\.ratio: .* is not a finite number$"):
        loads(Tree, f'{{"leaf": {{"name": "a", "ratio": {number}}}}}')


def test_a_number_without_bound_is_not_written() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        dumps(Leaf(name="a", ratio=float("nan")))


def test_a_whole_number_is_a_number() -> None:
    assert decode(Leaf, {"name": "a", "ratio": 2}) == Leaf(name="a", ratio=2.0)


def changed(**changes: Any) -> str:
    source = {"name": "s", "dataset": "d", "host": "h", "database": "b", "columns": ["c"]} | changes
    run = {"id": "i", "namespace": "n", "name": "m", "uid": "u"}
    destination = {"name": "d", "bucket": "b", "key": "k", "manifestKey": "m"}
    return json.dumps({"run": run, "source": source, "destination": destination})


TABLE = {"schema": "public", "table": "users"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "exactly one of 'relation' and 'query' must be given"),
        ({"relation": TABLE, "query": "SELECT 1"}, "exactly one of 'relation' and 'query' must be given"),
        ({"relation": TABLE, "columns": []}, "'columns' must name at least one column"),
    ],
)
def test_a_source_is_a_table_or_a_query_with_columns(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ContractError) as refused:
        RunSpec.from_json(changed(**changes))
    assert str(refused.value) == f"$.source: {message}"
