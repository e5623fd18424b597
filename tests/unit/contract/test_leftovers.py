"""Which keys are ours, and which of them go: by keys alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_contract.leftovers import Owned, doomed, folder_of, owned, owns
from export_contract.names import object_keys, part_object_key
from export_contract.runspec import EXTENSIONS, SUFFIXES

pytestmark = pytest.mark.unit

RUN = "0123456789abcdef0123"
DATA = f"prod/team-a/users/{RUN}/"
DOCUMENTS = f"prod/.export-operator/{RUN}/"

segments = st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,20}[a-z0-9])?", fullmatch=True)
prefixes = st.lists(segments, max_size=2).map("/".join)


places = st.fixed_dictionaries(
    {
        "prefix": prefixes,
        "namespace": segments,
        "key_prefix": prefixes,
        "name": segments,
        "run": st.from_regex(r"[0-9a-f]{20}", fullmatch=True),
        "output_format": st.sampled_from(sorted(EXTENSIONS)),
        "compression": st.sampled_from(sorted(SUFFIXES)),
    }
)


@given(places, st.none() | st.integers(1, 10**6))
def test_every_key_of_a_run_is_known_as_its(place: dict[str, str], number: int | None) -> None:
    keys, prefix = object_keys(**place), place["prefix"]
    key = keys.object if number is None else part_object_key(keys.object, number)
    of = Owned(place["run"], folder_of(key), place["namespace"], place["name"])
    assert (owned(key, prefix), owned(keys.manifest, prefix), owned(keys.checkpoint, prefix)) == (
        of,
        replace(of, manifest=True),
        Owned(place["run"], folder_of(keys.checkpoint)),
    )


@pytest.mark.parametrize(
    "key",
    [
        "prod/team-a/users/report.pdf",
        f"prod/team-a/users/{RUN}/report.pdf",
        f"prod/team-a/users/{RUN}/users.csv.bak",
        f"prod/team-a/users/{RUN}/other.csv",
        f"prod/team-a/users/{RUN}/users-1.csv",
        f"prod/team-a/users/{RUN[:-1]}/users.csv",
        f"prod/users/{RUN}/users.csv",
        f"other/team-a/users/{RUN}/users.csv",
        f"prod/.export-operator/{RUN}/notes.txt",
        "prod/.export-operator/owner.json",
        f"prod/team-a/.export-operator/{RUN}/checkpoint.json",
    ],
)
def test_what_somebody_else_has_put_there_is_not_ours(key: str) -> None:
    assert owned(key, "prod") is None


@given(st.text(max_size=80), prefixes)
def test_any_text_is_a_key_or_is_not(key: str, prefix: str) -> None:
    told = owned(key, prefix)
    assert told is None or key.startswith(told.folder)


def test_without_a_manifest_all_that_is_ours_goes_and_nothing_else() -> None:
    ours = [f"{DATA}users-00002.csv", f"{DATA}users.csv"]
    assert doomed([*ours, f"{DATA}notes.txt"], DATA, data=True, objects=False) == tuple(ours)


def test_an_export_stays_unless_its_objects_are_to_go_and_then_its_manifest_goes_first() -> None:
    found = [f"{DATA}users.csv", f"{DATA}manifest.json", f"{DATA}notes.txt"]
    assert (doomed(found, DATA, data=True, objects=False), doomed(found, DATA, data=True, objects=True)) == (
        (),
        (f"{DATA}manifest.json", f"{DATA}users.csv"),
    )


def test_documents_beside_a_checkpoint_go_whatever_becomes_of_the_export() -> None:
    ours = [f"{DOCUMENTS}{name}" for name in ("checkpoint.json", f"objects-{'ab' * 8}-1.json", f"probe-{'ab' * 8}")]
    assert doomed([*ours, f"{DOCUMENTS}notes.txt"], DOCUMENTS, data=False, objects=False) == tuple(ours)


@pytest.mark.parametrize(
    ("key", "data", "expected"),
    [
        (f"{DATA}users.csv", True, True),
        (f"{DATA}users.csv", False, False),
        (f"{DATA}deep/users/{RUN}/users.csv", True, False),
        (f"other/{DATA}users.csv", True, False),
        (f"{DOCUMENTS}checkpoint.json", False, True),
        (f"{DOCUMENTS}checkpoint.json", True, False),
    ],
)
def test_a_folder_has_its_own_keys_alone(key: str, data: bool, expected: bool) -> None:
    assert owns(DATA if data else DOCUMENTS, key, data=data) is expected
