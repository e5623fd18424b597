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
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from export_contract import environment
from export_operator.adapters.kube import WRITE_SECONDS, ApiError, Fence, Kube, path_of
from export_operator.domain import times
from export_operator.domain.sweep import Stored

if TYPE_CHECKING:
    from botocore.loaders import Loader
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ObjectIdentifierTypeDef

T = TypeVar("T")

CONNECT_SECONDS = 5
READ_SECONDS = 15  # without a byte
ATTEMPTS = 3  # of one call, with botocore's own pauses between
CONNECTIONS = 8
CA = "ca.crt"
PAGE = 1000  # keys of one call, the most that S3 gives and takes
ABSENT = frozenset({"NoSuchBucket", "NoSuchKey", "NoSuchUpload"})
PRESENT = frozenset({"PreconditionFailed", "ConditionalRequestConflict"})
DENIED = frozenset({"AccessDenied", "AllAccessDisabled", "MethodNotAllowed", "NotImplemented"})
"""What the credentials, or the server, do not do at any time."""
EXPIRATION = "AWS_CREDENTIAL_EXPIRATION"
"""Of a session, as `aws configure export-credentials` calls it."""
UNSEEN = frozenset({"NoSuchKey", "404", "AccessDenied", "403"})
"""What S3 says of an object that is not there, to a key that may not list the bucket by 403. An answer to HEAD has no
body to say more in."""
ARCHIVES = frozenset({"GLACIER", "DEEP_ARCHIVE"})

_OF_NOBODY: dict[str, tuple[Any, Any, Any, Any]] = {
    "profile": (None, None, None, None),
    "ca_bundle": (None, None, None, None),
    "ignore_configured_endpoint_urls": (None, None, True, None),
    "config_file": (None, None, os.devnull, None),
    "credentials_file": (None, None, os.devnull, None),
}
"""botocore's session variables (configuration's name, environment's name, default, conversion), read from nowhere."""


