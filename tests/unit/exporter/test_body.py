"""What is sent is the pieces, one behind another, however it is read."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_runner.sinks.body import Body

pytestmark = pytest.mark.unit


def rest(body: Body, size: int = -1) -> bytes:
    return b"".join(map(bytes, iter(lambda: body.read(size), b"")))


@given(st.lists(st.binary(max_size=20)), st.integers(1, 30))
def test_it_reads_as_the_pieces_put_together(pieces: list[bytes], size: int) -> None:
    body = Body(pieces)
    assert (len(body), rest(body, size), rest(body)) == (len(b"".join(pieces)), b"".join(pieces), b"")


@given(st.lists(st.binary(max_size=20), min_size=1), st.lists(st.integers(0, 60), min_size=1))
def test_it_goes_on_from_where_it_is_set(pieces: list[bytes], places: list[int]) -> None:
    whole = b"".join(pieces)
    body = Body(pieces)
    for place in places:
        assert (body.seek(place), rest(body)) == (min(place, len(whole)), whole[place:])


@given(st.lists(st.binary(max_size=20), min_size=1), st.integers(0, 60))
def test_it_tells_where_its_end_is(pieces: list[bytes], before: int) -> None:
    body = Body(pieces)
    body.seek(before)
    assert (body.seek(0, os.SEEK_END), body.tell(), rest(body)) == (len(body), len(body), b"")


def test_no_byte_is_copied() -> None:
    piece = bytearray(b"abc")
    taken = Body([memoryview(piece)]).read(2)
    piece[0:1] = b"x"
    assert bytes(taken) == b"xb"
