"""Values of every type: the tests' half of `docs/reference/types.md`, which has a line for each key and no other."""

SETUP = """
DROP SCHEMA IF EXISTS odd CASCADE;
CREATE SCHEMA odd;
CREATE EXTENSION IF NOT EXISTS hstore SCHEMA public;
CREATE EXTENSION IF NOT EXISTS citext SCHEMA public;
CREATE EXTENSION IF NOT EXISTS ltree SCHEMA public;
CREATE EXTENSION IF NOT EXISTS cube SCHEMA public;
CREATE EXTENSION IF NOT EXISTS isn SCHEMA public;
CREATE EXTENSION IF NOT EXISTS seg SCHEMA public;
CREATE TYPE odd.mood AS ENUM ('sad', 'so-so', 'happy, "very"');
CREATE TYPE odd.pair AS (a integer, b text);
CREATE DOMAIN odd.positive AS integer CHECK (VALUE > 0);
CREATE DOMAIN odd.price AS numeric(10,2);
CREATE DOMAIN odd.labels AS text[];
CREATE FUNCTION odd.lie(odd.mood) RETURNS text LANGUAGE sql AS $$ SELECT 'a cast of its own' $$;
CREATE CAST (odd.mood AS text) WITH FUNCTION odd.lie(odd.mood);
"""

