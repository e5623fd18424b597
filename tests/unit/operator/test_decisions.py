"""What holds of every decision, whatever is seen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_contract.report import Progress
from export_operator.domain.actions import (
    CreateJob,
    Observation,
    Refund,
    WriteStatus,
)
from export_operator.domain.decide import decide
from export_operator.domain.manifests import Sought
from export_operator.domain.model import TERMINAL_PHASES

from .builders import (
    NOW,
    RUN,
    SETTINGS,
    delivered,
    ended_pod,
    failure,
    job,
    later,
    pod,
    request,
    running_pod,
    seen,
    success,
)
from .deciding import (
    ENDED,
    LAUNCHED,
    LEAVING,
    OVER_QUOTA,
    QUEUED,
    RESUMED,
    SUSPENDED,
    WAITING_POD,
    summary,
)

pytestmark = pytest.mark.unit


jobs = st.none() | st.builds(
    job,
    suspended=st.booleans(),
    deleting=st.booleans(),
    complete=st.booleans(),
    failed=st.booleans(),
    failing=st.none() | st.just(NOW),
    stop_reason=st.sampled_from(["", "Cancelled", "OutOfMemory"]),
)
pods = st.lists(
    st.sampled_from([pod(), running_pod(), LEAVING, ended_pod(0, success()), ended_pod(67, failure()), WAITING_POD]),
    max_size=2,
).map(tuple)
observations = st.builds(
    lambda given_status, changes, **rest: seen(request(status=given_status, **changes), **rest),
    st.sampled_from([{"observedGeneration": -1}, QUEUED, LAUNCHED, SUSPENDED, RESUMED, ENDED]),
    st.fixed_dictionaries(
        {}, optional={"cancel": st.booleans(), "suspend": st.booleans(), "runID": st.sampled_from(["", "again"])}
    ),
    job=jobs,
    pods=pods,
    slot_held=st.booleans(),
    told=st.sampled_from([(), (OVER_QUOTA,)]),
    silent_nodes=st.sampled_from([frozenset(), frozenset({"node"})]),
    sought=st.sampled_from([None, Sought(), Sought(delivered()), Sought(fault="S3 does not answer")]),
    namespace_missing=st.booleans(),
    progress=st.none() | st.just(Progress(run=RUN, rows=1, bytes=1, elapsed_seconds=1.0)),
)


@given(observations, st.integers(0, 10**6))
def test_nothing_leaves_a_terminal_phase_without_a_new_run_id(observed: Observation, seconds: int) -> None:
    decision = decide(observed, SETTINGS, later(seconds))
    phases = [action.status["phase"] for action in decision.actions if isinstance(action, WriteStatus)]
    assert not observed.request.finished or set(phases) <= {observed.request.phase}


@given(observations, st.integers(0, 10**6))
def test_a_job_is_never_created_without_the_ledgers_word(observed: Observation, seconds: int) -> None:
    assert [a for a in decide(observed, SETTINGS, later(seconds)).actions if isinstance(a, CreateJob)] == []


@given(observations, st.integers(0, 10**6))
def test_a_launched_run_is_never_refunded(observed: Observation, seconds: int) -> None:
    refunds = [a for a in decide(observed, SETTINGS, later(seconds)).actions if isinstance(a, Refund)]
    assert not refunds or (observed.job is None and not observed.request.launched)


@given(observations, st.integers(0, 10**6))
def test_no_run_is_said_to_have_failed_before_somebody_has_told_or_its_manifest_was_looked_for(
    observed: Observation, seconds: int
) -> None:
    said = {a.status["phase"] for a in decide(observed, SETTINGS, later(seconds)).actions if isinstance(a, WriteStatus)}
    told = any(each.exit_code is not None for each in observed.pods) or observed.sought is not None
    assert told or not observed.request.launched or observed.request.finished or "Failed" not in said


@given(observations, st.integers(0, 10**6))
def test_the_slot_of_a_run_is_released_last(observed: Observation, seconds: int) -> None:
    """A crash in between leaves a slot too many, which is mended; never a run without one."""
    found = summary(decide(observed, SETTINGS, later(seconds)))
    ends = [f"status {phase} " for phase in TERMINAL_PHASES]
    closing = [index for index, text in enumerate(found) if text.startswith(tuple(ends))]
    assert not (closing and "release the slot" in found) or closing[0] < found.index("release the slot")
