"""With the compiled helper and without it: the same objects, byte by byte."""

from pathlib import Path

import pytest

from export_contract.runspec import Compression, Format
from tests.integration.exporter.runner import Exporter

pytestmark = pytest.mark.integration

ODD = (
    "SELECT u.*, CASE WHEN id = 500 THEN repeat('\"', 1500000) END AS large FROM public.users AS u WHERE id <= 20000",
    "SELECT u.*, NULL AS large FROM public.users AS u WHERE false",
)


@pytest.mark.parametrize("output", [("CSV", "Gzip"), ("NDJSON", "None"), ("JSON", "Zstd"), ("Parquet", "None")])
@pytest.mark.parametrize("query", ODD, ids=["rows", "no-rows"])
def test_the_object_does_not_depend_on_the_compiled_helper(
    exporter: Exporter, tmp_path: Path, output: tuple[Format, Compression], query: str
) -> None:
    (tmp_path / "export_native.py").write_text("raise ImportError('hidden')")
    columns = ("id", "email", "full_name", "bio", "balance", "score", "settings", "tags", "created_at", "large")
    seen = []
    for hidden in ({}, {"PYTHONPATH": str(tmp_path)}):
        spec = exporter.spec(columns, table=None, query=query, output=output)
        done = exporter.run(spec, **hidden)
        assert done.code == 0, done.said
        seen.append(exporter.read(spec.destination.key))
    assert seen[0] == seen[1]
