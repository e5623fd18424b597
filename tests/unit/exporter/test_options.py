"""What the options of CSV and JSON make of the same rows, and what becomes of values that a format has no place for."""

import io
import struct
from decimal import Decimal
from typing import Any

import pyarrow.ipc
import pyarrow.parquet
import pytest

from export_contract.failures import Failure
from export_contract.runspec import CsvOptions, JsonOptions, Output
from export_runner.errors import ExportError
from export_runner.formats.base import Format, load
from export_runner.frames.decoder import decode
from export_runner.frames.kinds import Field, Kind
from tests.unit.exporter.copies import block, decimal, dumped, field

pytestmark = pytest.mark.unit

FIELDS = [field("n", "int8"), field("t;", "text"), field("f", "float8"), field("b", "bool")]
ROWS: list[list[bytes | None]] = [
    [struct.pack("!q", 1), b'a;"b",c', struct.pack("!d", 0.5), b"\1"],
    [None, None, None, None],
    [struct.pack("!q", -7), b"", struct.pack("!d", float("-inf")), b"\0"],
    [struct.pack("!q", 0), b"NULL", struct.pack("!d", float("nan")), None],
]


def made(name: str, output: Output, fields: list[Field] = FIELDS, rows: list[list[bytes | None]] = ROWS) -> bytes:
    encoder: Format = load(name)(fields, output)
    return encoder.header() + encoder.block(decode(block(rows), fields)) + encoder.footer()


def csv(fields: list[Field] = FIELDS, rows: list[list[bytes | None]] = ROWS, **options: Any) -> bytes:
    return made("CSV", Output(csv=CsvOptions(**options)), fields, rows)


@pytest.mark.parametrize(
    ("options", "right"),
    [
        ({}, b'n,t;,f,b\n1,"a;""b"",c",0.5,true\n,,,\n-7,"",-Infinity,false\n0,NULL,NaN,\n'),
        ({"delimiter": ";"}, b'n;"t;";f;b\n1;"a;""b"",c";0.5;true\n;;;\n-7;"";-Infinity;false\n0;NULL;NaN;\n'),
        ({"header": False}, b'1,"a;""b"",c",0.5,true\n,,,\n-7,"",-Infinity,false\n0,NULL,NaN,\n'),
        (
            {"line_end": "CRLF"},
            b'n,t;,f,b\r\n1,"a;""b"",c",0.5,true\r\n,,,\r\n-7,"",-Infinity,false\r\n0,NULL,NaN,\r\n',
        ),
        (
            {"null_text": "NULL"},
            b'n,t;,f,b\n1,"a;""b"",c",0.5,true\nNULL,NULL,NULL,NULL\n-7,,-Infinity,false\n0,"NULL",NaN,NULL\n',
        ),
        (
            {"null_text": "NaN"},
            b'n,t;,f,b\n1,"a;""b"",c",0.5,true\nNaN,NaN,NaN,NaN\n-7,,-Infinity,false\n0,NULL,"NaN",NaN\n',
        ),
        (
            {"quoting": "Text"},
            b'"n","t;","f","b"\n1,"a;""b"",c",0.5,true\n,,,\n-7,"",-Infinity,false\n0,"NULL",NaN,\n',
        ),
        (
            {"quoting": "All"},
            b'"n","t;","f","b"\n"1","a;""b"",c","0.5","true"\n,,,\n"-7","","-Infinity","false"\n"0","NULL","NaN",\n',
        ),
    ],
)
def test_csv_options_change_what_they_say_and_keep_null_apart(options: dict[str, Any], right: bytes) -> None:
    assert csv(**options) == right


