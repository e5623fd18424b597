"""The S3 server as somebody outside the cluster sees it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tests.services.cluster import Services

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class Storage:
    """Buckets and objects, by URI."""

    def __init__(self, client: "S3Client") -> None:
        self.client = client

    def have_bucket(self, bucket: str) -> None:
        if bucket not in {each["Name"] for each in self.client.list_buckets()["Buckets"]}:
            self.client.create_bucket(Bucket=bucket)

    def read(self, uri: str) -> bytes:
        place = urlsplit(uri)
        return self.client.get_object(Bucket=place.netloc, Key=place.path.lstrip("/"))["Body"].read()

    def keys(self, bucket: str, prefix: str = "") -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return [each["Key"] for page in pages for each in page.get("Contents", [])]

    def uploads(self, bucket: str, prefix: str = "") -> list[str]:
        """Keys of multipart uploads that were begun and neither completed nor aborted."""
        pages = self.client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=prefix)
        return [each["Key"] for page in pages for each in page.get("Uploads", [])]


def storage_at(services: Services, endpoint: str) -> Storage:
    """The services' S3 server, wherever it is reached."""
    import boto3
    from botocore.config import Config

    settings = Config(
        s3={"addressing_style": "path"}, signature_version="s3v4", retries={"max_attempts": 3}, proxies={}
    )
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=services.s3_access_key,
        aws_secret_access_key=services.s3_secret_key,
        config=settings,
    )
    return Storage(client)


@contextmanager
def storage(services: Services, service: str = "s3") -> Iterator[Storage]:
    """The services' S3 server, or another beside it with the same key, while the block runs."""
    with services.kubectl.reached(service, 7070) as (host, port):
        found = storage_at(services, f"http://{host}:{port}")
        yield found
        found.client.close()
