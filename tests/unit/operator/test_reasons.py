"""docs/operations/reasons.md is complete: each reason that the operator can write is in it, and no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from export_contract.failures import FAILURES
from export_operator.domain import pod_ends, starting
from export_operator.domain.endings import ENDINGS, NEVER_STARTED

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[3]
SOURCES = ROOT / "operator" / "src" / "export_operator"
PAGE = (ROOT / "docs" / "operations" / "reasons.md").read_text()

POSITIONS = {
    "RefusalError": 0,
    "StopJob": 1,
    "close": 1,
    "doubted": 0,
    "held": 1,
    "_hold": 1,
    "phase": 1,
    "problem": 0,
    "queue": 0,
    "refused": 1,
}
"""Calls that are given a reason of a request, and at which place."""
PAIR = re.compile(r"tuple\[str, str\]|^str$")
"""What functions give that give a reason, alone or with its sentence."""
SUBJECTS = ("User", "Namespace", "Policy", "Source", "Destination", "Cluster")
COMPOSED = {
    *(f"{subject}Concurrency" for subject in SUBJECTS),
    *(f"{subject}{state}" for subject in ("Source", "Destination") for state in ("Unavailable", "Recovering")),
}
"""Reasons that are made of a subject's kind (`slots.Occupancy.full`)."""
OF_KUEUE = {"Pending", "Inadmissible", "Deactivated"}
"""Kueue's own words, which pass through."""


def written() -> Iterator[str]:
    """Reasons that stand in the source where one is given."""
    for path in (*SOURCES.glob("domain/*.py"), SOURCES / "reconcile.py"):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                place = POSITIONS.get(name)
                if place is not None and len(node.args) > place:
                    yield from literals(node.args[place])
            elif isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["reason"]:
                yield from literals(node.value)
            elif isinstance(node, ast.FunctionDef) and node.returns and PAIR.search(ast.unparse(node.returns)):
                for each in ast.walk(node):
                    if isinstance(each, ast.Return) and each.value is not None:
                        yield from literals(each.value)


def literals(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Tuple | ast.BoolOp | ast.IfExp):
        parts = (
            node.elts[:1]
            if isinstance(node, ast.Tuple)
            else [node.body, node.orelse]
            if isinstance(node, ast.IfExp)
            else node.values
        )
        for part in parts:
            yield from literals(part)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch("[A-Z][A-Za-z]+", node.value):
        yield node.value


def in_code() -> set[str]:
    tables = {*ENDINGS, *(kind.reason for kind in FAILURES.values()), *COMPOSED}
    phases = {"Succeeded", "PartiallySucceeded", "Failed", "Rejected"}
    return tables | set(written()) - {"BuiltIn", "Everyone"} - phases


def rows(heading: str) -> dict[str, list[str]]:
    """The table under a heading: cells by reason."""
    section = PAGE.partition(f"\n## {heading}")[2].partition("\n## ")[0]
    found = {}
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| `"):
            for reason in re.findall("`([A-Z][A-Za-z]+)`", cells[0]):
                found[reason] = [cell.strip(" |") for cell in cells[1:]]
    return found


def documented() -> set[str]:
    headings = re.findall(r"^## (.*)$", PAGE, re.MULTILINE)
    return {reason for heading in headings for reason in rows(heading)}


def test_every_reason_that_is_written_is_explained() -> None:
    assert in_code() - documented() == set()


def test_every_reason_that_is_explained_is_written() -> None:
    assert documented() - in_code() == OF_KUEUE


def test_what_the_exporter_reports_is_told_as_it_is() -> None:
    assert rows("Failed: by the exporter's own report") == {
        kind.reason: [str(kind.failure_class), str(kind.exit_code), "yes" if kind.retryable else "no", kind.advice]
        for kind in FAILURES.values()
    }


def test_what_ends_without_a_report_is_told_as_it_is() -> None:
    told = {reason: [*cells[:2], cells[3]] for reason, cells in rows("Failed: without a report").items()}
    assert told == {
        reason: [str(ending.failure_class), "yes" if ending.retryable else "no", ending.advice]
        for reason, ending in ENDINGS.items()
    }


def test_what_keeps_a_pod_from_starting_is_explained_while_it_waits_and_has_an_end() -> None:
    """`StartDeadlineExceeded` is for those of which nothing can be said."""
    waiting = {reason for reason, _ in starting.WAITING.values()}
    assert waiting <= NEVER_STARTED <= set(ENDINGS)
    assert rows("Pending: its pod does not start yet").keys() >= NEVER_STARTED - {"StartDeadlineExceeded"}


def test_every_way_a_pod_can_be_taken_away_has_an_end() -> None:
    assert {reason for reason, _ in (*pod_ends.DISRUPTIONS.values(), *pod_ends.TAKEN.values())} <= set(ENDINGS)