class StorageError(Exception):
    """A bucket cannot be used; the message says which one and why. `code` is S3's own, or empty. `passing`: another
    try may fare better."""

    def __init__(self, message: str, code: str = "", *, passing: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.passing = passing


@dataclass(frozen=True, slots=True)
class Upload:
    """A multipart upload that was begun, and neither completed nor aborted."""

    key: str
    id: str
    begun: datetime


@dataclass(frozen=True, slots=True)
class Held:
    """An object that is there; `size` in bytes. One that is `archived` cannot be read before somebody restores it."""

    size: int
    archived: bool


class Bucket:
    """One bucket, with the credentials of its place. All calls raise `StorageError`. `fence` is asked before what
    changes something there."""

    def __init__(
        self,
        client: S3Client,
        name: str,
        *,
        temporary: bool = False,
        until: datetime | None = None,
        fence: Fence = lambda _: None,
    ) -> None:
        self._client = client
        self._fence = fence
        self.name = name
        self.temporary = temporary
        """The key is a session's, which ends."""
        self.until = until
        """When it does; None: nobody tells."""

    async def pages(self, prefix: str, after: str = "") -> AsyncIterator[list[Stored]]:
        """Every object under `prefix`, at most a thousand a page, in the order of their keys: those `after` a key."""
        more: dict[str, Any] = {"StartAfter": after} if after else {}
        while True:
            found = await self._call(
                lambda: self._client.list_objects_v2(Bucket=self.name, Prefix=prefix, MaxKeys=PAGE, **more)  # noqa: B023 - awaited here
            )
            yield [Stored(each["Key"], each["LastModified"], each["Size"]) for each in found.get("Contents", ())]
            if not found.get("NextContinuationToken"):
                return
            more = {"ContinuationToken": found["NextContinuationToken"]}

    async def uploads(self, prefix: str) -> AsyncIterator[list[Upload]]:
        """Every unfinished upload under `prefix`, at most a thousand a page."""
        more: dict[str, Any] = {}
        while True:
            found = await self._call(
                lambda: self._client.list_multipart_uploads(Bucket=self.name, Prefix=prefix, **more)  # noqa: B023
            )
            yield [Upload(each["Key"], each["UploadId"], each["Initiated"]) for each in found.get("Uploads", ())]
            if not found.get("IsTruncated"):
                return
            more = {"KeyMarker": found["NextKeyMarker"], "UploadIdMarker": found["NextUploadIdMarker"]}

    async def abort(self, upload: Upload) -> None:
        """End an upload; its parts go. One that is gone is success."""
        self._pass_fence()
        try:
            await self._call(
                lambda: self._client.abort_multipart_upload(Bucket=self.name, Key=upload.key, UploadId=upload.id)
            )
        except StorageError as error:
            if error.code not in ABSENT:
                raise

    async def delete(self, keys: Sequence[str]) -> None:
        """Delete objects, in this order as far as calls go: a call takes a thousand. What is gone is success."""
        for start in range(0, len(keys), PAGE):
            self._pass_fence()
            some: list[ObjectIdentifierTypeDef] = [{"Key": key} for key in keys[start : start + PAGE]]
            told = await self._call(
                lambda: self._client.delete_objects(Bucket=self.name, Delete={"Objects": some, "Quiet": True})  # noqa: B023
            )
            errors = [each for each in told.get("Errors", ()) if each.get("Code") not in ABSENT]
            if errors:
                code = errors[0].get("Code", "")
                raise StorageError(f"bucket {self.name!r}: {len(errors)} objects stay, S3 answers {code}", code)

    async def size(self, upload: Upload) -> int:
        """Bytes of the parts that an upload has, of the first thousand; 0 of one that is gone."""
        try:
            found = await self._call(
                lambda: self._client.list_parts(Bucket=self.name, Key=upload.key, UploadId=upload.id)
            )
        except StorageError as error:
            if error.code not in ABSENT:
                raise
            return 0
        return sum(each["Size"] for each in found.get("Parts", ()))

    async def create(self, key: str, text: bytes) -> None:
        """Write a small object, unless there is one."""
        self._pass_fence()
        try:
            await self._call(
                lambda: self._client.put_object(
                    Bucket=self.name, Key=key, Body=text, ContentType="application/json", IfNoneMatch="*"
                )
            )
        except StorageError as error:
            if error.code not in PRESENT:
                raise

    def _pass_fence(self) -> None:
        pass_fence(self._fence, f"bucket {self.name!r}")

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

    async def look(self, key: str) -> Held | None:
        """What is to be known of an object; None when there is none."""
        try:
            found = await self._call(lambda: self._client.head_object(Bucket=self.name, Key=key))
        except StorageError as error:
            if error.code in UNSEEN:
                return None
            raise
        restored = 'ongoing-request="false"' in found.get("Restore", "")
        archived = found.get("StorageClass") in ARCHIVES or "ArchiveStatus" in found
        return Held(found["ContentLength"], archived and not restored)

    async def presign(self, keys: Sequence[str], seconds: int) -> list[str]:
        """A link to each object, which serves for so long to whoever has it, as far as the bucket's key may read it.
        Nobody is asked."""

        def sign() -> list[str]:
            return [
                self._client.generate_presigned_url(
                    "get_object", Params={"Bucket": self.name, "Key": key}, ExpiresIn=seconds
                )
                for key in keys
            ]

        return await self._call(sign)

    async def _call(self, function: Callable[[], T]) -> T:
        from botocore.exceptions import BotoCoreError, ClientError
        from botocore.parsers import ResponseParserError

        try:
            return await asyncio.to_thread(function)
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0)
            text = f"bucket {self.name!r}: S3 answers {code or 'an error'}"
            raise StorageError(text, code, passing=status == 429 or status >= 500) from None
        except (BotoCoreError, ResponseParserError, OSError) as error:
            raise StorageError(f"bucket {self.name!r}: {type(error).__name__}", passing=True) from None


def pass_fence(fence: Fence, where: str) -> None:
    """Before what changes something there. Raises `StorageError`."""
    try:
        fence(WRITE_SECONDS)
    except ApiError as error:
        raise StorageError(f"{where}: {error.message}") from None


