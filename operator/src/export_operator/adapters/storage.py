"""The buckets that exports go to, as the operator sees them: listed page by page, small documents read whole.

botocore blocks, so each call runs in a thread, bounded in time and tried again a few times. Nothing is taken from the
process's own AWS configuration: whoever calls may be a person with an account of theirs. Texts of S3 are not passed on,
since they may hold keys of the account; its codes are.
"""

from __future__ import annotations

import asyncio
import base64
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from export_contract import environment
from export_operator.adapters.kube import ApiError, Kube, path_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

T = TypeVar("T")

CONNECT_SECONDS = 5
READ_SECONDS = 15  # without a byte
ATTEMPTS = 3  # of one call, with botocore's own pauses between
CONNECTIONS = 8
CA = "ca.crt"

_OF_NOBODY: dict[str, tuple[Any, Any, Any, Any]] = {
    "profile": (None, None, None, None),
    "ca_bundle": (None, None, None, None),
    "ignore_configured_endpoint_urls": (None, None, True, None),
    "config_file": (None, None, os.devnull, None),
    "credentials_file": (None, None, os.devnull, None),
}
"""botocore's session variables (configuration's name, environment's name, default, conversion), read from nowhere."""


class StorageError(Exception):
    """A bucket cannot be used; the message says which one and why. `code` is S3's own, or empty."""

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Stored:
    """An object in a listing; `size` in bytes."""

    key: str
    modified: datetime
    size: int


class Bucket:
    """One bucket, with the credentials of its place. All calls raise `StorageError`."""

    def __init__(self, client: S3Client, name: str) -> None:
        self._client = client
        self.name = name

    async def pages(self, prefix: str) -> AsyncIterator[list[Stored]]:
        """Every object under `prefix`, at most a thousand a page, in the order of their keys."""
        more: dict[str, Any] = {}
        while True:
            found = await self._call(
                lambda: self._client.list_objects_v2(Bucket=self.name, Prefix=prefix, **more)  # noqa: B023 - awaited here
            )
            yield [Stored(each["Key"], each["LastModified"], each["Size"]) for each in found.get("Contents", ())]
            if not found.get("NextContinuationToken"):
                return
            more = {"ContinuationToken": found["NextContinuationToken"]}

    async def read(self, key: str, most: int) -> bytes:
        """A whole object. One of more than `most` bytes is none that its reader can want: `StorageError`."""

        def get() -> bytes:
            body = self._client.get_object(Bucket=self.name, Key=key)["Body"]
            with body:
                return body.read(most + 1)

        found = await self._call(get)
        if len(found) > most:
            raise StorageError(f"bucket {self.name!r}: {key!r} has more than {most} bytes")
        return found

    async def _call(self, function: Callable[[], T]) -> T:
        from botocore.exceptions import BotoCoreError, ClientError
        from botocore.parsers import ResponseParserError

        try:
            return await asyncio.to_thread(function)
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            raise StorageError(f"bucket {self.name!r}: S3 answers {code or 'an error'}", code) from None
        except (BotoCoreError, ResponseParserError, OSError) as error:
            raise StorageError(f"bucket {self.name!r}: {type(error).__name__}") from None


@asynccontextmanager
async def opened(kube: Kube, run_namespace: str, place: Mapping[str, Any]) -> AsyncIterator[Bucket]:
    """The bucket of `place`, the spec of an ExportDestination or what has its fields. Raises `StorageError`; reaches
    nobody but the API server yet, for the Secrets."""
    name = str(place["bucket"])
    secret = (place.get("credentialsSecret") or {}).get("name")
    if not secret:
        raise StorageError(f"bucket {name!r}: no Secret; only the service account of export pods has access")
    keys = await _secret(kube, run_namespace, secret)
    access, secret_key, token = (
        keys.get(each, "")
        for each in (environment.AWS_ACCESS_KEY_ID, environment.AWS_SECRET_ACCESS_KEY, environment.AWS_SESSION_TOKEN)
    )
    if not (access and secret_key):
        raise StorageError(f"bucket {name!r}: Secret {secret!r} in namespace {run_namespace!r} holds no access key")
    authority = (place.get("caSecret") or {}).get("name")
    trusted = (await _secret(kube, run_namespace, authority)).get(CA, "") if authority else ""
    with tempfile.TemporaryDirectory() as folder:
        if trusted:
            (Path(folder) / CA).write_text(trusted)
        client = await asyncio.to_thread(
            _client, place, (access, secret_key, token or None), str(Path(folder) / CA) if trusted else True
        )
        try:
            yield Bucket(client, name)
        finally:
            client.close()


async def _secret(kube: Kube, namespace: str, name: str) -> dict[str, str]:
    try:
        found = await kube.get(path_of("", "v1", "secrets", name, namespace=namespace))
    except ApiError as error:
        raise StorageError(f"Secret {name!r} in namespace {namespace!r}: {error.status} {error.reason}") from None
    return {key: base64.b64decode(value).decode("utf-8", "replace") for key, value in (found.get("data") or {}).items()}


def _client(place: Mapping[str, Any], keys: tuple[str, str, str | None], verify: bool | str) -> S3Client:
    """The import alone takes longer than most commands: it waits until it is needed."""
    import botocore.config
    import botocore.session
    from botocore.exceptions import BotoCoreError

    access, secret, token = keys
    config = botocore.config.Config(
        signature_version="s3v4",
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        max_pool_connections=CONNECTIONS,
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        s3={"addressing_style": "path" if place.get("pathStyle") else "auto"},
    )
    try:
        made = botocore.session.Session(_OF_NOBODY).create_client(
            "s3",
            region_name=place.get("region") or "us-east-1",
            endpoint_url=place.get("endpoint") or None,
            aws_access_key_id=access,
            aws_secret_access_key=secret,
            aws_session_token=token,
            verify=verify,
            config=config,
        )
    except (BotoCoreError, ValueError) as error:
        raise StorageError(f"bucket {place['bucket']!r}: {type(error).__name__}") from None
    return cast("S3Client", made)
