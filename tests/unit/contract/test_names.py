"""Names and keys that follow from a run."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_contract.names import (
    Keys,
    export_uri,
    fallback_manifest_uri,
    fallback_uri,
    job_name,
    object_keys,
    part_object_key,
    run_id,
)
from export_contract.runspec import Fallback, FallbackBucket, FallbackDatabase

pytestmark = pytest.mark.unit

UID = "0b5e9f5c-6c1d-4f0e-9a59-5d2f3c1b7a10"


def keys(**changes: str) -> Keys:
    given_names = {
        "prefix": "prod",
        "namespace": "team-a",
        "key_prefix": "compliance/2026",
        "name": "users",
        "run": "r1",
        "output_format": "CSV",
        "compression": "None",
    }
    return object_keys(**(given_names | changes))


def test_a_run_keeps_its_name_for_ever() -> None:
    assert run_id(UID, "again") == "224bea20b9fca5d27124"


@given(st.uuids().map(str), st.text(max_size=63))
def test_a_job_name_is_a_dns_label_that_leaves_room_for_pods(uid: str, value: str) -> None:
    assert re.fullmatch(r"export-[0-9a-f]{20}", job_name(run_id(uid, value)))


def test_uid_and_run_id_do_not_run_together() -> None:
    assert run_id("a", "b") != run_id("ab", "")


def test_object_and_manifest_stand_in_the_runs_own_folder_and_the_checkpoint_apart() -> None:
    folder = "prod/team-a/compliance/2026/users/r1"
    checkpoint = "prod/.export-operator/r1/checkpoint.json"
    assert keys() == Keys(f"{folder}/users.csv", f"{folder}/manifest.json", checkpoint)


@pytest.mark.parametrize(
    ("changes", "folder", "apart"),
    [
        ({"prefix": ""}, "team-a/compliance/2026/users/r1", ".export-operator/r1"),
        ({"key_prefix": ""}, "prod/team-a/users/r1", "prod/.export-operator/r1"),
        ({"prefix": "", "key_prefix": ""}, "team-a/users/r1", ".export-operator/r1"),
        ({"prefix": "/prod/", "key_prefix": "x/"}, "prod/team-a/x/users/r1", "prod/.export-operator/r1"),
    ],
)
def test_an_empty_prefix_leaves_no_empty_segment(changes: dict[str, str], folder: str, apart: str) -> None:
    assert keys(**changes) == Keys(f"{folder}/users.csv", f"{folder}/manifest.json", f"{apart}/checkpoint.json")


def test_each_of_several_objects_has_its_number_before_the_ending() -> None:
    key = keys(output_format="CSV", compression="Gzip").object
    assert part_object_key(key, 7) == "prod/team-a/compliance/2026/users/r1/users-00007.csv.gz"
    assert export_uri("b", key, "PartObjects") == "s3://b/prod/team-a/compliance/2026/users/r1/users-*.csv.gz"
    assert export_uri("b", key, "SingleObject") == f"s3://b/{key}"


@pytest.mark.parametrize(
    ("output_format", "compression", "ending"),
    [
        ("CSV", "None", ".csv"),
        ("CSV", "Gzip", ".csv.gz"),
        ("NDJSON", "Zstd", ".ndjson.zst"),
        ("JSON", "Gzip", ".json.gz"),
        ("Parquet", "None", ".parquet"),
        ("Parquet", "Zstd", ".parquet"),
        ("ArrowStream", "Zstd", ".arrows"),
    ],
)
def test_the_ending_says_format_and_compression(output_format: str, compression: str, ending: str) -> None:
    assert keys(output_format=output_format, compression=compression).object.endswith(f"/users{ending}")


segments = st.from_regex(r"\A[a-z0-9-]{1,10}\Z")


@given(st.tuples(segments, segments), st.tuples(segments, segments))
def test_runs_of_different_names_never_share_a_key(one: tuple[str, str], other: tuple[str, str]) -> None:
    first, second = (keys(key_prefix="", namespace=pair[0], name=pair[1]) for pair in (one, other))
    assert (first == second) == (one == other)


def test_a_fallback_bucket_is_named_as_any_bucket() -> None:
    bucket = FallbackBucket(bucket="spare", key="team-a/users/r1/users.csv", manifest_key="team-a/users/r1/m.json")
    fallback = Fallback(name="spare", bucket=bucket)
    assert (fallback_uri(fallback, "r1"), fallback_manifest_uri(fallback, "r1")) == (
        "s3://spare/team-a/users/r1/users.csv",
        "s3://spare/team-a/users/r1/m.json",
    )
    assert fallback_uri(fallback, "r1", "PartObjects") == "s3://spare/team-a/users/r1/users-*.csv"


def test_an_artifact_is_named_by_server_database_schema_and_run() -> None:
    fallback = Fallback(name="spare", database=FallbackDatabase(host="db", port=6432, database="a b", schema="x/y"))
    uri = "postgresql://db:6432/a%20b/x%2Fy.export_artifacts/r1"
    assert (fallback_uri(fallback, "r1"), fallback_manifest_uri(fallback, "r1")) == (uri, uri)


def test_an_ipv6_address_stands_in_brackets_in_an_artifacts_name() -> None:
    fallback = Fallback(name="spare", database=FallbackDatabase(host="::1", database="spare"))
    assert fallback_uri(fallback, "r1") == "postgresql://[::1]:5432/spare/public.export_artifacts/r1"
