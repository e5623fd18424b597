"""The link to what was delivered: an ExportDownload, as any tenant makes one, and the Secret that it makes."""

import base64
import hashlib
from urllib.parse import urlsplit

import urllib3

from tests.demo.proof import Check
from tests.platform.api import Api, Json
from tests.platform.names import API_VERSION
from tests.platform.storage import Storage
from tests.platform.waiting import until

PORT = 7070
PUBLIC = f"http://127.0.0.1:{PORT}"
"""Where people reach the S3 server: through a port that they forward to it. The link is signed for this address."""
SECONDS = 3600
WAIT_SECONDS = 30.0


def link(tenant: Api, namespace: str, request: str) -> str:
    """Ask for a link to the request's object, and wait for it."""
    asked = {"requestName": request, "expirationSeconds": SECONDS}
    metadata = {"name": request, "namespace": namespace}
    tenant.create({"apiVersion": API_VERSION, "kind": "ExportDownload", "metadata": metadata, "spec": asked})

    def ready() -> str | None:
        status = tenant.get("ExportDownload", request, namespace).get("status") or {}
        return status["secretRef"]["name"] if status.get("phase") == "Ready" else None

    secret = tenant.get("Secret", until(f"links of ExportDownload {request}", ready, WAIT_SECONDS), namespace)
    return base64.b64decode(secret["data"]["urls"]).decode().strip()


def check(url: str, storage: Storage, result: Json) -> Check:
    """Fetch it with plain HTTP, by the port that is forwarded here."""
    here, there = urlsplit(str(storage.client.meta.endpoint_url)), urlsplit(url)
    answer = urllib3.request(
        "GET",
        there._replace(netloc=here.netloc).geturl(),
        headers={"Host": there.netloc},
        timeout=30,
        retries=False,
    )
    digest = hashlib.sha256(answer.data).hexdigest()
    claim = "the link of the ExportDownload gives these bytes to whoever has it, with no account"
    return Check(claim, digest == result["sha256"], f"HTTP {answer.status}, {len(answer.data):,} bytes")
