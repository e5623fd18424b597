"""The limits on rows and bytes are exact: what is allowed is delivered, one more is not."""

import struct
import time
from collections.abc import Generator

import numpy as np
import pytest

from export_contract.failures import Failure
from export_contract.runspec import Limits, Output
from export_runner.clock import Stop
from export_runner.errors import ExportError
from export_runner.formats.base import USUAL_BLOCK, load
from export_runner.formats.compression import compressor
from export_runner.frames.blocks import Chunk
from export_runner.frames.kinds import Field
from export_runner.meter import Meter
from export_runner.objects import Encoder, ObjectCutter
from export_runner.pipeline import Encoded, Pipeline
from tests.unit.exporter.copies import field

pytestmark = pytest.mark.unit

ROWS = 1000
WHOLE = b"id\n" + b"".join(b"%d\n" % n for n in range(ROWS))


class Numbers:
    """`ROWS` rows of one int4, from COPY BINARY, some at a time."""

    fields: tuple[Field, ...] = (field("id", "int4"),)
    ended = False

    def chunks(self) -> Generator[Chunk]:
        for first in range(0, ROWS, 300):
            rows = [struct.pack("!hii", 1, 4, n) for n in range(first, min(first + 300, ROWS))]
            yield Chunk(b"".join(rows), np.array([len(row) for row in rows], dtype=np.int64))
        self.ended = True


def piped(*, max_rows: int = 0, max_bytes: int = 0) -> tuple[Encoded, bytes]:
    """What a pipeline makes of the numbers under such limits, and what it sends. Raises `ExportError`."""
    stop, parts, output = Stop(), dict[int, bytes](), Output(format="CSV")
    limits = Limits(max_rows=max_rows, max_bytes=max_bytes, block_rows=128, block_bytes=USUAL_BLOCK)
    kind = load(output.format)
    encoder = Encoder(kind(Numbers.fields, output), compressor(output.compression, inside=kind.compresses_inside))
    pipeline = Pipeline(
        Numbers(),
        ObjectCutter(lambda _: encoder, limits),
        lambda part: parts.__setitem__(part.number, part.data),
        limits=limits,
        meter=Meter(time.monotonic()),
        stop=stop,
    )
    done = pipeline.run()
    return done, b"".join(parts[number] for number in sorted(parts))


@pytest.mark.parametrize(
    "limits",
    [{}, {"max_rows": ROWS}, {"max_rows": ROWS + 1}, {"max_bytes": len(WHOLE)}, {"max_bytes": len(WHOLE) + 1}],
)
def test_as_much_as_allowed_is_delivered(limits: dict[str, int]) -> None:
    done, sent = piped(**limits)
    assert (done.rows, done.complete, sent) == (ROWS, True, WHOLE)


@pytest.mark.parametrize(
    ("limits", "failure"),
    [
        ({"max_rows": ROWS - 1}, Failure.ROW_LIMIT_EXCEEDED),
        ({"max_rows": 1}, Failure.ROW_LIMIT_EXCEEDED),
        ({"max_bytes": len(WHOLE) - 1}, Failure.BYTE_LIMIT_EXCEEDED),
        ({"max_bytes": 1}, Failure.BYTE_LIMIT_EXCEEDED),
    ],
)
def test_one_more_than_allowed_is_not_delivered(limits: dict[str, int], failure: Failure) -> None:
    with pytest.raises(ExportError) as caught:
        piped(**limits)
    assert (caught.value.failure, caught.value.transient) == (failure, False)
