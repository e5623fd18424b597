"""What the platform team offers: credentials in the run namespace, sources, destinations, policies."""

import base64
import secrets
from typing import Any

import yaml

from tests.platform.api import Api, Json
from tests.platform.names import API_VERSION, RUN_NAMESPACE, SAMPLES
from tests.services import data
from tests.services.cluster import Services


def sample(name: str) -> Json:
    """A file of manifests/samples."""
    document: Json = yaml.safe_load((SAMPLES / f"{name}.yaml").read_text())
    return document


def named(kind: str, name: str, spec: Json) -> Json:
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}


def secret(api: Api, name: str, **values: str) -> None:
    """A Secret of the run namespace."""
    metadata = {"name": name, "namespace": RUN_NAMESPACE}
    api.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": values})


def read_secret(api: Api, name: str, key: str) -> str:
    """A value of a Secret of the run namespace; "" if there is none."""
    found: dict[str, Any] = (api.find("Secret", name, RUN_NAMESPACE) or {}).get("data") or {}
    return base64.b64decode(found.get(key, "")).decode()


def reader(api: Api, services: Services, name: str, role: str) -> None:
    """A role that may read, and its Secret. The password is made once."""
    password = read_secret(api, name, "password") or secrets.token_urlsafe(18)
    services.psql(data.reader_sql(role, password))
    secret(api, name, username=role, password=password)


def writer(api: Api, services: Services, name: str) -> None:
    """The S3 server's key, as a Secret."""
    secret(api, name, AWS_ACCESS_KEY_ID=services.s3_access_key, AWS_SECRET_ACCESS_KEY=services.s3_secret_key)
