"""Texts made to break out of their quotes, as Hypothesis draws them."""

from hypothesis import strategies as st

from export_contract.runspec import ParameterType

CANARY = "public.canary"
INJECTION = f"COMMIT; UPDATE {CANARY} SET alive = false; DROP TABLE {CANARY}; SELECT 1"
CHARACTERS = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
QUOTING = st.text(st.sampled_from("'\"\\$;-/*(){}%s:?@ \n\r\tE é😀\u202e\ufeff\U0010ffff"), min_size=1, max_size=12)
BREAKOUTS = [
    *("'", "''", '"', '""', "\\", "\\'", "\\\\'", "\\x27", "$$", "$tag$", "%", "%s", "%(x)s", "{", "{}", "{0}", "{p0}"),
    *("--", "/*", "*/", ";", ")", "(", "E'", "U&'", "\\.", "\u02bc", "\uff07", "\u2019", "\x01", "\x7f", "\u0085"),
    f"'; {INJECTION} --",
    f'"; {INJECTION} --',
    f"\\'; {INJECTION} --",
    f"$$; {INJECTION} --",
    f"$tag$; {INJECTION} --",
    f"*/; {INJECTION} --",
    f"\n); {INJECTION} --",
    f"') AS x; {INJECTION} --",
    f'") AS x; {INJECTION} --',
]
TEXTS = st.sampled_from(BREAKOUTS) | QUOTING | st.text(CHARACTERS, max_size=40)
LONG = st.builds(lambda text, times: text * times, TEXTS.filter(bool), st.integers(1000, 5000))
RESERVED = {"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"}  # columns that every table has
NAMES = (
    st.sampled_from([*BREAKOUTS, "select", "c0", "rows", "sent", "dataset", "described", "keyed", " ", "NULL", "n"])
    | QUOTING
    | st.text(CHARACTERS, min_size=1, max_size=15)
).filter(lambda name: len(name.encode()) < 64 and name not in RESERVED)
"""PostgreSQL cuts longer ones."""

PARAMETERS: dict[ParameterType, st.SearchStrategy[str]] = {
    "text": TEXTS | LONG,
    "integer": st.integers(-(2**31), 2**31 - 1).map(str),
    "bigint": st.integers(-(2**63), 2**63 - 1).map(str),
    "numeric": st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**20), max_value=10**20).map(
        lambda value: f"{value:f}"
    ),
    "boolean": st.sampled_from(["true", "false"]),
    "date": st.dates().map(str),
    "timestamp": st.datetimes().map(str),
    "timestamptz": st.datetimes().map(lambda value: f"{value}+05:30"),
    "uuid": st.uuids().map(str),
}

SOUP = st.lists(
    st.sampled_from(
        [
            *("(", ")", "((", "'", "''", '"', ";", "--", "/*", "*/", "$$", "$a$", "E'", "\\", "{p}", "{q}", "\n", ","),
            *(
                "x",
                "1",
                "=",
                "<",
                "true",
                "OR",
                "AND",
                "NOT",
                "SELECT",
                "FROM public.soup",
                "AS",
                "UNION",
                "WITH",
                "::int",
            ),
            *("COMMIT", "ROLLBACK", f"DROP TABLE {CANARY}", f"DELETE FROM {CANARY} RETURNING 1", f"; {INJECTION} --"),
            *("TO PROGRAM 'true'", "INTO", "FOR UPDATE", "LIMIT 1", "\u00a0", "é"),
        ]
    ),
    max_size=12,
).map(" ".join)
