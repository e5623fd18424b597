"""A manifest proves a delivery only where the manifest of its run would stand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_contract.manifest import Column, Manifest, ObjectRef
from export_contract.names import object_keys, part_object_key, run_id
from export_contract.report import Delivered
from export_contract.runspec import Run
from export_operator.domain.manifests import Delivery, NotAManifestError, delivered, delivery

from .builders import DELIVERY, KEY, NOW, RUN, SHA, UID, later

pytestmark = pytest.mark.unit

PLACE = {"bucket": "exports", "prefix": "prod"}
AT = f"prod/team-a/{KEY.name}/{RUN}/manifest.json"


def manifest(**changes: Any) -> Manifest:
    stored = ObjectRef(
        bucket="exports", key=AT.replace("manifest.json", "x.csv"), rows=60, bytes=1024, sha256=SHA, etag="e", parts=1
    )
    base = Manifest(
        run=Run(id=RUN, namespace=KEY.namespace, name=KEY.name, uid=UID, requester="alice"),
        source="app-db",
        dataset="users",
        format="CSV",
        compression="None",
        columns=(Column(name="id", type="bigint"),),
        rows=100,
        objects=(stored, replace(stored, rows=40)),
        complete=True,
        consistency="Snapshot",
        snapshot="1:1:",
        snapshot_time="2026-11-24T12:00:01Z",
        started_at="2026-11-24T12:00:00.250Z",
        finished_at="2026-11-24T12:00:02Z",
    )
    return replace(base, **changes)


def read(found: Manifest, key: str = AT, place: dict[str, str] = PLACE) -> Delivery:
    return delivery(found.to_json().encode(), key, later(60), place, "bucket")


DELIVERED = replace(DELIVERY, time=later(0.25))


def test_a_manifest_in_its_place_tells_the_run_and_what_it_took() -> None:
    assert read(manifest()) == DELIVERED


@given(prefix=st.sampled_from(["", "prod", "a/b"]), middle=st.sampled_from(["", "x", "team-a", "x/y", f"{KEY.name}"]))
def test_any_prefix_and_key_prefix_is_understood(prefix: str, middle: str) -> None:
    keys = object_keys(
        prefix=prefix,
        namespace=KEY.namespace,
        key_prefix=middle,
        name=KEY.name,
        run=RUN,
        output_format="CSV",
        compression="None",
    )
    assert read(manifest(), keys.manifest, {"prefix": prefix}) == DELIVERED


def test_a_clock_that_is_ahead_does_not_make_a_run_younger_than_its_object() -> None:
    assert read(manifest(started_at="9999-01-01T00:00:00Z")).time == later(60)


@pytest.mark.parametrize(
    "key",
    [
        f"prod/team-b/{KEY.name}/{RUN}/manifest.json",
        f"prod/team-a/other/{RUN}/manifest.json",
        f"prod/team-a/{KEY.name}/other/manifest.json",
        f"team-a/{KEY.name}/{RUN}/manifest.json",
        f"prod/team-a//{KEY.name}/{RUN}/manifest.json",
        f"prod/team-a/{KEY.name}/{RUN}/copy-of-manifest.json",
        f"prod/team-a-{KEY.name}/{RUN}/manifest.json",
    ],
)
def test_a_copy_elsewhere_proves_nothing(key: str) -> None:
    with pytest.raises(NotAManifestError, match=r"^it does not stand where the manifest of its run would$"):
        read(manifest(), key)


RUN_OF_ALICE = manifest().run


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"run": replace(RUN_OF_ALICE, uid="another")}, "run.id is not the run of its uid and runID"),
        ({"run": replace(RUN_OF_ALICE, requester="")}, "run.requester does not have 1 to 512 characters"),
        ({"run": replace(RUN_OF_ALICE, requester="x" * 513)}, "run.requester does not have 1 to 512 characters"),
        ({"run": replace(RUN_OF_ALICE, name="x" * 254)}, "run.name does not have 1 to 253 characters"),
        ({"format": "XLSX"}, "format or compression is none of the exporter's"),
        ({"rows": -1}, "rows or bytes are out of range"),
        ({"objects": (replace(manifest().objects[0], bytes=2**60),)}, "rows or bytes are out of range"),
        ({"started_at": "yesterday"}, "startedAt is no time"),
    ],
)
def test_what_cannot_be_true_is_named(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(NotAManifestError) as caught:
        read(manifest(**changes))
    assert str(caught.value) == why


@pytest.mark.parametrize("text", [b"", b"{}", b"[]", b"\xff", b'{"version":2}', b"[" * 100_000])
def test_what_is_no_manifest_is_refused(text: bytes) -> None:
    with pytest.raises(NotAManifestError):
        delivery(text, AT, NOW, PLACE, "bucket")


def test_a_run_of_a_later_run_id_is_one_of_its_own() -> None:
    again = run_id(UID, "again")
    found = manifest(run=replace(RUN_OF_ALICE, id=again, run_id="again"))
    assert read(found, AT.replace(RUN, again)) == replace(DELIVERED, run=again)


KEYS = object_keys(
    prefix="prod",
    namespace=KEY.namespace,
    key_prefix="",
    name=KEY.name,
    run=RUN,
    output_format="CSV",
    compression="None",
)
WHOLE = ObjectRef(bucket="exports", key=KEYS.object, rows=100, bytes=2048, sha256=SHA, etag="e", parts=1)
PARTS = tuple(replace(WHOLE, key=part_object_key(KEYS.object, number), rows=50) for number in (1, 2))


def deliver(found: Manifest, *, fallback: bool = False, run: str = RUN) -> Delivered:
    return delivered(found.to_json().encode(), KEYS.manifest, run, PLACE, fallback=fallback)


def test_a_manifest_tells_what_its_pod_would_have_told() -> None:
    uri, manifest_uri = f"s3://exports/{KEYS.object}", f"s3://exports/{KEYS.manifest}"
    found = deliver(manifest(objects=(WHOLE,), resumed=1, connections=3))
    assert found == Delivered(
        uri=uri,
        manifest_uri=manifest_uri,
        rows=100,
        bytes=2048,
        sha256=SHA,
        objects=1,
        connections=3,
        resumed=1,
        snapshot_time="2026-11-24T12:00:01Z",
    )


def test_a_manifest_of_several_objects_tells_their_pattern_and_no_hash() -> None:
    found = deliver(manifest(objects=PARTS, layout="PartObjects", complete=False, used_fallback=True), fallback=True)
    assert (found.uri, found.objects, found.bytes, found.sha256, found.complete, found.used_fallback) == (
        f"s3://exports/prod/team-a/{KEY.name}/{RUN}/{KEY.name}-*.csv",
        2,
        4096,
        "",
        False,
        True,
    )


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"objects": ()}, "it tells of no object"),
        ({"objects": (replace(WHOLE, bucket="elsewhere"),)}, "its objects are not the run's"),
        ({"objects": (replace(WHOLE, key="prod/team-b/theirs.csv"),)}, "its objects are not the run's"),
        ({"objects": (WHOLE, WHOLE)}, "its objects are not the run's"),
        ({"objects": PARTS}, "its objects are not the run's"),
        ({"objects": (WHOLE,), "layout": "PartObjects"}, "its objects are not the run's"),
        ({"objects": (WHOLE,), "used_fallback": True}, "usedFallback does not fit its place"),
    ],
)
def test_a_manifest_that_tells_of_anything_but_its_run_delivers_nothing(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(NotAManifestError) as caught:
        deliver(manifest(**changes))
    assert str(caught.value) == why


def test_the_manifest_of_another_run_delivers_nothing() -> None:
    with pytest.raises(NotAManifestError, match=r"^it is another run's$"):
        deliver(manifest(objects=(WHOLE,)), run="0" * 20)
