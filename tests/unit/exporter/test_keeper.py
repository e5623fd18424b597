"""The checkpoint of an upload tells of parts while they are sent, and so nearly all that is stored counts."""

import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_runner.checkpoint import START, Checkpoint, Listed, Mark, etag_digest
from export_runner.errors import Stopped
from export_runner.sinks.keeper import Keeper
from export_runner.sinks.parts import SENDERS
from export_runner.tasks import Task

pytestmark = pytest.mark.unit

PATIENCE = 30.0
"""Seconds: nothing here takes so long."""
MOMENT = 0.05
"""What must not happen is looked at for so long."""


def mark(parts: int) -> Mark:
    return Mark(parts=parts, rows=parts, bytes=parts, crc=zlib.crc32(b"x" * parts))


class Document:
    """What was written, and a gate before each writing."""

    def __init__(self) -> None:
        self.told: list[tuple[Mark, tuple[Mark, ...]]] = []
        self.open = threading.Event()
        self.open.set()

    def write(self, counted: Mark, ahead: tuple[Mark, ...]) -> None:
        assert self.open.wait(PATIENCE)
        self.told.append((counted, ahead))


@contextmanager
def kept(document: Document, written: Mark = START) -> Iterator[Keeper]:
    keeper = Keeper(written, document.write)
    try:
        yield keeper
    finally:
        document.open.set()
        keeper.close()


def waits(function: Callable[[], None], until: Callable[[], None]) -> bool:
    """Whether a call ends only when something else was done."""
    task = Task("waits", function)
    early = task.join(MOMENT)
    until()
    return not early and task.join(PATIENCE) and not task.failed


def test_a_part_is_begun_when_the_checkpoint_tells_of_the_part_before_it() -> None:
    document = Document()
    document.open.clear()
    with kept(document) as keeper:
        keeper.begin(mark(1))
        assert waits(lambda: keeper.begin(mark(2)), document.open.set)
    assert document.told[0] == (START, (mark(1),))


def test_no_more_parts_are_under_way_than_are_sent_at_once() -> None:
    with kept(Document()) as keeper:
        for number in range(1, SENDERS + 1):
            keeper.begin(mark(number))
        assert waits(lambda: keeper.begin(mark(SENDERS + 1)), lambda: keeper.stored(mark(1)))


def test_what_is_stored_behind_a_gap_counts_when_the_gap_is_closed() -> None:
    document = Document()
    with kept(document) as keeper:
        keeper.begin(mark(1))
        keeper.begin(mark(2))
        keeper.stored(mark(2))
        keeper.stored(mark(1))
        keeper.finish(complete=False)
    assert document.told[-1] == (replace(mark(2), ended=True, complete=False), ())


def test_who_leaves_tells_what_is_stored_and_begins_nothing_more() -> None:
    document = Document()
    with kept(document, mark(3)) as keeper:
        keeper.begin(mark(4))
        keeper.begin(mark(5))
        keeper.stored(mark(4))
        keeper.leave()
        with pytest.raises(Stopped):
            keeper.begin(mark(6))
    assert document.told[-1] == (mark(4), ())


def test_an_error_of_writing_ends_what_waits_for_it() -> None:
    def fail(_counted: Mark, _ahead: tuple[Mark, ...]) -> None:
        raise Stopped

    keeper = Keeper(START, fail)
    keeper.begin(mark(1))
    with pytest.raises(Stopped):
        keeper.begin(mark(2))
    keeper.close()


@given(st.lists(st.binary(min_size=1, max_size=9), min_size=1, max_size=40))
def test_whenever_the_process_dies_at_most_one_part_that_is_stored_is_sent_again(pieces: list[bytes]) -> None:
    """Senders race as threads do. A death is worst when a part has just been stored: what then counts is looked at."""
    marks = [_behind(pieces[:number]) for number in range(1, len(pieces) + 1)]
    listed: dict[int, Listed] = {}
    lost: list[int] = []
    first = Checkpoint(
        run="r",
        content="c",
        fingerprint="f",
        attempt=1,
        writer="w",
        upload_id="u",
        nonce="n",
        etag_digest=etag_digest(()),
        mark=START,
    )
    there = [first]
    waiting = iter(marks)
    turn, instant = threading.Lock(), threading.Lock()

    def write(counted: Mark, ahead: tuple[Mark, ...]) -> None:
        with instant:
            digest = etag_digest([listed[number].etag for number in range(1, counted.parts + 1)])
            there.append(replace(first, mark=counted, ahead=ahead, etag_digest=digest))

    def store(part: Mark) -> None:
        piece = pieces[part.parts - 1]
        with instant:
            listed[part.parts] = Listed(str(part.parts), len(piece), zlib.crc32(piece))
            counts = there[-1].reached(listed)
            assert counts is not None
            lost.append(len(listed) - counts.mark.parts)

    def send() -> None:
        while True:
            with turn:
                part = next(waiting, None)
            if part is None:
                return
            keeper.begin(part)
            store(part)
            keeper.stored(part)

    keeper = Keeper(START, write)
    senders = [Task(f"send-{number}", send) for number in range(SENDERS)]
    for each in senders:
        assert each.join(PATIENCE)
        each.result()
    keeper.finish(complete=True)
    keeper.close()
    assert there[-1].mark == replace(marks[-1], ended=True)
    assert max(lost) <= 1


def _behind(pieces: list[bytes]) -> Mark:
    data = b"".join(pieces)
    return Mark(parts=len(pieces), rows=len(pieces), bytes=len(data), crc=zlib.crc32(data))
