"""One PostgreSQL and one S3 server for the tests that leave them alone; servers of their own for those that do not."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.exporter.resuming import load_wide
from tests.integration.exporter.runner import BUCKET, Exporter
from tests.integration.exporter.spare import Spare
from tests.services import data, host
from tests.services.meddler import Meddler, meddler
from tests.services.proxies import Toxiproxy, toxiproxy
from tests.services.tls import Authority

USERS = 100_000


@pytest.fixture(scope="session")
def postgres() -> Iterator[host.PostgresServer]:
    with host.postgres_server() as server:
        data.load_users(server, USERS)
        yield server


@pytest.fixture(scope="session")
def wide(postgres: host.PostgresServer) -> str:
    """See `resuming.load_wide`."""
    load_wide(postgres)
    return "big"


@pytest.fixture(scope="session")
def s3() -> Iterator[host.S3Server]:
    with host.s3_server() as server:
        server.create_bucket(BUCKET)
        yield server


@pytest.fixture
def exporter(postgres: host.PostgresServer, s3: host.S3Server, tmp_path: Path) -> Exporter:
    return Exporter(postgres, s3, tmp_path)


@pytest.fixture
def between(s3: host.S3Server) -> Iterator[Meddler]:
    with meddler(s3.port) as made:
        yield made


@pytest.fixture
def fragile_postgres() -> Iterator[host.PostgresServer]:
    """One to break, with users enough that a run can be met half-way."""
    with host.postgres_server() as server:
        data.load_users(server, 20_000)
        yield server


@pytest.fixture
def fragile_s3() -> Iterator[host.S3Server]:
    with host.s3_server() as server:
        server.create_bucket(BUCKET)
        yield server


@pytest.fixture(scope="module")
def stormy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exporter]:
    """Servers to break again and again. The way to PostgreSQL is encrypted: else nobody could notice damage."""
    with host.postgres_server(tls=True) as postgres, host.s3_server() as s3:
        s3.create_bucket(BUCKET)
        yield Exporter(postgres, s3, tmp_path_factory.mktemp("stormy"))


@pytest.fixture(scope="session")
def spare() -> Iterator[Spare]:
    with host.postgres_server() as postgres, host.s3_server() as s3:
        made = Spare(postgres, s3)
        made.prepare()
        yield made


@pytest.fixture(scope="session")
def proxies() -> Iterator[Toxiproxy]:
    with toxiproxy() as server:
        yield server


@pytest.fixture(scope="session")
def tls_postgres() -> Iterator[host.PostgresServer]:
    with host.postgres_server(tls=True) as server:
        yield server


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))
