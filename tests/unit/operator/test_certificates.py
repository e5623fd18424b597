"""Until when a Secret says that it is good."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any

import pytest

from export_operator.adapters.certificates import certificate_expiry, expiry
from tests.cluster import shell
from tests.services.tls import Authority

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, datetime]:
    """A certificate and, by openssl, when it expires."""
    made = Authority(tmp_path_factory.mktemp("authority")).certificate
    told = shell.output(["openssl", "x509", "-in", made, "-noout", "-enddate"]).removeprefix("notAfter=")
    return made.read_bytes(), datetime.strptime(told, "%b %d %H:%M:%S %Y GMT").replace(tzinfo=UTC)


def secret(expires: str = "", **data: bytes) -> dict[str, Any]:
    annotations = {"export-operator.io/expires": expires} if expires else {}
    encoded = {name.replace("_", "."): base64.b64encode(value).decode() for name, value in data.items()}
    return {"metadata": {"annotations": annotations}, "data": encoded}


def test_the_first_of_annotation_and_certificate_counts(authority: tuple[bytes, datetime]) -> None:
    pem, end = authority
    assert certificate_expiry(pem) == end
    assert expiry(secret(ca_crt=pem)) == end
    assert expiry(secret("2099-01-01T00:00:00Z", ca_crt=pem)) == end
    assert expiry(secret("2026-01-01T00:00:00Z", ca_crt=pem)) == datetime(2026, 1, 1, tzinfo=UTC)


def test_a_secret_that_says_nothing_or_nonsense_expires_never() -> None:
    assert [expiry(each) for each in (secret(), secret("soon"), secret(ca_crt=b"\xff no certificate"))] == [None] * 3
