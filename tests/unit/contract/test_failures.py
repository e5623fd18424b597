"""The table of failures keeps its promises."""

from __future__ import annotations

import pytest

from export_contract.failures import FAILURES, PERMANENT_EXIT_CODES, Failure, FailureKind, by_exit_code

pytestmark = pytest.mark.unit


def test_every_reason_is_in_the_table_under_its_own_name() -> None:
    assert {reason: kind.reason for reason, kind in FAILURES.items()} == {reason: str(reason) for reason in Failure}


def test_no_two_failures_share_an_exit_code() -> None:
    assert len({kind.exit_code for kind in FAILURES.values()}) == len(FAILURES)


def test_exit_codes_stay_clear_of_those_of_shells_and_signals() -> None:
    assert [kind for kind in FAILURES.values() if not 64 <= kind.exit_code <= 125] == []


def test_a_permanent_code_is_one_that_is_not_retryable() -> None:
    assert set(PERMANENT_EXIT_CODES) == {kind.exit_code for kind in FAILURES.values() if not kind.retryable}


def test_what_may_pass_by_itself_is_retryable() -> None:
    assert {reason for reason, kind in FAILURES.items() if kind.retryable} == {
        Failure.SOURCE_UNAVAILABLE,
        Failure.DESTINATION_UNAVAILABLE,
        Failure.INTERRUPTED,
        Failure.INTERNAL_ERROR,
    }


def test_permanent_codes_fit_into_one_rule_of_a_job() -> None:
    """`onExitCodes.values` takes at most 255, in order, and never 0."""
    assert list(PERMANENT_EXIT_CODES) == sorted(set(PERMANENT_EXIT_CODES) - {0})[:255]


@pytest.mark.parametrize("kind", FAILURES.values(), ids=lambda kind: kind.reason)
def test_a_code_leads_back_to_its_failure(kind: FailureKind) -> None:
    assert by_exit_code(kind.exit_code) == kind


@pytest.mark.parametrize("code", [0, 1, 137, 143, 255])
def test_a_code_that_is_not_ours_leads_nowhere(code: int) -> None:
    assert by_exit_code(code) is None


def test_every_failure_says_what_to_do_in_a_sentence() -> None:
    advice = [kind.advice for kind in FAILURES.values()]
    assert [text for text in advice if not (text[0].isupper() and text.endswith("."))] == []
