"""The ring of attempts that ended without delivering."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_contract.logs import About, Line
from export_operator.domain.attempts import RING, ring
from export_operator.domain.pod_ends import readable

from .builders import NOW, RUN, ended_pod, failure, later, pod, running_pod, success

pytestmark = pytest.mark.unit

TOLD = {
    "pod": "export-pod-1",
    "reason": "SourceAuthenticationFailed",
    "message": 'password authentication failed for user "exporter"',
    "startTime": "2026-11-24T12:00:01Z",
    "completionTime": "2026-11-24T12:00:05Z",
    "exitCode": 67,
}


def test_an_attempt_that_failed_is_told_with_its_own_words() -> None:
    assert ring([], [ended_pod(67, failure())], RUN) == [TOLD]


def test_one_that_wrote_nothing_is_told_with_what_kubernetes_says() -> None:
    evicted = pod(phase="Failed", reason="Evicted", message="The node was low on resource: memory.")
    assert ring([], [evicted], RUN) == [
        {
            "pod": "export-pod-1",
            "reason": "Evicted",
            "message": "the node evicted the export pod: The node was low on resource: memory.",
            "completionTime": "2026-11-24T12:00:00Z",
        }
    ]


def test_who_still_runs_and_who_delivered_are_not_among_them() -> None:
    assert ring([], [running_pod(), ended_pod(0, success(), name="export-pod-2"), pod(name="export-pod-3")], RUN) == []


def test_what_is_known_stays_when_its_pod_is_gone_and_is_told_once_while_it_is_there() -> None:
    second = ended_pod(137, name="export-pod-2", finished=later(9))
    both = ring([TOLD], [second], RUN)
    assert [each["pod"] for each in both] == ["export-pod-1", "export-pod-2"]
    assert ring(both, [ended_pod(67, failure()), second], RUN) == both


def test_a_report_of_another_run_is_not_believed() -> None:
    (found,) = ring([], [ended_pod(67, failure().replace(RUN, "another"))], RUN)
    assert (found["reason"], found["message"].endswith("no report"), found["exitCode"]) == (
        "SourceAuthenticationFailed",
        True,
        67,
    )


@given(st.lists(st.integers(0, 10**6), unique=True, max_size=12), st.integers(0, 12))
def test_however_they_come_the_last_five_are_kept_in_order(ends: list[int], split: int) -> None:
    pods = [ended_pod(1, name=f"pod-{end}", finished=later(end)) for end in ends]
    known = ring([], pods[:split], RUN)
    expected = [f"pod-{end}" for end in sorted(ends)][-RING:]
    assert [each["pod"] for each in ring(known, pods, RUN)] == expected
    assert [each["pod"] for each in ring(known, pods[split:], RUN)] == expected


NOTED = Line(
    time=NOW, level="WARNING", logger="export_runner", message="tried again {in} 1 s", about=About("team-a/users", RUN)
)
LINES: dict[str, tuple[str, str]] = {
    "words stay": ("tried again in 1 s\nGave up after 4 tries", "tried again in 1 s\nGave up after 4 tries"),
    "lines for programs go": ('{"type":"progress","rows":1}\ntold\n{"version":1,"run":"r"}\n', "told"),
    "so does the rest of one that was cut": ('"rows":1,"bytes":2}\ntold', "told"),
    "of a line as text the message stays": (NOTED.to_text(), NOTED.message),
    "of a line as JSON the message stays": (NOTED.to_json(), NOTED.message),
    "empty lines go": ("\n\n told \n\n", " told "),
    "nothing steers a terminal": ("\x1b[31mred\x1b[0m\r\x07", "�[31mred�[0m\n�"),
}


@pytest.mark.parametrize("name", LINES)
def test_of_a_log(name: str) -> None:
    given_log, expected = LINES[name]
    assert readable(given_log) == expected


def test_of_a_long_log_the_end_is_kept() -> None:
    found: Any = readable("\n".join(f"line {number}" for number in range(10_000)))
    assert (len(found) <= 1024, found.endswith("line 9999")) == (True, True)
