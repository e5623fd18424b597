"""What is read is written back, byte for byte."""

import io

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_runner.formats import thrift
from export_runner.formats.thrift import BINARY, BYTE, DOUBLE, FALSE, I32, I64, LIST, STRUCT, TRUE, List, Reader, Struct

pytestmark = pytest.mark.unit

SCALARS: st.SearchStrategy[tuple[int, thrift.Value]] = st.one_of(
    st.tuples(st.just(I32), st.integers(-(2**31), 2**31 - 1)),
    st.tuples(st.just(I64), st.integers(-(2**63), 2**63 - 1)),
    st.tuples(st.just(BINARY), st.binary()),
    st.tuples(st.just(DOUBLE), st.binary(min_size=8, max_size=8)),
    st.tuples(st.just(BYTE), st.integers(0, 255)),
    st.booleans().map(lambda value: (TRUE if value else FALSE, value)),
)


def structs(values: st.SearchStrategy[tuple[int, thrift.Value]]) -> st.SearchStrategy[tuple[int, thrift.Value]]:
    made = st.dictionaries(st.integers(1, 300), values, max_size=5).map(lambda each: Struct(dict(sorted(each.items()))))
    listed = st.lists(made, max_size=20).map(lambda items: (LIST, List(STRUCT, list(items))))
    return made.map(lambda each: (STRUCT, each)) | listed


@given(structs(st.recursive(SCALARS, structs, max_leaves=12)).filter(lambda pair: pair[0] == STRUCT))
def test_every_struct_is_read_as_it_was_written(pair: tuple[int, thrift.Value]) -> None:
    struct = pair[1]
    assert isinstance(struct, Struct)
    assert Reader(thrift.write(struct)).struct() == struct


def test_the_footer_of_polars_is_kept_byte_for_byte() -> None:
    out = io.BytesIO()
    pl.DataFrame({"a": [1, None], "b": ["x", "y"], "c": [1.5, None]}).write_parquet(out)
    file = out.getvalue()
    footer = file[-8 - int.from_bytes(file[-8:-4], "little") : -8]
    assert thrift.write(Reader(footer).struct()) == footer


@pytest.mark.parametrize("bytes_", [b"", b"\x18", b"\x18\x05abc"])
def test_bytes_that_end_too_soon_are_refused(bytes_: bytes) -> None:
    with pytest.raises(IndexError):
        Reader(bytes_).struct()
