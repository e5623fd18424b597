"""Links to exports, as a tenant asks for them and uses them: an account at the bucket takes no part in it."""

import base64
from typing import Any

import urllib3

from tests.e2e.furniture import destination
from tests.e2e.team import Team
from tests.platform.api import Api, Json
from tests.platform.install import Platform
from tests.platform.names import API_VERSION
from tests.platform.storage import Storage
from tests.platform.waiting import TooLong, until

KIND = "ExportDownload"
SECONDS = 30.0


def public(storage: Storage) -> str:
    """Where the S3 server is reached from outside the cluster: from this machine."""
    return str(storage.client.meta.endpoint_url)


def reachable(platform: Platform, storage: Storage, name: str, **changes: Any) -> Json:
    """A destination whose links lead to where this machine reaches the bucket."""
    return destination(platform.services, name, publicEndpoint=public(storage), **changes)


def ask(team: Team, name: str, request: str, api: Api | None = None, **spec: Any) -> None:
    """Create an ExportDownload, as the tenant or as somebody else."""
    metadata = {"name": name, "namespace": team.namespace}
    fields = {"requestName": request, **spec}
    (api or team.api).create({"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": fields})


def until_it_says(team: Team, name: str, phase: str, reason: str, seconds: float = SECONDS) -> Json:
    """Its status, when it says so."""

    def look() -> Json | None:
        found = status(team, name)
        return found if (found.get("phase"), found.get("reason")) == (phase, reason) else None

    try:
        return until(f"{name} {phase} {reason}", look, seconds)
    except TooLong as error:
        raise AssertionError(f"{error}; its status: {status(team, name)}") from None


def status(team: Team, name: str) -> Json:
    return dict((team.api.find(KIND, name, team.namespace) or {}).get("status") or {})


def ready(team: Team, name: str) -> dict[str, str]:
    """What is in its Secret, when the links are made."""
    found = until_it_says(team, name, "Ready", "LinksMade")
    return secret(team, found["secretRef"]["name"])


def secret(team: Team, name: str) -> dict[str, str]:
    data = team.api.get("Secret", name, team.namespace)["data"]
    return {key: base64.b64decode(value).decode() for key, value in data.items()}


def fetch(url: str) -> tuple[int, bytes]:
    """Plain HTTP, with nothing but the link."""
    answer = urllib3.request("GET", url, timeout=30, retries=False)
    return answer.status, answer.data