def test_one_column_has_no_line_that_readers_skip_whatever_the_options() -> None:
    rows: list[list[bytes | None]] = [[b"a"], [None], [b""], [b"\\N"], [b"NULL"]]
    fields = [field("x", "text")]
    assert csv(fields, rows) == b'x\n"a"\n\\N\n""\n"\\N"\n"NULL"\n'
    assert csv(fields, rows, null_text="NULL") == b'x\n"a"\nNULL\n""\n"\\N"\n"NULL"\n'


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@A1", "\t=1", "\r=1", "\n=1", "＝1"])
def test_texts_that_spreadsheets_take_for_formulas_get_an_apostrophe(text: str) -> None:
    fields = [field("t", "text"), field("n", "int4")]
    rows: list[list[bytes | None]] = [[text.encode(), struct.pack("!i", -1)]]
    quoted = text if text.isprintable() or text.startswith("\t") else f'"{text}"'
    line = f"'{text},-1\n" if quoted == text else f'"\'{text}",-1\n'
    assert csv(fields, rows, neutralise_formulas=True) == b"t,n\n" + line.encode()


def test_numbers_times_json_and_other_texts_stay_as_they_are() -> None:
    fields = [
        *(field("a", "numeric"), field("b", "float8"), field("c", "date"), field("d", "json")),
        *(field("e", "text"), field("=f", "int4")),
    ]
    infinity = struct.pack("!i", -(2**31))
    rows: list[list[bytes | None]] = [[b"-1.50", struct.pack("!d", -1), infinity, b"-1", b"'=", None]]
    assert csv(fields, rows, neutralise_formulas=True) == b"a,b,c,d,e,'=f\n-1.50,-1.0,-infinity,-1,'=,\n"


NUMBERS = [field("i", "int8"), field("d", "numeric"), field("f", "float8"), field("y", "bytea")]
DOUBLE = struct.pack("!d", 1.5)
LINE: list[list[bytes | None]] = [[struct.pack("!q", 2**53 + 1), b"1.50", DOUBLE, b"\xff\0"], [None, None, None, None]]


def test_big_numbers_become_strings_and_bytes_base64() -> None:
    options = JsonOptions(big_numbers="String", bytea="Base64")
    assert made("NDJSON", Output(json=options), NUMBERS, LINE) == (
        b'{"i":"9007199254740993","d":"1.50","f":1.5,"y":"/wA="}\n{"i":null,"d":null,"f":null,"y":null}\n'
    )


ODD: list[list[bytes | None]] = [
    [b"NaN", struct.pack("!d", float("inf"))],
    [b"1.0", struct.pack("!d", 1)],
    [None, struct.pack("!d", float("nan"))],
]
NAMED = [field("d", "numeric"), field("f", "float8")]


def test_what_is_not_finite_is_a_string_in_json() -> None:
    assert made("JSON", Output(), NAMED, ODD) == (
        b'[\n{"d":"NaN","f":"Infinity"},\n{"d":1.0,"f":1.0},\n{"d":null,"f":"NaN"}\n]\n'
    )


def test_what_is_not_finite_is_refused_by_the_column_where_json_asks_for_it() -> None:
    with pytest.raises(ExportError, match="Column 'd' \\(numeric\\) holds NaN or an infinity") as caught:
        made("JSON", Output(json=JsonOptions(non_finite="Refuse")), NAMED, ODD)
    assert caught.value.failure is Failure.VALUE_NOT_REPRESENTABLE


def test_what_is_not_finite_becomes_null_in_json_and_is_counted() -> None:
    output = Output(json=JsonOptions(non_finite="Refuse"), on_unrepresentable="Null")
    encoder = load("NDJSON")(NAMED, output)
    assert encoder.block(decode(block(ODD), NAMED)) == (
        b'{"d":null,"f":null}\n{"d":1.0,"f":1.0}\n{"d":null,"f":null}\n'
    )
    assert encoder.nulled == {"d": 1, "f": 2}


def test_columns_that_may_hold_what_json_has_no_number_for_are_read_as_text() -> None:
    fields = [*NAMED, field("i", "int8")]
    output = Output(json=JsonOptions(non_finite="Refuse"), on_unrepresentable="ColumnAsText")
    assert [each.as_text for each in load("JSON").reads(fields, output)] == [True, True, False]


def test_a_json_array_that_another_process_began_goes_on_without_a_bracket() -> None:
    whole, rest = (load("JSON")(NAMED, Output()) for _ in range(2))
    first, second = (decode(block(rows), NAMED) for rows in (ODD[:1], ODD[1:]))
    begun = whole.header() + whole.block(first)
    assert rest.block(second) + rest.footer() == whole.block(second) + whole.footer()
    assert begun.startswith(b"[\n{")


