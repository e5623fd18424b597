"""Ways for a run to end, each with credentials and rows that are easily recognised: nothing of them may be told.

A line of `WAYS` is a way to fail, or None for a delivery. `test_secrecy` takes them all.
"""

import base64
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote

from export_contract.failures import Failure
from export_contract.runspec import (
    Destination,
    Fallback,
    FallbackDatabase,
    Limits,
    Mask,
    Output,
    Parameter,
    Relation,
    RunSpec,
)
from tests.integration.exporter.runner import Exporter, Running
from tests.services.recorder import Answer, Call

ROWS = 4000
PASSWORD = "planted-pg-password"
MASK_KEY = "planted-mask-key-of-16-bytes"
FALLBACK = "planted-fallback-password"
WRONG = "planted-wrong-credential"
SECRETS = (PASSWORD, MASK_KEY, FALLBACK, WRONG)
MARKERS = ("row-value-email", "row-value-json", "row-value-bytes", "98765432.19", "1944-03-21", "7300000")
"""What the columns hold, each its own; the last one is of the key, which a checkpoint may tell."""
KEY = MARKERS[-1]
COLUMNS = ("id", "email", "note", "pin", "amount", "born")

SETUP = f"""
DROP SCHEMA IF EXISTS planted CASCADE; CREATE SCHEMA planted; GRANT USAGE ON SCHEMA planted TO PUBLIC;
CREATE TABLE planted.people (id int PRIMARY KEY, email text, note jsonb, pin bytea, amount numeric(12, 2), born date);
INSERT INTO planted.people SELECT {KEY}00 + n, 'row-value-email-' || n || repeat(' and on', 200),
  jsonb_build_object('k', 'row-value-json-' || n), convert_to('row-value-bytes-' || n, 'UTF8'), 98765432.19,
  '1944-03-21' FROM generate_series(1, {ROWS}) AS n;
GRANT SELECT ON planted.people TO PUBLIC;
CREATE FUNCTION planted.raises(state text, said text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN
  RAISE EXCEPTION USING ERRCODE = state, MESSAGE = 'not for ' || said, DETAIL = said, HINT = said, COLUMN = said,
    CONSTRAINT = said, DATATYPE = said, TABLE = said, SCHEMA = said;
END $$;
CREATE FUNCTION planted.notices(said text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN
  RAISE WARNING 'look at %', said; RETURN said;
END $$;
DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'planted') THEN
  CREATE ROLE planted LOGIN PASSWORD '{PASSWORD}'; END IF; END $$;
"""

FORMAT = '''
import logging, os, warnings
import polars
from export_runner.formats.csv import CsvFormat

class Sabotaged(CsvFormat):
    """What a compiled library, or one that logs, might do with a row that it cannot take."""

    def compiled(self, block):
        row = bytes(block.data[:2000])
        warnings.warn(repr(row))
        logging.getLogger("psycopg").warning("cannot take %r", row)
        how = os.environ["SABOTAGE"]
        if how == "panic":
            os.write(2, row)
            polars.Series([2**31 - 1], dtype=polars.Int32).cast(polars.Date).dt.to_string("%Y")
        raise (MemoryError if how == "memory" else KeyError)(row)
'''
"""Stands before the CSV format where its directory is on PYTHONPATH."""


def forms(text: str) -> set[str]:
    """As a text may be written elsewhere."""
    data = text.encode()
    return {text, data.hex(), base64.b64encode(data).decode().rstrip("="), quote(text, safe="")}


@dataclass(frozen=True)
class Way:
    """`failure` None: the run delivers. `source` goes over the table's; `query` reads rows in its place."""

    name: str
    failure: Failure | None
    query: str = ""
    source: Mapping[str, Any] = field(default_factory=dict)
    output: Output = field(default_factory=Output)
    limits: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    answer: Callable[[Call], Answer | None] = lambda _: None
    """S3's, instead of the server's."""
    change: Callable[[RunSpec], RunSpec] = lambda spec: spec
    act: Callable[[Running], None] = lambda _: None
    corrupt: Callable[[bytes, int], int] | None = None
    """Where PostgreSQL's answers are damaged on their way: see `tests.services.proxies.Corrupter`."""
    sabotage: str = ""

    def spec(self, exporter: Exporter) -> RunSpec:
        where: dict[str, Any] = {"relation": Relation(schema="planted", table="people"), **self.source}
        columns = where.pop("columns", COLUMNS)
        if self.query:
            columns, where["relation"], where["query"] = ("x",), None, self.query
        spec = exporter.spec(columns, **where)
        limits = Limits(**{"block_bytes": 256 * 1024, "part_bytes": 5 * 1024 * 1024, **self.limits})
        return self.change(replace(spec, output=self.output, limits=limits))


def of_rows(expression: str) -> str:
    return f"SELECT {expression} AS x FROM planted.people"


def raises(state: str) -> str:
    return of_rows(f"planted.raises('{state}', email)")


def echoing(operation: str, status: int, code: str) -> Callable[[Call], Answer | None]:
    """A server that repeats what it was sent."""

    def answer(call: Call) -> Answer | None:
        if call.operation != operation:
            return None
        return Answer.error(status, code, f"{call.headers.get('authorization')} {call.body[:3000].decode('latin-1')!r}")

    return answer


def half_way(running: Running) -> None:
    running.until(lambda: any(each.bytes > 0 for each in running.progress()), "bytes")


def stopped(running: Running) -> None:
    half_way(running)
    running.signal(signal.SIGTERM)


def field_count(piece: bytes, begun: int) -> int:
    """Where a row says that it has six fields, the first of four bytes."""
    return piece.find(b"\0\x06\0\0\0\x04") + 1 or -1 if begun > 100_000 else -1


