"""Of a damaged ledger object, what can be read is read."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_operator.domain.identity import Subject
from export_operator.domain.model import Key
from export_operator.domain.pages import Bucket, Entry, Page, State
from export_operator.domain.salvage import Found, read_usage
from export_operator.domain.tombstones import Tombstones
from export_operator.domain.usage import FORMAT, render_usage

from .builders import NOW, later

pytestmark = pytest.mark.unit

ALICE = Subject("User", "alice")
ONE = Entry(run="a", request=Key("team-a", "a"), uid="uid-a", time=NOW, user="alice", state=State.SETTLED, rows=7)
OLD = Bucket(later(-60), later(-30), requests=2, launches=3, rows=4, bytes=5)
PAGE = Page((ONE,), (OLD,))
SALVAGED = replace(PAGE, tombstones=Tombstones(forgotten=True))


def document(page: Page = PAGE, **spec: Any) -> dict[str, Any]:
    body = render_usage("export-runs", ALICE, page)
    stamped = {"resourceVersion": "7", "creationTimestamp": "2026-11-24T12:00:00Z"}
    return {**body, "metadata": {**body["metadata"], **stamped}, "spec": body["spec"] | spec}


NAME = document()["metadata"]["name"]


def test_an_object_as_it_was_written_is_read_whole() -> None:
    assert read_usage(document()) == Found(NAME, NOW, ALICE, PAGE)


def test_items_that_cannot_be_read_are_counted_and_the_others_kept() -> None:
    good = document()["spec"]
    damaged = document(
        entries=[*good["entries"], {"run": "b"}, None, {**good["entries"][0], "run": "c", "rows": -1}],
        folded=[{"since": "yesterday"}, *good["folded"]],
    )
    found = read_usage(damaged)
    assert (found.subject, found.page, found.unread, found.fault[:15]) == (ALICE, SALVAGED, 4, "it is damaged (")


def test_an_object_named_after_another_subject_has_none() -> None:
    found = read_usage(document(subject={"kind": "User", "name": "bob"}))
    assert (found.subject, found.page, found.fault) == (None, SALVAGED, "it is named after another subject")


def test_what_a_newer_release_wrote_is_not_taken_apart() -> None:
    found = read_usage(document(version=FORMAT + 1))
    assert (found.newer, found.subject, found.page) == (True, ALICE, Page())


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["run", "time", "kind"]), inner),
    max_leaves=8,
)


@given(field=st.sampled_from(["subject", "entries", "folded", "version"]), value=junk)
def test_no_damage_ends_the_reading(field: str, value: Any) -> None:
    assert read_usage(document(**{field: value})).name == NAME


@given(value=junk)
def test_no_spec_at_all_is_damage_too(value: Any) -> None:
    assert read_usage({**document(), "spec": value}).name == NAME
