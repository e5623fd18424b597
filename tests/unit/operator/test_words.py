"""What many documents say alike is kept once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_operator import words
from export_operator.domain.identity import Subject
from export_operator.domain.model import Key
from export_operator.domain.pages import Entry, Page
from export_operator.domain.usage import parse_usage, render_usage
from export_operator.store import Store
from export_operator.words import Words

from .builders import NOW

pytestmark = pytest.mark.unit

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


def texts(value: Any) -> Iterator[str]:
    """All of a document, in order."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from (name, *texts(item))
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)


@given(st.dictionaries(st.text(max_size=5), values, max_size=5))
def test_a_document_says_the_same_in_words_that_are_known(document: dict[str, Any]) -> None:
    known = Words()
    first, second = known.shared(document), known.shared(json.loads(json.dumps(document)))
    assert first == second == document
    assert list(map(id, texts(first))) == list(map(id, texts(second)))


def test_no_more_is_known_than_so_many_and_those_of_a_document(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "MOST", 10)
    known = Words()
    for number in range(100):
        known.shared({"name": f"r-{number}"})
        assert len(known._known) <= 12


def test_requests_are_kept_in_words_that_they_share() -> None:
    store = Store(lambda _: None)
    for name in ("a", "b"):
        metadata = {"namespace": "team-a", "name": name, "uid": name, "resourceVersion": "1"}
        status = {"reason": "Delivered", "effective": {"columns": ["id", "email"]}}
        store.put_request(json.loads(json.dumps({"metadata": metadata, "spec": {}, "status": status})))
    first, second = (store.requests[Key("team-a", name)]["status"] for name in ("a", "b"))
    assert list(map(id, texts(first))) == list(map(id, texts(second)))


def test_entries_of_the_ledger_name_what_they_share_once() -> None:
    entries = [
        Entry(f"run-{name}", Key("team-a", name), name, NOW, "alice@example.com", "app-db", "exports", "analysts")
        for name in ("a", "b")
    ]
    body = render_usage("export-runs", Subject("User", "alice@example.com"), Page(tuple(entries)))
    body["metadata"]["resourceVersion"] = "1"
    first, second = parse_usage(json.loads(json.dumps(body))).page.entries
    shared = [
        (each.request.namespace, each.user, each.source, each.destination, each.policy) for each in (first, second)
    ]
    assert (first, second) == tuple(entries)
    assert list(map(id, shared[0])) == list(map(id, shared[1]))
