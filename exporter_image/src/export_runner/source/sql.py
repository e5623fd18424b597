"""Every statement that the exporter sends, composed from validated, typed values by `psycopg.sql` alone."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from psycopg import sql

from export_contract.failures import Failure
from export_contract.runspec import Parameter, Relation, Source
from export_runner.errors import ExportError
from export_runner.source import masks

LOCK_TIMEOUT_MS = 10_000
"""How long ACCESS SHARE is waited for at most, and half of the time that is left, so that the wait ends with its own
failure before the deadline does. Only ACCESS EXCLUSIVE holds it up: DDL, TRUNCATE, VACUUM FULL."""

_SETTINGS: tuple[tuple[str, str], ...] = (
    ("TimeZone", "UTC"),
    ("DateStyle", "ISO, YMD"),
    ("IntervalStyle", "postgres"),
    ("extra_float_digits", "1"),
    ("bytea_output", "hex"),
    ("lc_monetary", "C"),
    ("xmlbinary", "base64"),
    ("client_encoding", "UTF8"),
    ("standard_conforming_strings", "on"),
    ("search_path", ""),
    ("row_security", "on"),
    ("synchronize_seqscans", "off"),  # else a COPY may begin where another scan is
    ("max_parallel_workers_per_gather", "0"),  # else rows come in the order that workers deliver them
    ("idle_in_transaction_session_timeout", "0"),
    ("jit", "off"),
    ("tcp_keepalives_idle", "10"),  # a dead pod must not hold back vacuum for hours
    ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "3"),
)
_SETTINGS_SINCE: tuple[tuple[int, str, str], ...] = (
    (120_000, "tcp_user_timeout", "30000"),
    (140_000, "client_connection_check_interval", "2000"),
)


def begin(server_version: int, statement_timeout_ms: int, snapshot: str = "") -> sql.Composed:
    """The transaction, in another one's exported snapshot where one is given, and its settings: all `SET LOCAL`, so
    that a transaction pooler may sit between."""
    settings = [
        *_SETTINGS,
        *((name, value) for since, name, value in _SETTINGS_SINCE if server_version >= since),
        ("statement_timeout", str(max(1, statement_timeout_ms))),
        ("lock_timeout", str(max(1, min(LOCK_TIMEOUT_MS, statement_timeout_ms // 2)))),
    ]
    lines = [sql.SQL("SET LOCAL {} = {}").format(sql.Identifier(name), sql.Literal(value)) for name, value in settings]
    if snapshot:
        lines.insert(0, sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(snapshot)))
    return sql.SQL("; ").join([sql.SQL("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"), *lines])


def lock(relation: Relation, *, wait: bool = True) -> sql.Composed:
    """Held before the snapshot is taken, because TRUNCATE does not respect snapshots."""
    statement = sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(sql.Identifier(relation.schema, relation.table))
    return statement if wait else sql.SQL("{} NOWAIT").format(statement)


def rows(source: Source, pages: tuple[int, int | None] | None = None) -> sql.Composed:
    """The columns in their order, masked, of the rows that the filter lets through; of a table's `pages` alone, where
    they are given: from the first one to before the second, or to the end. Raises `ExportError`."""
    _named(source)
    masks.validate(source)
    hidden = {mask.column: mask for mask in source.masks}
    columns = sql.SQL(", ").join(
        sql.SQL("{} AS {}").format(masks.expression(hidden[name]), sql.Identifier(name))
        if name in hidden
        else sql.Identifier(name)
        for name in source.columns
    )
    if source.relation is not None:
        origin: sql.Composable = sql.Identifier(source.relation.schema, source.relation.table)
    else:
        # The line break ends a comment that the query may end with.
        origin = sql.SQL("({}\n) AS dataset").format(fill(source.query or "", source.parameters))
    statement = sql.SQL("SELECT {} FROM {}").format(columns, origin)
    conditions: list[sql.Composable] = []
    if source.row_filter.strip():
        conditions.append(sql.SQL("({}\n)").format(condition(source.row_filter)))
    if pages is not None:
        for operator, page in zip((">=", "<"), pages, strict=True):
            if page is not None:
                place = sql.Literal(f"({page},0)")
                conditions.append(
                    sql.SQL("ctid OPERATOR(pg_catalog.{}) {}::pg_catalog.tid").format(sql.SQL(operator), place)
                )
    if conditions:
        statement = sql.SQL("{} WHERE {}").format(statement, sql.SQL(" AND ").join(conditions))
    if source.order_by:
        order = sql.SQL(", ").join(sql.Identifier(name) for name in source.order_by)
        statement = sql.SQL("{} ORDER BY {}").format(statement, order)
    return statement


def _named(source: Source) -> None:
    """PostgreSQL would take what stands before a NUL for the name. Raises `ExportError` (DatasetInvalid)."""
    relation = (source.relation.schema, source.relation.table) if source.relation else ()
    masked = (mask.column for mask in source.masks)
    names = (*relation, *source.columns, *source.order_by, *source.key, *masked)
    wrong = next((name for name in names if not name or "\0" in name), None)
    if wrong is not None:
        raise ExportError(
            Failure.DATASET_INVALID, f"{wrong!r} is no name: it takes one character at least, and no NUL among them."
        )


SAVEPOINT = sql.SQL("SAVEPOINT reading")
ROLLBACK_TO_SAVEPOINT = sql.SQL("ROLLBACK TO SAVEPOINT reading")


def statement_timeout(milliseconds: int) -> sql.Composed:
    """For what is left of the transaction."""
    return sql.SQL("SET LOCAL statement_timeout = {}").format(sql.Literal(max(1, milliseconds)))


def describe(query: sql.Composed) -> sql.Composed:
    """No row of the query: its columns and their types."""
    return sql.SQL("SELECT * FROM ({}) AS described LIMIT 0").format(query)


def explain(query: sql.Composed) -> sql.Composed:
    return sql.SQL("EXPLAIN (FORMAT JSON) {}").format(query)


def top_of(plan: Any) -> dict[str, Any]:
    """The topmost node of what `explain` is answered; empty when it has another form."""
    try:
        return dict((json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"])
    except (TypeError, LookupError, ValueError):
        return {}


# What a query consists of, as far as placeholders care: postgresql.org/docs/current/sql-syntax-lexical.html.
_TOKENS = r"""
    (?P<opaque>
        [eE]'(?:[^'\\]|\\.|'')*'              # E'…' with backslash escapes
      | '(?:[^']|'')*'
      | "(?:[^"]|"")*"
      | --[^\n]*
      | \$(?P<tag>[A-Za-z_\u0080-\U0010ffff][\w\u0080-\U0010ffff]*|)\$.*?\$(?P=tag)\$ # dollar quotes
    )
    | (?P<comment>/\*)
    | (?P<word>[\w$\u0080-\U0010ffff]+)         # so that neither e'…' nor $1 is found inside a longer name
    | (?P<placeholder>\{(?P<name>\w+)\})
    | (?P<other>.)
