"""The S3 client: botocore with every setting said, and each call with our own retries."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar, cast

import botocore.config
import botocore.session
from botocore.exceptions import BotoCoreError, ClientError

from export_contract.runspec import Destination
from export_runner.retry import Retrier
from export_runner.sinks.errors import S3Error, from_botocore

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

T = TypeVar("T")

CONNECT_TIMEOUT = 5  # seconds
READ_TIMEOUT = 30  # seconds without a byte; CompleteMultipartUpload sends blanks while it works


def make(destination: Destination, connections: int) -> S3Client:
    """Reaches nobody yet. Credentials come from the environment, or as the AWS SDKs find them. Raises `ExportError`."""
    config = botocore.config.Config(
        signature_version="s3v4",
        connect_timeout=CONNECT_TIMEOUT,
        read_timeout=READ_TIMEOUT,
        max_pool_connections=connections,
        retries={"mode": "standard", "total_max_attempts": 1},  # ours are in `retry`
        request_checksum_calculation="when_required",  # we give a CRC32 of our own with each part
        response_checksum_validation="when_required",
        tcp_keepalive=True,
        s3={"addressing_style": "path" if destination.path_style else "auto"},
    )
    try:
        session = botocore.session.get_session()
        made = session.create_client(
            "s3", region_name=destination.region, endpoint_url=destination.endpoint or None, config=config
        )
    except (BotoCoreError, ValueError) as error:
        raise from_botocore(error, "CreateClient", destination.bucket) from None
    return cast("S3Client", made)


class Caller:
    """Calls S3 for one bucket, each call tried again as `retry` says."""

    def __init__(self, client: S3Client, bucket: str, retrier: Retrier) -> None:
        self.client = client
        self.bucket = bucket
        self._retrier = retrier

    def __call__(self, operation: str, function: Callable[[], T]) -> T:
        """Raises `S3Error` for what S3 answers, `ExportError` after the last try, `Stopped`."""
        return self._retrier.call(operation, lambda: self.once(operation, function))

    def once(self, operation: str, function: Callable[[], T]) -> T:
        """Without retries. Raises `S3Error`."""
        try:
            return function()
        except S3Error:
            raise
        except (ClientError, BotoCoreError, OSError) as error:
            raise from_botocore(error, operation, self.bucket) from None
