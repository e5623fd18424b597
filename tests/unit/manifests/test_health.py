"""What Argo CD shows for a request: the script of manifests/gitops, run by a real Lua."""

import subprocess
from pathlib import Path

import pytest

from tests.cluster import apt
from tests.cluster.problem import Problem

pytestmark = pytest.mark.unit

SCRIPT = Path(__file__).resolve().parents[3] / "manifests" / "gitops" / "health.lua"


@pytest.fixture(scope="module")
def lua() -> Path:
    try:
        apt.need({"lua5.4": "lua5.4"})
    except Problem as problem:
        pytest.skip(str(problem))
    found = apt.find("lua5.4")
    assert found
    return found


def health(lua: Path, status: str, spec: str = "{}") -> tuple[str, str]:
    """What the script answers for an object of generation 1: status and message."""
    text = f"""
    obj = {{ metadata = {{ generation = 1 }}, spec = {spec}, status = {status} }}
    local answer = dofile({str(SCRIPT)!r})
    print(answer.status); print(answer.message)
    """
    lines = subprocess.run([lua, "-"], input=text, capture_output=True, text=True, check=True).stdout.splitlines()
    return lines[0], lines[1]


@pytest.mark.parametrize(
    ("phase", "expected"),
    [
        ("Pending", "Progressing"),
        ("Running", "Progressing"),
        ("Queued", "Suspended"),
        ("Succeeded", "Healthy"),
        ("PartiallySucceeded", "Healthy"),
        ("Cancelled", "Healthy"),
        ("Expired", "Healthy"),
        ("Failed", "Degraded"),
        ("Rejected", "Degraded"),
        ("SomethingNew", "Unknown"),
    ],
)
def test_each_phase_has_its_health(lua: Path, phase: str, expected: str) -> None:
    status = f'{{ observedGeneration = 1, phase = "{phase}", message = "why" }}'
    assert health(lua, status) == (expected, "why")


@pytest.mark.parametrize(
    "status", ["nil", "{ observedGeneration = -1 }", '{ observedGeneration = 0, phase = "Failed" }']
)
def test_a_status_that_speaks_of_an_older_generation_is_not_believed(lua: Path, status: str) -> None:
    assert health(lua, status) == ("Progressing", "Waiting for the operator")


def test_a_suspended_request_does_not_hold_a_sync(lua: Path) -> None:
    status = '{ observedGeneration = 1, phase = "Pending", reason = "Suspended" }'
    assert health(lua, status, "{ suspend = true }") == ("Suspended", "Suspended")
