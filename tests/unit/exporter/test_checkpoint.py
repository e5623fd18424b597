"""How far an export is, by its checkpoint and by what S3 lists."""

import zlib
from dataclasses import replace

import pytest

from export_contract.codec import ContractError
from export_contract.manifest import Segment
from export_runner.checkpoint import START, Checkpoint, Listed, Mark, etag_digest

pytestmark = pytest.mark.unit

DATA = [b"first", b"second part", b"third", b"the fourth"]
MARKS = [
    Mark(
        parts=number,
        rows=10 * number,
        bytes=sum(map(len, DATA[:number])),
        crc=zlib.crc32(b"".join(DATA[:number])),
        last_key=(str(number),),
    )
    for number in range(1, 5)
]
LISTED = {number: Listed(f'"e{number}"', len(data), zlib.crc32(data)) for number, data in enumerate(DATA, 1)}


def segment(number: int, rows: int) -> Segment:
    return Segment(snapshot=f"{number}:{number}:", snapshot_time=f"2026-01-0{number}T00:00:00Z", rows=rows)


WRITTEN = Checkpoint(
    run="r",
    content="c",
    fingerprint="f",
    attempt=2,
    writer="w",
    upload_id="u",
    nonce="n",
    etag_digest=etag_digest(['"e1"']),
    mark=MARKS[0],
    ahead=tuple(MARKS[1:]),
    segments=(segment(1, 5), segment(2, 35)),
)


def reached(parts: int, segments: tuple[Segment, ...]) -> Checkpoint:
    digest = etag_digest([LISTED[number].etag for number in range(1, parts + 1)])
    return replace(WRITTEN, mark=MARKS[parts - 1], ahead=(), etag_digest=digest, segments=segments)


@pytest.mark.parametrize(
    ("stored", "parts", "rows"),
    [((1,), 1, 5), ((1, 2), 2, 15), ((1, 2, 3, 4), 4, 35), ((1, 3, 4), 1, 5), ((1, 2, 4), 2, 15)],
    ids=str,
)
def test_a_part_that_was_under_way_counts_when_it_is_stored_and_so_are_those_before_it(
    stored: tuple[int, ...], parts: int, rows: int
) -> None:
    found = WRITTEN.reached({number: LISTED[number] for number in stored})
    assert found == reached(parts, (segment(1, 5), segment(2, rows)))


@pytest.mark.parametrize(
    "other",
    [
        Listed('"e2"', len(DATA[1]), zlib.crc32(b"other")),
        Listed('"e2"', 1, zlib.crc32(DATA[1])),
        Listed('"e2"', 11, None),
    ],
    ids=["other bytes", "another size", "a server that tells no CRC"],
)
def test_a_part_that_is_not_known_for_that_of_the_mark_does_not_count(other: Listed) -> None:
    assert WRITTEN.reached(LISTED | {2: other}) == reached(1, (segment(1, 5), segment(2, 5)))


def test_parts_that_the_checkpoint_counts_must_be_there_as_they_were() -> None:
    changed = replace(LISTED[1], etag='"other"')
    assert [WRITTEN.reached(LISTED | {1: changed}), WRITTEN.reached({2: LISTED[2]})] == [None, None]


def test_before_the_first_part_that_is_stored_no_segment_has_rows() -> None:
    begun = replace(WRITTEN, mark=START, ahead=tuple(MARKS), etag_digest=etag_digest(()))
    assert begun.reached({}) == replace(begun, ahead=(), segments=())


def test_it_is_read_as_it_was_written_and_also_without_what_is_under_way() -> None:
    assert Checkpoint.from_json(WRITTEN.to_json()) == WRITTEN
    alone = replace(WRITTEN, ahead=())
    assert Checkpoint.from_json(alone.to_json().replace(',"ahead":[]', "")) == alone
    with pytest.raises(ContractError):
        Checkpoint.from_json(WRITTEN.to_json().replace('"ahead"', '"behind"'))