SAMPLES: dict[str, list[str]] = {
    "boolean": ["true", "false"],
    "smallint": ["-32768", "0", "32767"],
    "integer": ["-2147483648", "0", "2147483647"],
    "bigint": ["-9223372036854775808", "9007199254740993", "9223372036854775807"],
    "oid": ["0", "4294967295"],
    "real": ["1.1", "-0", "1e-45", "3.4028235e38", "NaN", "Infinity", "-Infinity", "16777216"],
    "double precision": ["0.1", "-0", "5e-324", "1.7976931348623157e308", "NaN", "Infinity", "-Infinity", "1e22"],
    "numeric": [
        *("0.1", "-123456789012345678901234567890.123456789012345678901234567890", "NaN", "Infinity", "-Infinity"),
        *("1e50", "1.500", "1e-200", "9" * 300),
    ],
    "numeric(14,2)": ["999999999999.99", "-0.01", "0.00", "NaN"],
    "numeric(38,10)": ["1234567890123456789012345678.0123456789", "-0.0000000001"],
    "numeric(50,3)": ["12345678901234567890123456789012345678901234567.123", "NaN"],
    "numeric(3,-2)": ["12300", "-99900"],
    "money": ["1234.56", "-0.01", "92233720368547758.07"],
    "text": [
        *("", " ", "a,b", 'q"q', "l\nf", "c\rr", "c\r\nl", "tab\t", "\\N", "\\.", "NULL", "é", "😀👩🏽‍🚀", "שלום عالم"),
        *("\x01\x1f\x7f", "\ufeffx", "\u2028\u0085", "=1+1", "'", " both ", '""', ",", "e\u0301", "\U0010ffff"),
    ],
    "varchar(20)": ["", "twelve bytes", "thirteen bytes"],
    "char(5)": ["a", "", "     ", "ééééé"],
    "name": ["a_name", ""],
    '"char"': ["a", '"', ","],
    "public.citext": ["Mixed, Case", "", "NULL"],
    "bytea": ["", "\\x00", "\\x00ff22", "\\x" + "ab" * 40],
    "uuid": ["00000000-0000-0000-0000-000000000000", "123e4567-e89b-12d3-a456-426614174000"],
    "json": ['{"b": 1,\n "a": [1, 2.50], "b": null}', '"text"', "1e400", '[ "\\u0001" ]', "null", "[1,\r\n\t2]"],
    "jsonb": ['{"b": 1, "a": [1, 2.50, "é\\n\\u0001"]}', "null", '""', "123456789012345678901234567890.10"],
    "jsonpath": ['$."a"[*]?(@ > 1)'],
    "xml": ["<a>b</a>", "text & no document".replace("&", "&amp;")],
    "date": [
        *("2000-01-01", "0001-01-01", "9999-12-31", "4713-01-01 BC", "5874897-12-31", "infinity", "-infinity"),
        *("2024-02-29", "10000-01-01", "0001-12-31 BC"),
    ],
    "timestamp": [
        *("2000-01-01 00:00:00", "1999-12-31 23:59:59.999999", "0001-01-01 00:00:00.000001"),
        *("9999-12-31 23:59:59.999999", "4713-01-01 00:00:00 BC", "0001-12-31 23:59:59.5 BC"),
        *("294276-12-31 23:59:59.999999", "infinity", "-infinity", "294246-12-31 23:59:59"),
    ],
    "timestamptz": [
        *("2026-06-30 12:34:56.789+02", "0044-03-15 12:00:00+00 BC", "10000-01-01 00:00:00+00", "infinity"),
        *("-infinity", "4713-01-01 00:00:00+00 BC", "294276-12-31 23:59:59.999999+00"),
    ],
    "time": ["00:00:00", "24:00:00", "12:34:56.789"],
    "timetz": ["12:34:56.789+05:30", "00:00:00-15:59"],
    "interval": ["1 year 2 mons -3 days 04:05:06.789", "-1 mons", "00:00:00", "-00:00:00.000001"],
    "inet": ["10.0.0.1", "10.0.0.1/8", "::1", "::ffff:1.2.3.4/128"],
    "cidr": ["10.0.0.0/8", "2001:db8::/32"],
    "macaddr": ["08:00:2b:01:02:03"],
    "macaddr8": ["08:00:2b:01:02:03:04:05"],
    "bit(4)": ["1010", "0000"],
    "varbit": ["101", ""],
    "point": ["(1.5,-2)", "(NaN,Infinity)"],
    "line": ["{1,-1,0.5}"],
    "lseg": ["[(0,0),(1,1e-300)]"],
    "box": ["(1,1),(0,0)"],
    "path": ["((0,0),(1,1))", "[(0,0),(1,1)]"],
    "polygon": ["((0,0),(1,1),(1,0))"],
    "circle": ["<(1,2),3>"],
    "tsvector": ["'fat':2 'rat':3A", "'it''s':1"],
    "tsquery": ["'fat' & ( 'rat' | !'cat' )", "'a' <-> 'b'"],
    "integer[]": [
        *("{}", "{1,NULL,3}", "{{1,2},{3,4}}", "[0:1]={5,6}", "[-1:0][2:3]={{1,2},{3,NULL}}"),
        *("{{{1,2},{3,4}},{{5,NULL},{7,8}}}", "[0:0][1:1][-1:0]={{{1,NULL}}}"),
    ],
    "text[]": ['{"",NULL,"NULL","a,b","q\\"q","{}","b\\\\s"," "}', "{}"],
    "timestamptz[]": ['{"2026-06-30 12:34:56+00",infinity,NULL}'],
    "numeric[]": ["{0.10,NaN,NULL}"],
    "bytea[]": ['{"\\\\x00ff",NULL}'],
    "int4range": ["[1,5)", "empty", "(,)"],
    "numrange": ["(1.50,NaN]"],
    "tstzrange": ['["2026-01-01 00:00:00+00",infinity)'],
    "int4multirange": ["{[1,3),[5,7)}", "{}"],
    "odd.mood": ["so-so", 'happy, "very"'],
    "odd.mood[]": ['{sad,NULL,"happy, \\"very\\""}'],
    "odd.pair": ["(,)", '(1,"a ""b"", c")', '(2,"")'],
    "odd.pair[]": ['{"(1,\\"a b\\")",NULL}'],
    "odd.positive": ["7"],
    "odd.price": ["12.50", "-0.01"],
    "odd.labels": ['{a,"b c"}'],
    "public.hstore": ['"a"=>"1", "b"=>NULL, "c"=>"q\\"q"', ""],
    "public.ltree": ["top.science.maths", ""],
    "public.cube": ["(1, 2),(3, 4.5)", "(0.1)"],
    "public.isbn13": ["978-0-393-04002-9"],
    "public.seg": ["1.50 .. 2.5", "~6"],
    "pg_lsn": ["16/B374D848", "0/0"],
    "pg_snapshot": ["10:20:10,14,15"],
    "xid": ["4294967295"],
    "xid8": ["18446744073709551615"],
    "tid": ["(42,7)"],
    "regclass": ["pg_class", "odd.types"],
    "regtype": ["integer", "odd.mood"],
    "regproc": ["pg_backend_pid"],
}

HELD_BY_NO_TYPE: dict[str, set[str]] = {
    "date": {"infinity", "-infinity"},
    "timestamp": {"infinity", "-infinity", "294276-12-31 23:59:59.999999"},
    "timestamptz": {"infinity", "-infinity", "294276-12-31 23:59:59.999999+00"},
    "numeric(14,2)": {"NaN"},
}
"""Values that the types of Parquet and Arrow have no place for."""