"""
_UNENDED = re.compile(r"['\"]|\$[^\W\d]?\w*\$.*", re.DOTALL)
_COMMENT_EDGE = re.compile(r"/\*|\*/")


def condition(text: str) -> sql.SQL:
    """A row filter, which the platform team wrote: one condition that ends where it seems to. Raises `ExportError`."""
    _closed(text, "row filter")
    return _verbatim(text)


def _closed(text: str, what: str) -> None:
    """No bracket or statement ends what is put around the text. Raises `ExportError` (DatasetInvalid)."""
    depth = 0
    for name, piece in _tokens(text):
        if name == "?":
            raise ExportError(Failure.DATASET_INVALID, f"The dataset's {what} has a quote that does not end.")
        if name == "-":
            depth += {"(": 1, ")": -1}.get(piece or "", 0)
        if depth < 0 or (name == "-" and piece == ";"):
            raise ExportError(
                Failure.DATASET_INVALID, f"The dataset's {what} has a {piece!r} too many; give one statement's part."
            )
    if depth:
        raise ExportError(Failure.DATASET_INVALID, f"The dataset's {what} has a '(' that does not end.")
    if "\0" in text:
        raise ExportError(Failure.DATASET_INVALID, f"The dataset's {what} has a NUL character; leave it out.")


def fill(query: str, parameters: Sequence[Parameter]) -> sql.Composed:
    """The query with `{name}` of each declared parameter replaced by a typed literal; all else stays as it is.

    Inside quotes and comments a placeholder cannot be a value: there it raises `ExportError` (DatasetInvalid).
    """
    query = query.strip().rstrip(";")
    _closed(query, "query")
    values = {parameter.name: parameter for parameter in parameters}
    pieces: list[sql.Composable] = []
    for name, text in _tokens(query):
        if name in values and text is None:
            given = values[name]
            pieces.append(sql.SQL("{}::{}").format(sql.Literal(given.value), sql.SQL(given.type)))
            continue
        inside = next((each for each in values if name == "" and "{" + each + "}" in (text or "")), None)
        if inside is not None:
            raise ExportError(
                Failure.DATASET_INVALID,
                f"The dataset's query has {{{inside}}} inside quotes or a comment; write it bare.",
            )
        pieces.append(_verbatim(text if text is not None else "{" + name + "}"))
    return sql.Composed(pieces)


def _tokens(query: str) -> Iterator[tuple[str, str | None]]:
    """(name, None) for a placeholder; (tag, text) for text: "" in quotes and comments, "?" at a quote without end, else
    "-"."""
    token = re.compile(_TOKENS, re.VERBOSE | re.DOTALL)  # takes milliseconds, and a table has no query
    position = 0
    while position < len(query):
        match = token.match(query, position)
        assert match is not None, "every character matches"
        position = match.end()
        if match["placeholder"]:
            yield match["name"], None
        elif match["comment"]:
            end = _comment_end(query, position)
            yield "", query[match.start() : end]
            position = end
        elif match["opaque"]:
            yield "", match[0]
        else:
            yield "?" if _UNENDED.fullmatch(match[0]) else "-", match[0]


def _comment_end(query: str, position: int) -> int:
    """Comments nest. One that does not end takes the rest."""
    depth = 1
    while depth:
        edge = _COMMENT_EDGE.search(query, position)
        if edge is None:
            return len(query)
        depth += 1 if edge[0] == "/*" else -1
        position = edge.end()
    return position


def _verbatim(text: str) -> sql.SQL:
    # The platform team wrote the query; braces are doubled only in `format`, which is not called on it.
    return sql.SQL(text)
