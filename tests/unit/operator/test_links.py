"""Which objects are signed, for how long, and what the Secret holds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_contract.manifest import Manifest, ObjectRef
from export_contract.names import part_object_key
from export_operator.domain import links
from export_operator.domain.links import Object
from export_operator.domain.manifests import NotAManifestError
from export_operator.domain.places import Coordinates

from .builders import KEY, NOW, RUN, SHA, later
from .test_download import download
from .test_manifests import PLACE, manifest

pytestmark = pytest.mark.unit

AT = Coordinates(
    namespace=KEY.namespace,
    key_prefix="",
    name=KEY.name,
    run=RUN,
    format="Parquet",  # what the request's status says of the form decides nothing
    compression="None",
    layout="SingleObject",
)
OBJECT = f"prod/{KEY.namespace}/{KEY.name}/{RUN}/{KEY.name}.csv"


def stored(key: str = OBJECT, **changes: Any) -> ObjectRef:
    base = ObjectRef(bucket="exports", key=key, rows=60, bytes=1024, sha256=SHA, etag="e", parts=1)
    return replace(base, **changes)


def single(**changes: Any) -> Manifest:
    return manifest(**({"objects": (stored(),)} | changes))


def parts(*numbers: int, **changes: Any) -> Manifest:
    found = tuple(stored(part_object_key(OBJECT, number)) for number in numbers)
    return manifest(layout="PartObjects", objects=found, **changes)


def read(found: Manifest) -> tuple[Object, ...]:
    return links.objects(found.to_json().encode(), PLACE, AT, "alice")


def test_the_object_of_a_run_is_the_one_whose_key_follows_from_it() -> None:
    assert read(single()) == (Object(OBJECT, f"{KEY.name}.csv", 1024, SHA),)


def test_objects_are_in_the_order_of_their_rows() -> None:
    assert [each.name for each in read(parts(1, 2, 3))] == [f"{KEY.name}-0000{number}.csv" for number in (1, 2, 3)]
    assert read(parts()) == ()


ANOTHERS = f"prod/team-b/secret/{RUN}/secret.csv"


@pytest.mark.parametrize(
    "forged",
    [
        single(objects=(stored(ANOTHERS),)),
        single(objects=(stored(), stored(ANOTHERS))),
        single(objects=()),
        single(objects=(stored(OBJECT + ".gz"),)),
        parts(2, 1),
        parts(1, 3),
        manifest(layout="PartObjects", objects=(stored(ANOTHERS),)),
        single(objects=(stored(sha256=""),)),
        single(objects=(stored(sha256="x" * 64),)),
        single(objects=(stored(sha256='a"\nurl = "file:///etc/passwd'),)),
        single(run=replace(manifest().run, requester="bob")),
        single(run=replace(manifest().run, run_id="other")),
        single(run=replace(manifest().run, namespace="team-b")),
        single(format="../../team-b"),
    ],
)
def test_a_manifest_that_leads_elsewhere_is_none(forged: Manifest) -> None:
    with pytest.raises(NotAManifestError):
        read(forged)


@given(key=st.text(max_size=80), name=st.text(max_size=40))
def test_no_manifest_has_a_key_signed_that_is_not_the_runs(key: str, name: str) -> None:
    forged = single(objects=(stored(key),), run=replace(manifest().run, name=name))
    try:
        signed = {each.key for each in read(forged)}
    except NotAManifestError:
        signed = set()
    assert signed <= {OBJECT}


@pytest.mark.parametrize(
    ("most", "token", "ends", "expected"),
    [
        (3600, False, None, 3600),
        (3600, True, None, 900),
        (600, True, None, 600),
        (3600, True, 1200, 1200),
        (3600, True, 7200, 3600),
        (3600, False, 60.9, 60),
        (3600, True, -1, -1),
    ],
)
def test_a_link_never_outlives_the_key_that_signs_it(most: int, token: bool, ends: float | None, expected: int) -> None:
    assert links.lifetime(most, token, None if ends is None else later(ends), NOW) == expected


@pytest.mark.parametrize(
    ("asked", "most", "seconds", "place", "expected"),
    [
        (900, 900, 900, {"endpoint": "https://s3.example.com"}, ""),
        (900, 900, 900, {}, ""),
        (900, 900, 900, {"endpoint": "http://10.0.0.7:9000"}, ""),
        (900, 900, 900, {"endpoint": "http://[fd00::7]:9000"}, ""),
        (900, 600, 600, {}, "the policy allows 600 s"),
        (900, 600, 60, {}, "they end with the key that they are signed with"),
        (900, 900, 900, {"endpoint": "http://s3.storage.svc:9000", "publicEndpoint": "https://s3.example.com"}, ""),
        *(
            (
                900,
                900,
                900,
                {"endpoint": f"http://{host}:9000"},
                f"their host '{host}' may be known in the cluster alone: ask for a publicEndpoint of the destination",
            )
            for host in ("s3", "s3.storage.svc", "s3.storage.svc.cluster.local")
        ),
    ],
)
def test_what_a_person_should_know_of_links_is_told(
    asked: int, most: int, seconds: int, place: dict[str, str], expected: str
) -> None:
    assert links.note(asked, most, seconds, place) == expected


def test_a_secret_holds_all_that_a_person_needs_and_goes_with_its_download() -> None:
    objects = [Object("k/a.csv", "a.csv", 1, "aa"), Object("k/b.csv", "b.csv", 2, "bb")]
    data = links.secret_data(objects, ["https://s3/a?x", "https://s3/b?x"], "https://s3/m?x")
    assert data == {
        "urls": "https://s3/a?x\nhttps://s3/b?x\n",
        "manifestURL": "https://s3/m?x",
        "SHA256SUMS": "aa  a.csv\nbb  b.csv\n",
        "curl": "fail\n"
        'url = "https://s3/a?x"\noutput = "a.csv"\n'
        'url = "https://s3/b?x"\noutput = "b.csv"\n'
        'url = "https://s3/m?x"\noutput = "manifest.json"\n',
    }
    assert links.secret(download(), RUN, data) == {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "generateName": "mine-",
            "namespace": "team-a",
            "labels": {"app.kubernetes.io/managed-by": "export-operator", "export-operator.io/run": RUN},
            "ownerReferences": [
                {
                    "apiVersion": "export-operator.io/v1alpha1",
                    "kind": "ExportDownload",
                    "name": "mine",
                    "uid": "download-uid",
                    "controller": True,
                }
            ],
        },
        "type": "Opaque",
        "immutable": True,
        "stringData": data,
    }


@pytest.mark.parametrize("name", ["x" * 63, "x" * 56 + ".y", "x" * 56 + "-y"])
def test_the_longest_name_of_a_download_leaves_room_for_what_the_api_server_adds(name: str) -> None:
    start = links.secret(download(name=name), RUN, {})["metadata"]["generateName"]
    assert len(start) <= 58
    assert start.endswith("x-")


def test_more_links_than_a_secret_holds_are_none() -> None:
    url = "https://s3.example.com/" + "x" * 600
    several = [Object(f"k/{number}", f"{number}", 1, SHA) for number in range(700)]
    assert links.secret_data(several[:600], [url] * 600, url) is not None
    assert links.secret_data(several, [url] * 700, url) is None
