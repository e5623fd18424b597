"""A format as a plug-in would bring it (`docs/guide/formats.md`): tab-separated text, as PostgreSQL's COPY reads it."""

import io
from collections.abc import Sequence
from typing import ClassVar

import polars as pl

from export_runner.formats.base import Format
from export_runner.formats.columns import Kept, float_text, has_special_floats
from export_runner.frames.decoder import Column
from export_runner.frames.text import POSTGRESQL

ESCAPES = (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r"))


class TsvFormat(Format):
    """NULL is `\\N`; backslash, tab and line breaks are escaped (postgresql.org/docs/current/sql-copy.html)."""

    content_type: ClassVar[str] = "text/tab-separated-values"

    def block(self, columns: Sequence[Column]) -> bytes:
        kept = Kept(POSTGRESQL)  # keeps what polars points into until the block is written
        frame = pl.DataFrame([kept.plain(column).alias(str(number)) for number, column in enumerate(columns)])
        cells = []
        for number, column in enumerate(columns):
            value = pl.col(str(number))
            text = float_text(value) if has_special_floats(column) else value.cast(pl.String)
            for character, escaped in ESCAPES:
                text = text.str.replace_all(character, escaped, literal=True)
            cells.append(text.fill_null("\\N"))
        out = io.BytesIO()
        frame.select(pl.concat_str(cells, separator="\t")).write_csv(out, include_header=False, quote_style="never")
        return out.getvalue()