@asynccontextmanager
async def opened(
    kube: Kube,
    run_namespace: str,
    place: Mapping[str, Any],
    *,
    fence: Fence = lambda _: None,
    own_identity: bool = False,
) -> AsyncIterator[Bucket]:
    """The bucket of `place`, the spec of an ExportDestination or what has its fields. With `own_identity`, one without
    a Secret is reached by what the platform gives this process's own service account, as AWS's SDKs find it.

    Raises `StorageError`; reaches nobody but the API server yet, for the Secrets, and for an own identity STS."""
    name = str(place["bucket"])
    named = (place.get("credentialsSecret") or {}).get("name")
    if not named and not own_identity:
        raise StorageError(f"bucket {name!r}: no Secret; only the service account of export pods has access")
    keys = await secret_values(kube, run_namespace, named) if named else {}
    access, secret_key, token = (
        keys.get(each, "")
        for each in (environment.AWS_ACCESS_KEY_ID, environment.AWS_SECRET_ACCESS_KEY, environment.AWS_SESSION_TOKEN)
    )
    if named and not (access and secret_key):
        raise StorageError(f"bucket {name!r}: Secret {named!r} in namespace {run_namespace!r} holds no access key")
    authority = (place.get("caSecret") or {}).get("name")
    until = times.parse(keys.get(EXPIRATION))
    if keys.get(EXPIRATION) and until is None:
        raise StorageError(f"bucket {name!r}: {EXPIRATION} in Secret {named!r} is no time")
    trusted = (await secret_values(kube, run_namespace, authority)).get(CA, "") if authority else ""
    with tempfile.TemporaryDirectory() as folder:
        if trusted:
            (Path(folder) / CA).write_text(trusted)
        client = await asyncio.to_thread(
            make_client,
            place,
            (access, secret_key, token or None) if named else None,
            str(Path(folder) / CA) if trusted else True,
        )
        try:
            yield Bucket(client, name, temporary=bool(token) or not named, until=until, fence=fence)
        finally:
            client.close()


async def secret_values(kube: Kube, namespace: str, name: str) -> dict[str, str]:
    """What a Secret holds, by key. Raises `StorageError`."""
    try:
        found = await kube.get(path_of("", "v1", "secrets", name, namespace=namespace))
    except ApiError as error:
        raise StorageError(f"Secret {name!r} in namespace {namespace!r}: {error.status} {error.reason}") from None
    return {key: base64.b64decode(value).decode("utf-8", "replace") for key, value in (found.get("data") or {}).items()}


def make_client(place: Mapping[str, Any], keys: tuple[str, str, str | None] | None, verify: bool | str) -> S3Client:
    """`keys` None: those that AWS's SDKs find in a pod. The import alone takes longer than most commands: it waits
    until it is needed."""
    import botocore.config
    import botocore.session
    from botocore.exceptions import BotoCoreError

    access, secret_key, token = keys or (None, None, None)
    variables = _OF_NOBODY
    if keys is None:  # STS is trusted by the same authority, as export pods do
        ours = ("profile", "config_file", "credentials_file")
        variables = {name: _OF_NOBODY[name] for name in ours} | {"ca_bundle": (None, None, _path(verify), None)}
    config = botocore.config.Config(
        signature_version="s3v4",
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        max_pool_connections=CONNECTIONS,
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        request_checksum_calculation="when_required",  # no trailer over TLS: not every server reads it well
        response_checksum_validation="when_required",
        s3={"addressing_style": "path" if place.get("pathStyle") else "auto"},
    )
    session = botocore.session.Session(variables)
    session.register_component("data_loader", _models())
    try:
        made = session.create_client(
            "s3",
            region_name=place.get("region") or "us-east-1",
            endpoint_url=place.get("endpoint") or None,
            aws_access_key_id=access,
            aws_secret_access_key=secret_key,
            aws_session_token=token,
            verify=verify,
            config=config,
        )
    except (BotoCoreError, ValueError) as error:
        raise StorageError(f"bucket {place['bucket']!r}: {type(error).__name__}") from None
    return cast("S3Client", made)


@cache
def _models() -> Loader:
    """botocore's descriptions of AWS's services, the same for all clients. Left to itself each session would read them
    anew: 12 MiB, which the garbage collector finds late."""
    from botocore.loaders import Loader

    return Loader()


def _path(verify: bool | str) -> str | None:
    return verify if isinstance(verify, str) else None
