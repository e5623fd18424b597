"""Writes what a rebuild has planned: by compare-and-swap, so that it may be done while the operator runs."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from export_operator.adapters.kube import ApiError, Kube, path_of
from export_operator.domain.ledger_rebuild import Mending, mended
from export_operator.domain.model import GROUP, VERSION
from export_operator.domain.pages import Page
from export_operator.domain.salvage import read_usage
from export_operator.domain.tombstones import Tombstones
from export_operator.domain.usage import render_usage

MAX_TRIES = 20  # against other writers, each of whom gets on meanwhile
COPY = "exportusage.json.gz"
LOST = Page(tombstones=Tombstones(forgotten=True))
"""A page that is not there: what it remembered, nobody knows."""


class Mender:
    """Both calls raise `ApiError`."""

    def __init__(self, kube: Kube, run_namespace: str) -> None:
        self._kube = kube
        self._namespace = run_namespace
        self._usages = path_of(GROUP, VERSION, "exportusages", namespace=run_namespace)
        self._copies = path_of("", "v1", "configmaps", namespace=run_namespace)

    async def mend(self, mending: Mending, now: datetime) -> str:
        """Bring one object up to what is proven, as it is now and not as it was when that was planned; the name of the
        ConfigMap with a copy of what was damaged, or "". Raises `NoRoomError` too."""
        copy = ""
        for _ in range(MAX_TRIES):
            document = await self._kube.find(f"{self._usages}/{mending.name}")
            found = read_usage(document) if document else None
            if found and found.newer:
                raise ApiError(409, "Newer", f"ExportUsage {mending.name}: {found.fault}")
            if document and found and found.fault:
                copy = await self._set_aside(document)
            try:
                await self._write(mending, document, found.page if found else LOST, now)
            except ApiError as error:
                if not (error.conflict or error.exists or error.not_found):
                    raise
            else:
                return copy
        raise ApiError(409, "Conflict", f"ExportUsage {mending.name} is contended: {MAX_TRIES} writes lost")

    async def _write(self, mending: Mending, document: Mapping[str, Any] | None, page: Page, now: datetime) -> None:
        if mending.subject is None:
            if document:
                await self._kube.delete(f"{self._usages}/{mending.name}", uid=document["metadata"]["uid"])
            return
        body = render_usage(self._namespace, mending.subject, mended(page, mending.subject, mending.proofs, now))
        if document is None:
            await self._kube.create(self._usages, body)
        elif body["spec"] != document["spec"]:
            body["metadata"]["resourceVersion"] = document["metadata"]["resourceVersion"]
            await self._kube.replace(f"{self._usages}/{mending.name}", body)

    async def _set_aside(self, document: Mapping[str, Any]) -> str:
        """The object as it was, in a ConfigMap named after it and its version: said twice, it stands once."""
        metadata = document["metadata"]
        name = f"{metadata['name']}-{metadata['resourceVersion']}"
        text = gzip.compress(json.dumps(document).encode(), mtime=0)
        body = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "labels": {"app.kubernetes.io/part-of": "export-operator"}},
            "binaryData": {COPY: base64.b64encode(text).decode()},
        }
        try:
            await self._kube.create(self._copies, body)
        except ApiError as error:
            if not error.exists:
                raise
        return name
