"""What a sweep makes of a listing: which folders are whose, and which of them are of use to nobody."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from itertools import groupby
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_contract.leftovers import Owned, owned
from export_operator.domain.model import Key
from export_operator.domain.sweep import (
    Artifact,
    Finding,
    Folder,
    Folders,
    Known,
    Parts,
    Stored,
    delivered,
    judge,
    judge_artifact,
    judge_parts,
    judge_upload,
    missing,
    remembered,
)

from .builders import KEY, NOW, RUN, URI, request
from .test_tombstones import stone

pytestmark = pytest.mark.unit

DAY = timedelta(days=1)
KNOWN = Known(NOW, DAY)
OLD = NOW - 2 * DAY
DATA = f"prod/team-a/{KEY.name}/{RUN}/"
DOCUMENTS = f"prod/.export-operator/{RUN}/"
OBJECT, MANIFEST, CHECKPOINT = f"{DATA}{KEY.name}.csv", f"{DATA}manifest.json", f"{DOCUMENTS}checkpoint.json"


def folders(*objects: Stored, excluded: tuple[str, ...] = ()) -> list[Folder]:
    found = Folders("prod", excluded)
    return [folder for stored in objects for folder in found.feed(stored)] + list(found.end())


def stored(*keys: str, **changes: Any) -> list[Stored]:
    return [replace(Stored(key, OLD, 100), **changes) for key in sorted(keys)]


def one(*keys: str, **changes: Any) -> Folder:
    (folder,) = folders(*stored(*keys, **changes))
    return folder


EXPORT, PARTS, POINT = one(OBJECT, MANIFEST), one(OBJECT), one(CHECKPOINT)
VERDICTS: dict[str, tuple[Folder, Known, Finding | None]] = {
    "objects without a manifest": (PARTS, KNOWN, Finding("Unfinished", RUN, DATA, (OBJECT,), 100, KEY)),
    "a checkpoint of a run that has no Job": (POINT, KNOWN, Finding("Checkpoint", RUN, DOCUMENTS, (CHECKPOINT,), 100)),
    "an export whose request is gone": (
        EXPORT,
        KNOWN,
        Finding("Delivered", RUN, DATA, (MANIFEST, OBJECT), 200, KEY),
    ),
    "an export whose request is there": (EXPORT, replace(KNOWN, requests={KEY}), None),
    "an export of a namespace that is not served": (EXPORT, replace(KNOWN, namespaces={"team-b"}), None),
    "objects of a run that has a Job": (PARTS, replace(KNOWN, jobs={RUN}), None),
    "a checkpoint of a run that has a Job": (POINT, replace(KNOWN, jobs={RUN}), None),
    "young objects": (one(OBJECT, modified=NOW), KNOWN, None),
    "objects of which one is young": (
        next(iter(folders(*stored(OBJECT), *stored(f"{DATA}{KEY.name}.csv.gz", modified=NOW)))),
        KNOWN,
        None,
    ),
    "objects exactly as old as the grace": (
        one(OBJECT, modified=NOW - DAY),
        KNOWN,
        Finding("Unfinished", RUN, DATA, (OBJECT,), 100, KEY),
    ),
}


@pytest.mark.parametrize(("folder", "known", "expected"), VERDICTS.values(), ids=list(VERDICTS))
def test_a_folder_is_judged(folder: Folder, known: Known, expected: Finding | None) -> None:
    assert judge(folder, known) == expected


UPLOADS: dict[str, tuple[str, Known, Finding | None]] = {
    "of a run that has no Job": (OBJECT, KNOWN, Finding("Upload", RUN, DATA, (OBJECT,), request=KEY)),
    "beside a checkpoint": (
        f"{DOCUMENTS}probe-{'ab' * 8}",
        KNOWN,
        Finding("Upload", RUN, DOCUMENTS, (f"{DOCUMENTS}probe-{'ab' * 8}",)),
    ),
    "of a run that has a Job": (OBJECT, replace(KNOWN, jobs={RUN}), None),
    "that is none of ours": (f"{DATA}video.mp4", KNOWN, None),
    "under another prefix": (OBJECT.replace("prod", "dev"), KNOWN, None),
    "within the grace": (OBJECT, replace(KNOWN, grace=3 * DAY), None),
}


@pytest.mark.parametrize(("key", "known", "expected"), UPLOADS.values(), ids=list(UPLOADS))
def test_an_upload_is_judged(key: str, known: Known, expected: Finding | None) -> None:
    assert judge_upload(key, OLD, "prod", known) == expected


def test_other_files_among_ours_are_in_no_folder() -> None:
    assert folders(*stored("prod/readme", OBJECT, f"{DATA}notes.txt", f"{DATA}sub/notes.txt", MANIFEST)) == [
        Folder(Owned(RUN, DATA, "team-a", KEY.name), tuple(stored(OBJECT, MANIFEST)), manifest=True)
    ]


def test_what_is_under_an_excluded_prefix_is_not_looked_at() -> None:
    assert folders(*stored(OBJECT), excluded=("prod/team-a/",)) == []


def test_a_prefix_can_be_excluded_while_the_listing_goes_on() -> None:
    found = Folders("prod")
    second = f"prod/team-b/{KEY.name}/{RUN}/{KEY.name}.csv"
    first = [folder for each in stored(OBJECT) for folder in found.feed(each)]
    found.exclude("prod/team-b/")
    rest = [folder for each in stored(second) for folder in found.feed(each)]
    assert (first, rest, list(found.end())) == ([], [PARTS], [])


keys = st.sampled_from(
    [
        f"prod/{namespace}/{middle}{name}/{run}/{file}"
        for namespace in ("a", "b")
        for middle in ("", "x/")
        for name in ("one", "two")
        for run in ("0" * 20, "f" * 20)
        for file in ("manifest.json", f"{name}.csv", f"{name}-00001.csv", "notes.txt", f"deep/{name}.csv")
    ]
    + [f"prod/.export-operator/{run}/checkpoint.json" for run in ("0" * 20, "f" * 20)]
    + ["prod/", "prod/z", "prod/a/one"]
)


@given(st.sets(keys))
def test_folders_are_what_grouping_all_keys_at_once_gives(found: set[str]) -> None:
    ours = [each for each in stored(*found) if owned(each.key, "prod") is not None]
    expected = [tuple(group) for _, group in groupby(ours, lambda each: each.key.rpartition("/")[0])]
    assert [folder.objects for folder in folders(*stored(*found))] == expected


ENDED: Mapping[str, Any] = {
    "phase": "Succeeded",
    "run": RUN,
    "completionTime": "2026-11-20T12:00:00Z",
    "effective": {"destination": "bucket"},
    "result": {"uri": URI},
}
TOLD: dict[str, tuple[Mapping[str, Any], tuple[str, str] | None]] = {
    "delivered": (ENDED, ("bucket", RUN)),
    "adopted from an earlier run": ({**ENDED, "result": {"uri": URI.replace(RUN, "f" * 20)}}, ("bucket", "f" * 20)),
    "not delivered": ({**ENDED, "result": {}}, None),
    "delivered to the fallback": ({**ENDED, "result": {"uri": URI, "usedFallback": True}}, None),
    "delivered just now": ({**ENDED, "completionTime": "2026-11-24T11:00:00Z"}, None),
    "over its time": ({**ENDED, "phase": "Expired"}, None),
    "soon over its time": ({**ENDED, "result": {"uri": URI, "expirationTime": "2026-11-25T00:00:00Z"}}, None),
    "of an unknown time": ({**ENDED, "completionTime": None}, None),
}


@pytest.mark.parametrize(("status", "expected"), TOLD.values(), ids=list(TOLD))
def test_a_request_tells_of_its_export(status: Mapping[str, Any], expected: tuple[str, str] | None) -> None:
    assert delivered(request(status=status), DAY, NOW) == expected


BURIED: dict[str, tuple[Mapping[str, Any], str | None]] = {
    "delivered": ({"result": {"uri": URI}}, URI),
    "not delivered": ({"result": {}}, None),
    "delivered to the fallback": ({"result": {"uri": URI, "usedFallback": True}}, None),
    "ended just now": ({"result": {"uri": URI}, "ended": NOW}, None),
    "with its objects": ({"result": {"uri": URI, "expirationTime": "2026-11-20T12:00:00Z", "deleted": True}}, None),
}


@pytest.mark.parametrize(("changes", "expected"), BURIED.values(), ids=list(BURIED))
def test_a_tombstone_tells_of_the_export_that_would_be_taken_over(
    changes: Mapping[str, Any], expected: str | None
) -> None:
    assert remembered(stone(time=OLD, **changes), DAY, NOW) == expected


LOOSE: dict[str, tuple[Parts, Known, Finding | None]] = {
    "known for a grace": (Parts(RUN, 9, NOW - DAY), KNOWN, Finding("Unfinished", RUN, RUN, bytes=9)),
    "seen for the first time": (Parts(RUN, 9), KNOWN, None),
    "known for less": (Parts(RUN, 9, NOW), KNOWN, None),
    "of a run that has a Job": (Parts(RUN, 9, OLD), replace(KNOWN, jobs={RUN}), None),
}


@pytest.mark.parametrize(("parts", "known", "expected"), LOOSE.values(), ids=list(LOOSE))
def test_rows_that_are_no_export_are_judged(parts: Parts, known: Known, expected: Finding | None) -> None:
    assert judge_parts(parts, known) == expected


HELD: dict[str, tuple[Artifact, Known, Finding | None]] = {
    "whose request is gone": (
        Artifact(RUN, KEY, 9, OLD),
        KNOWN,
        Finding("Delivered", RUN, RUN, bytes=9, request=KEY),
    ),
    "whose request is there": (Artifact(RUN, KEY, 9, OLD), replace(KNOWN, requests={KEY}), None),
    "of a namespace that is not served": (Artifact(RUN, KEY, 9, OLD), replace(KNOWN, namespaces={"team-b"}), None),
    "of today": (Artifact(RUN, KEY, 9, NOW), KNOWN, None),
}


@pytest.mark.parametrize(("artifact", "known", "expected"), HELD.values(), ids=list(HELD))
def test_an_export_in_tables_is_judged(artifact: Artifact, known: Known, expected: Finding | None) -> None:
    assert judge_artifact(artifact, known) == expected


def test_an_export_that_its_request_tells_of_and_that_is_not_there_is_missing() -> None:
    known = replace(KNOWN, delivered={RUN: KEY, "0" * 20: Key("team-a", "other")})
    assert list(missing(known, {RUN})) == [Finding("Missing", "0" * 20, "", request=Key("team-a", "other"))]
