"""A role that may do more than read is refused before the first row; row level security binds those that read."""

from collections.abc import Iterator
from typing import Any

import pytest

from export_contract.failures import Failure
from tests.integration.exporter.runner import Exporter, Finished
from tests.services.host import PostgresServer

pytestmark = pytest.mark.integration

PASSWORD = "password-of-the-roles"
ROLES = ("over", "passer", "copier", "keeper", "member", "apart")


@pytest.fixture(scope="module")
def roles(postgres: PostgresServer) -> Iterator[None]:
    login = f"LOGIN PASSWORD '{PASSWORD}'"
    postgres.psql(
        f"""
        CREATE ROLE over {login} SUPERUSER; CREATE ROLE passer {login} BYPASSRLS;
        CREATE ROLE copier {login} REPLICATION;
        CREATE ROLE keeper {login}; CREATE ROLE member {login} IN ROLE keeper; CREATE ROLE apart {login};
        CREATE TABLE kept (id int, tenant text); INSERT INTO kept VALUES (1, 'apart'), (2, 'other');
        CREATE TABLE pieces (id int) PARTITION BY LIST (id); CREATE TABLE piece PARTITION OF pieces FOR VALUES IN (1);
        GRANT SELECT ON kept, pieces TO {", ".join(ROLES)};
        ALTER TABLE kept OWNER TO keeper; ALTER TABLE piece OWNER TO keeper;
        """
    )
    yield
    postgres.psql("DROP TABLE kept, pieces; " + " ".join(f"DROP OWNED BY {each}; DROP ROLE {each};" for each in ROLES))


def as_role(exporter: Exporter, role: str, table: str = "kept", **source: Any) -> Finished:
    spec = exporter.spec(("id",), table=table, **source)
    return exporter.run(spec, PGUSER=role, PGPASSWORD=PASSWORD)


@pytest.mark.usefixtures("roles")
@pytest.mark.parametrize(
    ("role", "table", "said", "mended"),
    [
        ("over", "kept", "is a superuser", 'ALTER ROLE "over" NOSUPERUSER'),
        ("passer", "kept", "bypasses row level security", 'ALTER ROLE "passer" NOBYPASSRLS'),
        ("copier", "kept", "may replicate", 'ALTER ROLE "copier" NOREPLICATION'),
        ("keeper", "kept", "owns public.kept", 'ALTER TABLE "public"."kept" OWNER TO another_role'),
        ("member", "kept", "owns public.kept as a member of keeper", 'REVOKE "keeper" FROM "member"'),
        ("keeper", "pieces", "owns public.piece", 'GRANT SELECT ON "public"."piece" TO "keeper"'),
    ],
)
def test_a_role_that_may_more_than_read_is_refused_with_the_sql_that_mends_it(
    exporter: Exporter, role: str, table: str, said: str, mended: str
) -> None:
    done = as_role(exporter, role, table)
    assert done.reason == Failure.SOURCE_ROLE_TOO_PRIVILEGED, done.said
    assert (said in done.message, mended in done.message, done.outcome.rows) == (True, True, 0)


@pytest.mark.usefixtures("roles")
def test_for_a_query_an_owner_of_anything_is_refused(exporter: Exporter) -> None:
    spec = exporter.spec(("x",), table=None, query="SELECT 1 AS x")
    done = exporter.run(spec, PGUSER="keeper", PGPASSWORD=PASSWORD)
    assert done.reason == Failure.SOURCE_ROLE_TOO_PRIVILEGED, done.said


@pytest.mark.usefixtures("roles")
@pytest.mark.parametrize("role", ["over", "member"])
def test_such_a_role_reads_when_the_platform_team_allows_it(exporter: Exporter, role: str) -> None:
    assert as_role(exporter, role, allow_privileged_role=True).outcome.rows == 2


@pytest.mark.usefixtures("roles")
def test_row_level_security_binds_the_role_that_reads(exporter: Exporter) -> None:
    exporter.postgres.psql(
        "ALTER TABLE kept ENABLE ROW LEVEL SECURITY; CREATE POLICY own ON kept USING (tenant = current_user)"
    )
    assert as_role(exporter, "apart").outcome.rows == 1
    assert as_role(exporter, "keeper", allow_privileged_role=True).outcome.rows == 2
    exporter.postgres.psql("ALTER TABLE kept FORCE ROW LEVEL SECURITY")
    assert as_role(exporter, "keeper", allow_privileged_role=True).outcome.rows == 0
    exporter.postgres.psql("DROP POLICY own ON kept; ALTER TABLE kept DISABLE ROW LEVEL SECURITY")
