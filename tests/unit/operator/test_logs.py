"""What is logged at the finest level holds no link."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

import pytest

from export_operator import logs
from export_operator.adapters.storage import Bucket, make_client

pytestmark = pytest.mark.unit


@contextmanager
def debugging() -> Iterator[io.StringIO]:
    """What the operator logs at DEBUG. What was set up before is so again afterwards."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    shown = io.StringIO()
    with redirect_stdout(shown):
        logs.configure("text", "DEBUG")
    try:
        yield shown
    finally:
        root.handlers[:] = before
        root.setLevel(level)


async def test_a_link_that_is_signed_is_not_logged() -> None:
    with debugging() as log:
        client = make_client(
            {"bucket": "exports", "endpoint": "http://s3.svc"}, ("access", "secret", None), verify=True
        )
        (url,) = await Bucket(client, "exports").presign(["one"], 60)
        client.close()
        logging.getLogger("export_operator").debug("this shows")
    signature = url.rpartition("X-Amz-Signature=")[2]
    assert len(signature) == 64
    assert "this shows" in log.getvalue()
    assert signature not in log.getvalue()
    assert "X-Amz" not in log.getvalue()
