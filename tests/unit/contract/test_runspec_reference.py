"""The RunSpec reference tells of every field, variable and exit code, and of none besides."""

from pathlib import Path

import pytest
from scripts import runspec_meanings, runspec_reference

pytestmark = pytest.mark.unit

PAGE = Path(runspec_reference.__file__).parent.parent / "docs" / "reference" / "runspec.md"


def test_every_field_and_variable_is_documented_and_nothing_else() -> None:
    assert runspec_reference.paths() == set(runspec_meanings.FIELDS)
    assert runspec_reference.variables() == set(runspec_meanings.VARIABLES)


def test_the_page_is_that_of_the_contract() -> None:
    assert PAGE.read_text() == runspec_reference.page()
