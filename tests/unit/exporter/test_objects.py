"""One object of all rows, or one whole file after another, cut by rows and spec alone."""

import hashlib
import struct

import numpy as np
import pytest

from export_contract.runspec import Layout, Limits, Output
from export_runner.checkpoint import START, Mark
from export_runner.formats.base import USUAL_BLOCK, load
from export_runner.formats.compression import compressor
from export_runner.frames.blocks import Block, BlockCutter, Chunk
from export_runner.objects import Encoder, ObjectCutter
from export_runner.sinks.parts import DOUBLING, Part, Whole, grown
from tests.unit.exporter.copies import field

FIELDS = (field("id", "int4"),)
LIMITS = Limits(block_rows=10, block_bytes=USUAL_BLOCK, object_bytes=50)


def blocks(rows: range) -> list[Block]:
    encoded = [struct.pack("!hii", 1, 4, number) for number in rows]
    cutter = BlockCutter(LIMITS.block_rows, LIMITS.block_bytes)
    chunk = Chunk(b"".join(encoded), np.array([len(row) for row in encoded], dtype=np.int64))
    return [*(cutter.add(chunk) if encoded else ()), *cutter.rest()]


def encoder(start: Mark) -> Encoder:
    made = compressor("None", inside=False)
    return Encoder(load("CSV")(FIELDS, Output()), made, start)


def cut(rows: range, layout: Layout = "PartObjects", start: Mark = START) -> tuple[list[Part], tuple[Whole, ...]]:
    objects = ObjectCutter(encoder, LIMITS, layout, key=("id",), start=start)
    parts = [part for block in blocks(rows) for part in objects.block(block, FIELDS)]
    parts += objects.finish(complete=True)
    assert objects.rows == start.rows + len(rows)
    return parts, objects.wholes


def text(rows: range) -> bytes:
    return "".join(f"{line}\n" for line in ("id", *rows)).encode()


def test_an_object_ends_with_the_block_that_reaches_its_size_and_is_a_whole_file() -> None:
    parts, wholes = cut(range(100, 145))
    expected = [text(range(100, 120)), text(range(120, 140)), text(range(140, 145))]
    assert [(part.object, part.number, part.data) for part in parts] == [
        (number, 1, data) for number, data in enumerate(expected, start=1)
    ]
    assert [part.whole for part in parts] == list(wholes)
    assert [(whole.object, whole.rows, whole.bytes, whole.sha256) for whole in wholes] == [
        (number, data.count(b"\n") - 1, len(data), hashlib.sha256(data).hexdigest())
        for number, data in enumerate(expected, start=1)
    ]


def test_one_object_holds_all_rows_whatever_its_size() -> None:
    parts, wholes = cut(range(100, 145), "SingleObject")
    assert [part.data for part in parts] == [text(range(100, 145))]
    assert [(whole.object, whole.rows) for whole in wholes] == [(1, 45)]


def test_rows_that_end_with_an_object_make_no_empty_one() -> None:
    parts, wholes = cut(range(100, 140))
    assert [part.data for part in parts] == [text(range(100, 120)), text(range(120, 140))]
    assert len(wholes) == 2
    assert not parts[-1].mark.ended


@pytest.mark.parametrize("layout", ["SingleObject", "PartObjects"])
def test_no_rows_make_one_object_with_a_header(layout: Layout) -> None:
    parts, (whole,) = cut(range(0), layout)
    assert [part.data for part in parts] == [b"id\n"]
    assert (whole.object, whole.rows) == (1, 0)


@pytest.mark.parametrize("behind", [0, 1, 2])
def test_whoever_goes_on_behind_an_object_makes_the_same_of_the_rest(behind: int) -> None:
    rows = range(100, 165)
    whole, wholes = cut(rows)
    mark = whole[behind].mark
    assert (mark.objects, mark.rows, mark.last_key) == (behind + 1, 20 * (behind + 1), (str(rows[mark.rows - 1]),))
    rest, others = cut(rows[mark.rows :], start=mark)
    assert rest == whole[behind + 1 :]
    assert others == wholes[behind + 1 :]


def test_objects_grow_so_that_their_number_stays_small() -> None:
    assert [grown(number, 256) for number in (1, DOUBLING, DOUBLING + 1, 3 * DOUBLING)] == [256, 256, 512, 1024]
