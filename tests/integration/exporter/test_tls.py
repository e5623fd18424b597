"""TLS with a private authority, to both ends: what is not trusted ends the run at once and says what to do."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from export_contract.failures import Failure
from export_contract.runspec import SSLMode
from tests.integration.exporter.runner import BUCKET, Exporter
from tests.services import host
from tests.services.tls import Authority

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def secure_postgres() -> Iterator[host.PostgresServer]:
    with host.postgres_server(tls=True) as server:
        server.psql("CREATE TABLE few AS SELECT n AS id FROM generate_series(1, 10) AS n")
        yield server


@pytest.fixture(scope="module")
def secure_s3(authority: Authority) -> Iterator[host.S3Server]:
    with host.s3_server(tls=authority.issue("s3", "IP:127.0.0.1")) as server:
        server.create_bucket(BUCKET)
        yield server


@pytest.fixture
def secured(secure_postgres: host.PostgresServer, s3: host.S3Server, tmp_path: Path) -> Exporter:
    return Exporter(secure_postgres, s3, tmp_path)


@pytest.mark.parametrize("mode", ["Disable", "Prefer", "Require", "VerifyCA", "VerifyFull"])
def test_each_mode_reaches_a_server_whose_certificate_is_right(secured: Exporter, mode: SSLMode) -> None:
    trusted = str(secured.postgres.certificate)
    done = secured.run(secured.spec(("id",), table="few", ssl_mode=mode), PGSSLROOTCERT=trusted)
    assert done.outcome.rows == 10, done.said


@pytest.mark.parametrize("mode", ["VerifyCA", "VerifyFull"])
def test_a_server_of_another_authority_is_refused_and_the_mode_named(
    secured: Exporter, authority: Authority, mode: SSLMode
) -> None:
    spec = secured.spec(("id",), table="few", ssl_mode=mode)
    done = secured.run(spec, PGSSLROOTCERT=str(authority.certificate))
    assert done.reason == Failure.SOURCE_AUTHENTICATION_FAILED, done.said
    assert (f"sslMode is {mode}" in done.message, "PGSSLROOTCERT" in done.message) == (True, True)
    assert "is tried again" not in done.said


def test_without_the_authoritys_certificate_nothing_is_verified_so_the_run_ends(secured: Exporter) -> None:
    done = secured.run(secured.spec(("id",), table="few", ssl_mode="VerifyFull"), HOME="/nonexistent")
    assert done.reason == Failure.SOURCE_AUTHENTICATION_FAILED, done.said
    assert "give the CA's certificate by PGSSLROOTCERT" in done.message


@pytest.mark.parametrize(("mode", "rows"), [("VerifyCA", 10), ("VerifyFull", 0)])
def test_a_host_name_that_the_certificate_lacks_is_refused_by_verify_full_alone(
    secured: Exporter, mode: SSLMode, rows: int
) -> None:
    spec = secured.spec(("id",), table="few", ssl_mode=mode, host="localhost")
    done = secured.run(spec, PGSSLROOTCERT=str(secured.postgres.certificate))
    assert done.outcome.rows == rows, done.said
    assert rows or "use a host name that the server's certificate has" in done.message


def test_a_server_without_tls_is_refused_where_it_is_required(exporter: Exporter) -> None:
    done = exporter.run(exporter.spec(ssl_mode="Require"))
    assert done.reason == Failure.SOURCE_AUTHENTICATION_FAILED, done.said
    assert "sslMode is Require: turn on ssl at the server" in done.message


def test_s3_with_a_private_authority_is_trusted_by_its_bundle(
    exporter: Exporter, secure_s3: host.S3Server, authority: Authority
) -> None:
    own = Exporter(exporter.postgres, secure_s3, exporter.directory)
    assert own.run(own.spec(("id",)), AWS_CA_BUNDLE=str(authority.certificate)).code == 0


@pytest.mark.parametrize("bundle", [False, True])
def test_s3_of_another_authority_or_name_is_refused_at_once(
    exporter: Exporter, secure_s3: host.S3Server, authority: Authority, *, bundle: bool
) -> None:
    own = Exporter(exporter.postgres, secure_s3, exporter.directory)
    spec = own.spec(("id",))
    named = dataclasses.replace(spec.destination, endpoint=secure_s3.endpoint.replace("127.0.0.1", "localhost"))
    trust = {"AWS_CA_BUNDLE": str(authority.certificate)} if bundle else {}
    done = own.run(dataclasses.replace(spec, destination=named if bundle else spec.destination), **trust)
    assert done.reason == Failure.DESTINATION_UNAVAILABLE, done.said
    assert "AWS_CA_BUNDLE" in done.message
    assert "is tried again" not in done.said
