"""The S3 client: botocore with every setting said, and each call with our own retries."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar, cast

import botocore.config
import botocore.session
from botocore.credentials import CredentialProvider, Credentials, ReadOnlyCredentials
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
from botocore.parsers import ResponseParserError

from export_contract import environment
from export_contract.failures import Failure
from export_contract.runspec import Destination
from export_runner.credentials import Files
from export_runner.errors import ExportError
from export_runner.retry import Retrier
from export_runner.sinks import models
from export_runner.sinks.errors import S3Error, cut_off, from_botocore

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import HeadObjectOutputTypeDef

T = TypeVar("T")

CONNECT_TIMEOUT = 5  # seconds
_FILES = (environment.AWS_ACCESS_KEY_ID, environment.AWS_SECRET_ACCESS_KEY, environment.AWS_SESSION_TOKEN)
READ_TIMEOUT = 30  # seconds without a byte; CompleteMultipartUpload sends blanks while it works


_SAYS: Mapping[str, str] = {
    "CreateMultipartUpload": "UploadId",
    "UploadPart": "ETag",
    "CompleteMultipartUpload": "ETag",
    "PutObject": "ETag",
    "HeadObject": "ETag",
}
"""What an answer says when all of it came. http.client takes headers that end with the connection for all of them."""

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
    """Reaches nobody yet. Credentials are `keys` (options of botocore), else they come from files, the environment, or
    as the AWS SDKs find them: of a web identity, its token is read anew for each renewal. Raises `ExportError`."""
    config = botocore.config.Config(
        signature_version="s3v4",
        connect_timeout=CONNECT_TIMEOUT,
        read_timeout=READ_TIMEOUT,
        max_pool_connections=connections,
        retries={"mode": "standard", "total_max_attempts": 1},  # ours are in `retry`
        request_checksum_calculation="when_required",  # we give a CRC32 of our own with each part
        response_checksum_validation="when_required",
        tcp_keepalive=True,
        s3={
            "addressing_style": "path" if destination.path_style else "auto",
            # TLS and each part's CRC32 protect what is sent; SHA-256 beside them would only keep both ends busy.
            "payload_signing_enabled": (destination.endpoint or "").startswith("http://"),
        },
    )
    try:
        session = botocore.session.get_session()
        models.use(session)
        session.set_default_client_config(config)  # also of the client that asks STS for a web identity's credentials
        if directory := os.environ.get(environment.S3_CREDENTIALS_DIR):
            chain = session.get_component("credential_provider")
            chain.insert_before("env", _FileProvider(directory))
        made = session.create_client(
            "s3",
            region_name=destination.region,
            endpoint_url=destination.endpoint or None,
            **(keys or {}),  # type: ignore[arg-type]
        )
    except (BotoCoreError, ValueError) as error:
        raise from_botocore(error, "CreateClient", destination.bucket) from None
    return cast("S3Client", made)


class FileCredentials(Credentials):
    """botocore asks for them at each request that it signs, and so gets what the files hold then."""

    def __init__(self, directory: str) -> None:
        self._files = Files(directory, _FILES)
        found = self._files.read()
        access, secret, token = (found.get(name, "") for name in _FILES)
        super().__init__(access, secret, token, method="files")

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        found = self._files.read()
        access, secret, token = (found.get(name, "") for name in _FILES)
        if not (access and secret):  # half a rotation, on a volume that is no Secret's: the former may still do
            return ReadOnlyCredentials(self.access_key, self.secret_key, self.token or None)
        self.access_key, self.secret_key, self.token = access, secret, token
        return ReadOnlyCredentials(access, secret, token or None)


class _FileProvider(CredentialProvider):
    METHOD = "export-runner-files"

    def __init__(self, directory: str) -> None:
        super().__init__()
        self._directory = directory

    def load(self) -> FileCredentials | None:
        found = FileCredentials(self._directory)
        if not (found.access_key and found.secret_key):
            raise NoCredentialsError
        return found


class Caller:
    """Calls S3 for one bucket, each call tried again as `retry` says."""

    def __init__(self, client: S3Client, bucket: str, retrier: Retrier) -> None:
        self.client = client
        self.bucket = bucket
        self._retrier = retrier

    def __call__(self, operation: str, function: Callable[[], T]) -> T:
        """Raises `S3Error` for what S3 answers, `ExportError` after the last try, `Stopped`."""
        return self._retrier.call(operation, lambda: self.once(operation, function))

    def head(self, key: str) -> HeadObjectOutputTypeDef:
        """What S3 says of an object without reading it. Raises as a call does."""
        return self("HeadObject", lambda: self.client.head_object(Bucket=self.bucket, Key=key))

    def once(self, operation: str, function: Callable[[], T]) -> T:
        """Without retries, but for credentials that were rotated under the call. Raises `S3Error`."""
        before = self._key()
        try:
            return self._translated(operation, function)
        except S3Error as error:
            if error.failure is not Failure.DESTINATION_AUTHENTICATION_FAILED or self._key() == before:
                raise
        return self._translated(operation, function)

    def _key(self) -> object:
        """What the next request is signed with, where that may change by itself; compared, and shown nowhere."""
        credentials = self.client._request_signer._credentials  # type: ignore[attr-defined]
        return credentials.get_frozen_credentials() if isinstance(credentials, FileCredentials) else None

    def _translated(self, operation: str, function: Callable[[], T]) -> T:
        try:
            answer = function()
            if isinstance(answer, dict) and operation in _SAYS:
                answer[_SAYS[operation]]
        except S3Error:
            raise
        except (KeyError, ResponseParserError):
            raise cut_off(operation) from None
        except (ClientError, BotoCoreError, OSError) as error:
            raise from_botocore(error, operation, self.bucket) from None
        return answer
