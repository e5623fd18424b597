"""How a run is read follows from spec and facts alone."""

import dataclasses
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_contract.runspec import Consistency, Destination, Relation, Resume, Run, RunSpec, Source
from export_runner.errors import ExportError
from export_runner.source.plan import Facts, Plan, decide

pytestmark = pytest.mark.unit

SPEC = RunSpec(
    run=Run(id="r", namespace="n", name="m", uid="u"),
    source=Source(
        name="s", dataset="d", host="h", database="b", columns=("id",), relation=Relation(schema="p", table="t")
    ),
    destination=Destination(name="d", bucket="b", key="k", manifest_key="m", checkpoint_key="c"),
)
LARGE = SPEC.limits.resume_above_bytes + 1

specs = st.builds(
    lambda resume, consistency: dataclasses.replace(SPEC, resume=resume, consistency=consistency),
    st.sampled_from(get_args(Resume)),
    st.sampled_from(get_args(Consistency)),
)
facts = st.builds(
    Facts,
    key=st.sampled_from([(), ("id",)]),
    continues=st.booleans(),
    estimated_bytes=st.sampled_from([None, 0, LARGE]),
)


@given(specs, facts)
def test_a_checkpoint_is_kept_only_in_the_order_of_a_key_and_never_against_the_spec(
    spec: RunSpec, given: Facts
) -> None:
    try:
        plan = decide(spec, given)
    except ExportError:
        assert not given.key
        assert spec.resume == "Always" or spec.consistency == "Segmented"
        return
    assert plan.checkpoint == bool(plan.key)
    if plan.checkpoint:
        assert given.continues
        assert spec.resume != "Never"
        assert spec.consistency != "Snapshot"


@pytest.mark.parametrize(
    ("estimate", "plan"), [(LARGE, Plan(key=("id",), checkpoint=True, probes=True)), (1, Plan()), (None, Plan())]
)
def test_auto_goes_by_the_estimate(estimate: int | None, plan: Plan) -> None:
    assert decide(SPEC, Facts(key=("id",), continues=True, estimated_bytes=estimate)) == plan


@given(facts)
def test_without_a_place_for_it_no_checkpoint_is_kept(given: Facts) -> None:
    nowhere = dataclasses.replace(SPEC, destination=dataclasses.replace(SPEC.destination, checkpoint_key=""))
    assert decide(nowhere, given) == Plan()


@given(specs, facts)
def test_a_destination_is_probed_before_a_large_run_and_only_where_the_data_go(spec: RunSpec, given: Facts) -> None:
    apart = dataclasses.replace(spec, destination=dataclasses.replace(spec.destination, checkpoint_bucket="elsewhere"))
    try:
        probes = [decide(each, given).probes for each in (spec, apart)]
    except ExportError:
        return
    assert probes == [given.estimated_bytes == LARGE, False]
