"""Masks and the row filter hold in PostgreSQL: what they hide never leaves it."""

import csv
import hashlib
import hmac
import io
from collections.abc import Iterator

import pytest

from export_contract.failures import Failure
from export_contract.manifest import Column
from export_contract.runspec import Mask, RunSpec
from tests.integration.exporter.runner import Exporter
from tests.services.host import PostgresServer

pytestmark = pytest.mark.integration

KEY = "planted-mask-key-of-a-platform-team"
LONG = "x" * 80  # longer than a block of SHA-256, which is then hashed first


@pytest.fixture(scope="module")
def people(postgres: PostgresServer) -> Iterator[None]:
    postgres.psql(
        """
        CREATE TABLE people (id int PRIMARY KEY, name text, pin char(6), address inet, amount numeric(8, 2), raw bytea,
                             pair int4range[], tenant text NOT NULL);
        INSERT INTO people VALUES
          (1, 'Zoë Ångström', '1234', '10.0.0.1', 12.50, '\\x00ff', ARRAY['[1,3)'::int4range], 'a'),
          (2, NULL, NULL, NULL, NULL, NULL, NULL, 'a'), (3, '', '', '::1/64', 0, '', '{}', 'b'),
          (4, 'ab', 'x', '10.0.0.0/8', -1, '\\x01', NULL, 'b');
        """
    )
    yield
    postgres.psql("DROP TABLE people")


def rows(exporter: Exporter, spec: RunSpec, key: str = KEY) -> list[list[str]]:
    done = exporter.run(spec, EXPORT_MASK_KEY=key)
    assert done.code == 0, done.said
    return list(csv.reader(io.StringIO(exporter.read(spec.destination.key).decode())))[1:]


def digest(text: str, key: str = KEY) -> str:
    return hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize("key", [KEY, LONG])
def test_a_hash_is_the_hmac_of_the_values_text_whatever_its_type(exporter: Exporter, key: str) -> None:
    columns = ("name", "pin", "address", "amount", "raw", "pair")
    masks = tuple(Mask(column=name, kind="Hash") for name in columns)
    spec = exporter.spec(("id", *columns), table="people", order_by=("id",), masks=masks)
    texts = ["Zoë Ångström", "1234  ", "10.0.0.1", "12.50", "\\x00ff", '{"[1,3)"}']
    found = rows(exporter, spec, key)
    assert found[:2] == [["1", *(digest(text, key) for text in texts)], ["2", "", "", "", "", "", ""]]


@pytest.mark.usefixtures("people")
def test_what_is_partly_shown_is_hidden_whole_when_it_is_no_longer_than_that(exporter: Exporter) -> None:
    masks = (Mask(column="name", kind="Partial", keep_first=1, keep_last=2),)
    spec = exporter.spec(("id", "name"), table="people", order_by=("id",), masks=masks)
    assert rows(exporter, spec) == [["1", "Z*********öm"], ["2", ""], ["3", ""], ["4", "**"]]


@pytest.mark.usefixtures("people")
def test_redacted_values_are_the_text_and_null_stays_null(exporter: Exporter) -> None:
    masks = (Mask(column="amount", kind="Redact", text="it's {hidden} %s \\"),)
    spec = exporter.spec(("id", "amount"), table="people", order_by=("id",), masks=masks)
    assert rows(exporter, spec)[:2] == [["1", "it's {hidden} %s \\"], ["2", ""]]


@pytest.mark.usefixtures("people")
def test_a_column_masked_by_null_keeps_its_type_and_the_others_are_text(exporter: Exporter) -> None:
    masks = (Mask(column="amount", kind="Null"), Mask(column="address", kind="Redact"))
    spec = exporter.spec(("amount", "address"), table="people", masks=masks)
    assert {tuple(row) for row in rows(exporter, spec)} == {("", ""), ("", "")}
    assert exporter.manifest(spec).columns == (
        Column(name="amount", type="numeric(8,2)"),
        Column(name="address", type="text"),
    )


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize("key", ["", "fifteen bytes.."])
def test_a_key_that_is_short_is_refused_without_showing_it(exporter: Exporter, key: str) -> None:
    spec = exporter.spec(("name",), table="people", masks=(Mask(column="name", kind="Hash"),))
    done = exporter.run(spec, EXPORT_MASK_KEY=key)
    assert done.reason == Failure.DATASET_INVALID
    assert "EXPORT_MASK_KEY" in done.message
    assert not key or key not in done.said


@pytest.mark.usefixtures("people")
def test_no_order_tells_of_a_masked_column(exporter: Exporter) -> None:
    masks = (Mask(column="name", kind="Null"),)
    done = exporter.run(exporter.spec(("id", "name"), table="people", order_by=("name",), masks=masks))
    assert (done.reason, "'name'" in done.message) == (Failure.DATASET_INVALID, True)


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize("text", ["tenant = 'a'", "tenant = 'x' OR tenant = 'a' -- and no more", "/* ) */ tenant='a'"])
@pytest.mark.parametrize("query", [None, "SELECT * FROM public.people -- all"])
def test_the_row_filter_holds_for_tables_and_queries(exporter: Exporter, text: str, query: str | None) -> None:
    spec = exporter.spec(("id",), table=None if query else "people", query=query, row_filter=text)
    assert sorted(rows(exporter, spec)) == [["1"], ["2"]]


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize("text", ["id = 1) OR (true", "true; SELECT 1", "(true", "tenant = 'a", "true) --", "true /*"])
def test_a_row_filter_that_is_no_condition_of_its_own_is_refused(exporter: Exporter, text: str) -> None:
    done = exporter.run(exporter.spec(("id",), table="people", row_filter=text))
    assert done.reason == Failure.DATASET_INVALID, done.said
