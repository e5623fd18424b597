"""What another release has written is read: requests, Jobs and manifests outlive the release that made them.

`releases/<version>/` holds documents with every field that the version had. They are never changed; a release adds its
own.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from export_contract.codec import ContractError
from export_contract.manifest import Manifest
from export_contract.report import Outcome, Progress
from export_contract.runspec import RunSpec

pytestmark = pytest.mark.contract

Document = dict[str, Any]
RELEASES = Path(__file__).with_name("releases")
FILES = sorted(RELEASES.glob("*/*.json"))
READERS: dict[str, Callable[[str], RunSpec | Outcome | Progress | Manifest | None]] = {
    "runspec": RunSpec.from_json,
    "delivered": Outcome.from_json,
    "failed": Outcome.from_json,
    "progress": Progress.from_line,
    "manifest": Manifest.from_json,
}
REPORTS = [file for file in FILES if file.stem != "runspec"]


def written_again(name: str, document: Document) -> Document:
    """What a reader of this release makes of the document, as it would write it."""
    read = READERS[name](json.dumps(document, separators=(",", ":")))
    assert read is not None
    again: Document = json.loads(read.to_json())
    return again


def kept(before: Any, after: Any) -> Any:
    """Of `after`, what `before` has as well: a newer release may know more."""
    if isinstance(before, dict) and isinstance(after, dict):
        return {name: kept(before[name], after[name]) for name in before if name in after}
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        return [kept(*each) for each in zip(before, after, strict=True)]
    return after


def grown(value: Any) -> Any:
    """The same with a field more in each object that has fields of ours: a map's keys are data."""
    if isinstance(value, list):
        return [grown(each) for each in value]
    if not isinstance(value, dict):
        return value
    maps = {"tags", "metadata", "timings", "retries", "nulled"}
    inner = {name: each if name in maps else grown(each) for name, each in value.items()}
    return {**inner, "ofALaterRelease": {"and": ["more"]}}


def name_of(file: Path) -> str:
    return f"{file.parent.name} {file.stem}"


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_a_document_of_an_earlier_release_is_read_with_all_that_stands_in_it(file: Path) -> None:
    document = json.loads(file.read_text())
    assert kept(document, written_again(file.stem, document)) == document


@pytest.mark.parametrize("file", REPORTS, ids=name_of)
def test_a_report_with_fields_of_a_later_release_is_read_without_them(file: Path) -> None:
    document = json.loads(file.read_text())
    assert written_again(file.stem, grown(document)) == written_again(file.stem, document)


def test_a_run_spec_with_a_field_of_a_later_release_is_refused_by_name() -> None:
    """Nobody may leave out what he does not know: it could be a mask."""
    document = json.loads((RELEASES / "0.1.0" / "runspec.json").read_text())
    document["source"]["ofALaterRelease"] = True
    with pytest.raises(ContractError, match=r"\$\.source: unknown field 'ofALaterRelease'"):
        RunSpec.from_json(json.dumps(document))


@pytest.mark.parametrize("name", ["delivered", "failed", "manifest", "runspec"])
def test_another_version_of_a_document_is_refused(name: str) -> None:
    document = json.loads((RELEASES / "0.1.0" / f"{name}.json").read_text())
    with pytest.raises(ContractError, match=r"\$\.version: 2 is not one of 1"):
        READERS[name](json.dumps(document | {"version": 2}))
