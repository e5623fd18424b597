"""S3 did what it was asked to, but its answer did not come, or only its beginning: one object, and nothing is left."""

import dataclasses

import pytest

from export_contract.runspec import Limits
from tests.integration.exporter.runner import Exporter
from tests.integration.exporter.vanishing import vanishing

pytestmark = pytest.mark.integration

REQUESTS = {
    "CreateMultipartUpload": b"users.out?uploads",
    "UploadPart": b"\n2\n3\n4\n",
    "CompleteMultipartUpload": b"<CompleteMultipartUpload",
    "PutObject": b'"exporterVersion"',
}
"""What a request has that no other one has."""


@pytest.mark.parametrize("answer", [0, 40], ids=["nothing comes", "half of its head comes"])
@pytest.mark.parametrize("operation", REQUESTS)
def test_a_lost_answer_costs_another_try_and_nothing_else(exporter: Exporter, operation: str, answer: int) -> None:
    query = "SELECT n AS x FROM generate_series(1, 1000) AS n"
    spec = exporter.spec(("x",), table=None, query=query, limits=Limits())
    with vanishing(exporter.s3.host, exporter.s3.port, REQUESTS[operation], answer) as way:
        there = dataclasses.replace(spec.destination, endpoint=way.endpoint)
        done = exporter.run(dataclasses.replace(spec, destination=there))
        assert way.gone.is_set()
    assert done.code == 0, done.said
    assert f"{operation} failed" in done.said
    assert exporter.read(spec.destination.key) == b"x\n" + b"".join(b"%d\n" % n for n in range(1, 1001))
    assert (exporter.keys(spec), exporter.uploads(spec)) == (["manifest.json", "users.out"], [])
