"""Where a run may have left something: as its Job tells, or as its request and destination do."""

from __future__ import annotations

from typing import Any

import pytest

from export_operator.domain.jobs import build_job
from export_operator.domain.leftovers import Area, Leftovers, at, of_job
from export_operator.domain.places import Coordinates

from .builders import BUCKET_FALLBACK, KEY, RUN, SETTINGS, catalogue, destination, plan, request, source

pytestmark = pytest.mark.unit

DATA = f"prod/team-a/{KEY.name}/{RUN}/"
DOCUMENTS = f"prod/.export-operator/{RUN}/"
PLACE = destination().spec
SECRET = {"credentialsSecret": {"name": "bucket-keys"}}


def areas(place: Any = PLACE) -> tuple[Area, Area]:
    key = f"{DATA}{KEY.name}.csv"
    return (
        Area(place, DOCUMENTS, (f"{DOCUMENTS}checkpoint.json",), data=False),
        Area(place, DATA, (f"{DATA}manifest.json", key), data=True),
    )


def job_document(**changes: Any) -> dict[str, Any]:
    known = catalogue(source(), destination(**changes))
    return build_job(request(), plan(known=known), SETTINGS.pods)


def test_a_job_tells_where_its_run_wrote() -> None:
    assert of_job(job_document(), {"bucket": PLACE}.get) == Leftovers(RUN, "bucket", areas())


def test_of_a_destination_that_is_gone_or_has_another_bucket_the_job_tells_how_to_reach_it() -> None:
    place = {name: PLACE[name] for name in ("bucket", "region", "endpoint", "pathStyle")} | SECRET
    expected = Leftovers(RUN, "bucket", areas(place | {"caSecret": {"name": "trust"}}))
    document = job_document(caSecret={"name": "trust"})
    assert (
        of_job(document, dict[str, dict[str, Any]]().get),
        of_job(document, {"bucket": {"bucket": "other"}}.get),
    ) == (expected, expected)


def test_of_a_destination_whose_key_was_renamed_the_present_one_counts() -> None:
    now = {**PLACE, "credentialsSecret": {"name": "new"}}
    assert of_job(job_document(), {"bucket": now}.get) == Leftovers(RUN, "bucket", areas(now))


def test_a_checkpoint_bucket_and_a_fallback_are_places_too() -> None:
    spec = destination(checkpointBucket="apart", fallback=BUCKET_FALLBACK).spec
    documents, data = areas(spec)
    spare = f"held/team-a/{KEY.name}/{RUN}/"
    expected = Leftovers(
        RUN,
        "bucket",
        (
            Area({**spec, "bucket": "apart"}, documents.folder, documents.known, data=False),
            documents,
            data,
            Area(
                {**BUCKET_FALLBACK["bucket"], "caSecret": None},
                spare,
                (f"{spare}manifest.json", f"{spare}{KEY.name}.csv"),
                data=True,
            ),
        ),
    )
    coordinates = Coordinates(
        namespace=KEY.namespace,
        key_prefix="",
        name=KEY.name,
        run=RUN,
        format="CSV",
        compression="None",
        layout="SingleObject",
    )
    document = job_document(checkpointBucket="apart", fallback=BUCKET_FALLBACK)
    assert (of_job(document, {"bucket": spec}.get), at(coordinates, "bucket", spec)) == (expected, expected)