def without_tls(spec: RunSpec) -> Destination:
    """A client that speaks TLS to a server that does not."""
    return replace(spec.destination, endpoint=spec.destination.endpoint.replace("http:", "https:"))


def beside(spec: RunSpec) -> Fallback:
    """Another database of the same server, which the planted password does not open."""
    return Fallback(
        name="spare", database=FallbackDatabase(host=spec.source.host, port=spec.source.port, database="postgres")
    )


SLOW = of_rows("email || pg_sleep(0.001)::text")
PARAMETERS = (Parameter(name="p", type="date", value="tomorrow"),)

F = Failure
WAYS: tuple[Way, ...] = (
    Way("a delivery", None, source={"masks": (Mask(column="email", kind="Hash"),)}),
    Way("with a checkpoint", None, change=lambda spec: replace(spec, resume="Always")),
    Way("with warnings", None, of_rows("planted.notices(email)"), source={"row_filter": "x < 'row-value-email-11'"}),
    Way("a spec of another form", F.INVALID_RUN_SPEC, change=lambda spec: replace(spec, resume="Sometimes")),  # type: ignore[arg-type]
    Way("a parameter of another type", F.INVALID_PARAMETER, "SELECT {p} AS x", source={"parameters": PARAMETERS}),
    Way("a missing column", F.DATASET_INVALID, source={"columns": ("email", "shoe_size")}),
    Way("a wrong password", F.SOURCE_AUTHENTICATION_FAILED, environment={"PGPASSWORD": WRONG}),
    Way("no TLS at the source", F.SOURCE_AUTHENTICATION_FAILED, source={"ssl_mode": "Require"}),
    Way("an unknown database", F.SOURCE_NOT_FOUND, source={"database": "elsewhere"}),
    Way("a source that refuses", F.SOURCE_UNAVAILABLE, raises("53300")),
    Way("a damaged answer of the source", F.INTERNAL_ERROR, corrupt=field_count),
    Way("a function's own refusal", F.SOURCE_ACCESS_DENIED, raises("42501")),
    Way("a function's missing table", F.DATASET_INVALID, raises("42P01")),
    Way("a function's login failure", F.SOURCE_AUTHENTICATION_FAILED, raises("28000")),
    Way("a function's cancellation", F.DEADLINE_EXCEEDED, raises("57014")),
    Way("a function's exception", F.SOURCE_QUERY_FAILED, raises("P0001")),
    Way("a constraint", F.SOURCE_QUERY_FAILED, raises("23505")),
    Way("a text that is no number", F.SOURCE_QUERY_FAILED, of_rows("email::integer")),
    Way("a text that is no JSON", F.SOURCE_QUERY_FAILED, of_rows("email::json")),
    Way("a text that is no date", F.SOURCE_QUERY_FAILED, of_rows("(note ->> 'k')::date")),
    Way("bytes that are no text", F.VALUE_NOT_REPRESENTABLE, of_rows("convert_from('\\xff'::bytea || pin, 'UTF8')")),
    Way(
        "a value without a place",
        F.VALUE_NOT_REPRESENTABLE,
        of_rows("CASE WHEN email LIKE '%-9 %' THEN 'infinity' ELSE born END"),
        output=Output(format="Parquet"),
    ),
    Way("a value that is too large", F.VALUE_TOO_LARGE, limits={"max_value_bytes": 1000}),
    Way("a role that may too much", F.SOURCE_ROLE_TOO_PRIVILEGED, environment={"PGUSER": "owner"}),
    Way("a wrong key", F.DESTINATION_AUTHENTICATION_FAILED, environment={"AWS_SECRET_ACCESS_KEY": WRONG}),
    Way("a write denied", F.DESTINATION_ACCESS_DENIED, answer=echoing("UploadPart", 403, "AccessDenied")),
    Way("a manifest denied", F.DESTINATION_ACCESS_DENIED, answer=echoing("PutObject", 403, "AccessDenied")),
    Way("a write refused", F.DESTINATION_REFUSED, answer=echoing("UploadPart", 400, "InvalidRequest")),
    Way(
        "a missing bucket",
        F.BUCKET_NOT_FOUND,
        change=lambda spec: replace(spec, destination=replace(spec.destination, bucket="nowhere-to-be-found")),
    ),
    Way("no TLS at S3", F.DESTINATION_UNAVAILABLE, change=lambda spec: replace(spec, destination=without_tls(spec))),
    Way(
        "a fallback that refuses as well",
        F.DESTINATION_UNAVAILABLE,
        change=lambda spec: replace(spec, destination=replace(without_tls(spec), fallback=beside(spec))),
        environment={"EXPORT_FALLBACK_PGUSER": "planted"},
    ),
    Way("too little time", F.DEADLINE_EXCEEDED, SLOW, limits={"run_deadline_seconds": 3}),
    Way("too many rows", F.ROW_LIMIT_EXCEEDED, limits={"max_rows": 100}),
    Way("too many bytes", F.BYTE_LIMIT_EXCEEDED, limits={"max_bytes": 100_000}),
    Way("SIGTERM", F.INTERRUPTED, SLOW, act=stopped),
    Way("a panic", F.INTERNAL_ERROR, sabotage="panic"),
    Way("an exception", F.INTERNAL_ERROR, sabotage="exception"),
    Way("no memory", F.OUT_OF_MEMORY, sabotage="memory"),
)
OF_COMMANDS = {F.ARTIFACT_DAMAGED, F.ARTIFACT_NOT_FOUND}
"""Not of a run: `fetch` and `redeliver` end so."""
