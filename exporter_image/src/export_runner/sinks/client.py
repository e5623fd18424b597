"""The S3 client: botocore with every setting said, and each call with our own retries."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar, cast

import botocore.config
import botocore.session
from botocore.exceptions import BotoCoreError, ClientError

from export_contract import environment
from export_contract.failures import Failure
from export_contract.runspec import Destination
from export_runner.errors import ExportError
from export_runner.retry import Retrier
from export_runner.sinks.errors import S3Error, from_botocore

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

T = TypeVar("T")

CONNECT_TIMEOUT = 5  # seconds
READ_TIMEOUT = 30  # seconds without a byte; CompleteMultipartUpload sends blanks while it works


_FALLBACK_KEYS: Mapping[str, str] = {
    "aws_access_key_id": environment.FALLBACK_AWS_ACCESS_KEY_ID,
    "aws_secret_access_key": environment.FALLBACK_AWS_SECRET_ACCESS_KEY,
    "aws_session_token": environment.FALLBACK_AWS_SESSION_TOKEN,
}


def fallback_keys(variables: Mapping[str, str] | None = None) -> dict[str, str]:
    """The second bucket's own credentials. Without any, the AWS SDKs' ways (web identity, instance role) hold, but not
    the first bucket's key, which another endpoint must not see. Raises `ExportError`."""
    variables = os.environ if variables is None else variables
    keys = {option: variables[name] for option, name in _FALLBACK_KEYS.items() if variables.get(name)}
    if keys.keys() >= {"aws_access_key_id", "aws_secret_access_key"}:
        return keys
    if keys or variables.get(environment.AWS_ACCESS_KEY_ID):
        raise ExportError(
            Failure.DESTINATION_AUTHENTICATION_FAILED,
            f"No credentials for the fallback's bucket: set {environment.FALLBACK_AWS_ACCESS_KEY_ID} and"
            f" {environment.FALLBACK_AWS_SECRET_ACCESS_KEY}.",
        )
    return {}


def make(destination: Destination, connections: int, keys: Mapping[str, str] | None = None) -> S3Client:
    """Reaches nobody yet. Credentials are `keys` (options of botocore), else they come from the environment, or as the
    AWS SDKs find them. Raises `ExportError`."""
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
            "s3",
            region_name=destination.region,
            endpoint_url=destination.endpoint or None,
            config=config,
            **(keys or {}),  # type: ignore[arg-type]
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
