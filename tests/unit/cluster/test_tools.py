"""Which kubectl will do."""

import json

import pytest

from tests.cluster.tools import kubectl

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("minor", "fits"), [("36", True), ("35", True), ("37+", True), ("32+", False), ("38", False), ("", False)]
)
def test_kubectl_may_be_one_minor_version_away(minor: str, fits: bool) -> None:
    assert kubectl.fits(json.dumps({"clientVersion": {"minor": minor}})) is fits


def test_a_kubectl_that_says_nothing_does_not_fit() -> None:
    assert not kubectl.fits("")
