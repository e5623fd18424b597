"""What runs leave in a bucket, and Jobs that have left it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from botocore.session import Session

from export_operator.adapters.cluster import Cluster
from export_operator.domain.jobs import build_job
from export_operator.domain.model import Job, Key, parse_job
from tests.services import host
from tests.unit.operator.builders import SETTINGS, catalogue, destination, plan, request, source

BUCKET, PREFIX = "exports", "prod"


class Remains:
    """What runs have left in a bucket."""

    def __init__(self, server: host.S3Server) -> None:
        self.client: Any = Session().create_client(
            "s3",
            endpoint_url=server.endpoint,
            region_name="us-east-1",
            aws_access_key_id=server.access_key,
            aws_secret_access_key=server.secret_key,
        )

    def put(self, *keys: str) -> None:
        for key in keys:
            self.client.put_object(Bucket=BUCKET, Key=key, Body=b"{}")

    def begin(self, key: str) -> None:
        begun = self.client.create_multipart_upload(Bucket=BUCKET, Key=key)
        self.client.upload_part(Bucket=BUCKET, Key=key, UploadId=begun["UploadId"], PartNumber=1, Body=b"12345678")

    @property
    def keys(self) -> list[str]:
        return [each["Key"] for each in self.client.list_objects_v2(Bucket=BUCKET).get("Contents", ())]

    @property
    def uploads(self) -> list[str]:
        return [each["Key"] for each in self.client.list_multipart_uploads(Bucket=BUCKET).get("Uploads", ())]


def place(server: host.S3Server) -> Mapping[str, Any]:
    return destination(endpoint=server.endpoint).spec


async def ended(cluster: Cluster, server: host.S3Server, name: str = "users", **spec: Any) -> Job:
    """A Job that nothing is at work for."""
    given = request(key=Key("team-a", name), uid=f"uid-{name}", **spec)
    known = catalogue(source(), destination(endpoint=server.endpoint))
    manifest = build_job(given, plan(given, known), replace(SETTINGS.pods, namespace=cluster.run_namespace))
    manifest["spec"]["suspend"] = True
    return parse_job(await cluster.create_job(manifest))


def folder(job: Job) -> str:
    return f"{PREFIX}/{job.request.namespace}/{job.request.name}/{job.run}/"
