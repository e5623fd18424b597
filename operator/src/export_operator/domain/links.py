"""Links to a run's objects: which objects, for how long, and the Secret that holds them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from export_contract import names
from export_operator.domain import manifests, model
from export_operator.domain.manifests import NotAManifestError
from export_operator.domain.model import Stamped
from export_operator.domain.places import Coordinates

SESSION_SECONDS = 900
"""For a session token whose end nobody tells: the shortest session that AWS STS gives."""
LEAST_SECONDS = 10
"""Links that serve for less are none that a person could use."""
MAX_SECRET = 900_000
"""Bytes of the values of a Secret. Kubernetes takes 1 MiB."""

SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Object:
    """An object that links lead to; `name` is what it is called when it is fetched, `sha256` hex."""

    key: str
    name: str
    bytes: int
    sha256: str


def objects(text: bytes, place: Mapping[str, Any], at: Coordinates, requester: str) -> tuple[Object, ...]:
    """The objects of a run, as the manifest tells that stands at the run's place in a bucket. Raises
    `NotAManifestError`: whoever may write to the bucket may have written it, so each key is computed, and no other is
    ever signed."""
    manifest, keys = manifests.read(text, at.keys(place).manifest, place)
    if (manifest.run.id, manifest.run.requester) != (at.run, requester):
        raise NotAManifestError("it is of another run or requester")
    found = manifest.objects
    expected = [keys.object]
    if manifest.layout == "PartObjects":
        expected = [names.part_object_key(keys.object, number) for number in range(1, len(found) + 1)]
    if [each.key for each in found] != expected or not all(SHA256.fullmatch(each.sha256) for each in found):
        raise NotAManifestError("its objects are not those of its run")
    return tuple(Object(each.key, each.key.rpartition("/")[2], each.bytes, each.sha256) for each in found)


def public(place: Mapping[str, Any]) -> Mapping[str, Any]:
    """The same place as people reach it, who are not in the cluster."""
    return {**place, "endpoint": place.get("publicEndpoint") or place.get("endpoint")}


def lifetime(most: int, token: bool, end: datetime | None, now: datetime) -> int:
    """Seconds that a link may serve whose key ends at `end` (None: nobody tells); `token`: it is a session's."""
    if end is not None:
        return min(most, int((end - now).total_seconds()))
    return min(most, SESSION_SECONDS) if token else most


def note(asked: int, most: int, seconds: int, place: Mapping[str, Any]) -> str:
    """What a person should know besides: why the links serve for less than was asked for (`most` is what the policy
    allows), and whether their host is one that only pods know."""
    host = urlsplit(public(place).get("endpoint") or "").hostname or ""
    told = []
    if seconds < most:
        told.append("they end with the key that they are signed with")
    elif most < asked:
        told.append(f"the policy allows {most} s")
    if host.endswith((".svc", ".svc.cluster.local")) or (host and "." not in host and ":" not in host):
        told.append(
            f"their host {host!r} may be known in the cluster alone: ask for a publicEndpoint of the destination"
        )
    return "; ".join(told)


def secret_data(objects: Sequence[Object], urls: Sequence[str], manifest_url: str) -> dict[str, str] | None:
    """What stands in the Secret; None when there are too many links for one. `curl` is a configuration that fetches
    everything under its own name."""
    fetched = [*zip((each.name for each in objects), urls, strict=True), (names.MANIFEST, manifest_url)]
    found = {
        "urls": "".join(f"{url}\n" for url in urls),
        "manifestURL": manifest_url,
        "SHA256SUMS": "".join(f"{each.sha256}  {each.name}\n" for each in objects),
        "curl": "fail\n" + "".join(f'url = "{url}"\noutput = "{name}"\n' for name, url in fetched),
    }
    return found if sum(map(len, found.values())) <= MAX_SECRET else None


def secret(download: Stamped, run: str, data: Mapping[str, str]) -> dict[str, Any]:
    """A Secret that goes with the download. The API server names it: one that a tenant has made under a name that could
    be foretold would pass for ours."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "generateName": f"{download.key.name[:57].rstrip('.-')}-",  # five characters are added
            "namespace": download.key.namespace,
            "labels": {model.LABEL_MANAGED_BY: model.MANAGED_BY, model.LABEL_RUN: run},
            "ownerReferences": [
                {
                    "apiVersion": model.API_VERSION,
                    "kind": "ExportDownload",
                    "name": download.key.name,
                    "uid": download.uid,
                    "controller": True,
                }
            ],
        },
        "type": "Opaque",
        "immutable": True,
        "stringData": dict(data),
    }
