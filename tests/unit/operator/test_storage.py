"""What the operator's clients for buckets cost."""

import pytest

from export_operator.adapters.storage import make_client

pytestmark = pytest.mark.unit


def test_clients_share_what_botocore_reads_about_aws() -> None:
    """It is 12 MiB, and most of the time that a client takes to make."""
    first, second = (
        make_client({"bucket": name, "endpoint": "http://s3.svc"}, ("access", "secret", None), verify=True)
        for name in ("one", "other")
    )
    assert first.meta.service_model.metadata is second.meta.service_model.metadata