UNFIT_FIELDS = [
    *(field("d", "date"), field("t", "timestamp"), field("z", "timestamptz")),
    decimal("n", 5, 2),
]
LATE = struct.pack("!q", 9223371331199999999)  # 294276-12-31 23:59:59.999999
UNFIT: list[list[bytes | None]] = [
    [struct.pack("!i", 2**31 - 1), struct.pack("!q", -(2**63)), LATE, dumped(Decimal("NaN"))],
    [struct.pack("!i", 0), struct.pack("!q", 0), struct.pack("!q", 0), dumped(Decimal("1.50"))],
    [None, None, None, None],
    [struct.pack("!i", -(2**31)), LATE, struct.pack("!q", 1), dumped(Decimal("NaN"))],
]


def typed(name: str, data: bytes) -> Any:
    source = io.BytesIO(data)
    return pyarrow.parquet.read_table(source) if name == "Parquet" else pyarrow.ipc.open_stream(source).read_all()


@pytest.mark.parametrize("name", ["Parquet", "ArrowStream"])
def test_values_that_a_typed_format_cannot_hold_become_null_and_are_counted(name: str) -> None:
    encoder = load(name)(UNFIT_FIELDS, Output(on_unrepresentable="Null"))
    data = encoder.header() + encoder.block(decode(block(UNFIT), UNFIT_FIELDS)) + encoder.footer()
    assert [column.null_count for column in typed(name, data).columns] == [3, 3, 2, 3]
    assert encoder.nulled == {"d": 2, "t": 2, "z": 1, "n": 2}


@pytest.mark.parametrize("name", ["Parquet", "ArrowStream"])
@pytest.mark.parametrize("number", range(4))
def test_values_that_a_typed_format_cannot_hold_are_refused_by_the_column(name: str, number: int) -> None:
    rows = [[row[number]] for row in UNFIT]
    with pytest.raises(ExportError, match=f"Column '{UNFIT_FIELDS[number].name}' ") as caught:
        made(name, Output(), [UNFIT_FIELDS[number]], rows)
    assert caught.value.failure is Failure.VALUE_NOT_REPRESENTABLE


@pytest.mark.parametrize("name", ["Parquet", "ArrowStream"])
def test_columns_that_may_hold_what_has_no_place_are_read_as_text(name: str) -> None:
    fields = [*UNFIT_FIELDS, field("i", "int8"), field("any", "numeric")]
    read = load(name).reads(fields, Output(on_unrepresentable="ColumnAsText"))
    assert [each.kind is Kind.RENDERED for each in read] == [True, True, True, True, False, False]


@pytest.mark.parametrize("name", ["CSV", "NDJSON", "Parquet", "ArrowStream"])
def test_by_default_every_column_is_read_as_what_it_is(name: str) -> None:
    assert load(name).reads(UNFIT_FIELDS, Output()) == tuple(UNFIT_FIELDS)


@pytest.mark.parametrize("compression", ["None", "Zstd"])
def test_an_arrow_stream_of_many_blocks_has_one_schema_and_a_batch_for_each(compression: Any) -> None:
    encoder = load("ArrowStream")(FIELDS, Output(compression=compression))
    data = encoder.header() + b"".join(encoder.block(decode(block([row]), FIELDS)) for row in ROWS) + encoder.footer()
    reader = pyarrow.ipc.open_stream(io.BytesIO(data))
    assert [batch.num_rows for batch in reader] == [1, 1, 1, 1]
    assert [str(kind) for kind in reader.schema.types] == ["int64", "large_string", "double", "bool"]


def test_an_arrow_stream_goes_on_behind_what_another_process_sent() -> None:
    whole, rest = (load("ArrowStream")(FIELDS, Output()) for _ in range(2))
    first, second = (decode(block(rows), FIELDS) for rows in (ROWS[:1], ROWS[1:]))
    begun = whole.header() + whole.block(first)
    assert typed("ArrowStream", begun + rest.block(second) + rest.footer()).num_rows == len(ROWS)
