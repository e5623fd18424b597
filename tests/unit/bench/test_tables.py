"""The benchmark's tables are named once and made by a script each."""

import pytest

from tests.bench import tables

pytestmark = pytest.mark.unit


class Recorder:
    """Stands in for the server: keeps what it is told to run."""

    def __init__(self) -> None:
        self.statements: list[str] = []

    def psql(self, sql: str, *options: str) -> str:
        del options
        self.statements.append(sql)
        return "7"


@pytest.mark.parametrize("name", tables.TABLES)
def test_every_table_has_a_script_that_makes_it(name: str) -> None:
    server = Recorder()
    assert tables.load(server, name, 1000) == 7
    assert f"CREATE TABLE {name} " in "\n".join(server.statements)


def test_a_table_has_at_least_one_row_however_small_the_scale() -> None:
    assert {table.name: table.rows(100) for table in tables.TABLES.values()} == {
        "users": 100,
        "users_small": 20,
        "users_shuffled": 20,
        "narrow": 100,
        "wide": 2,
        "large_values": 1,
    }


def test_users_come_first_because_others_are_made_of_them() -> None:
    assert next(iter(tables.TABLES)) == "users"
