"""The Job that undoes a run where only an export pod can: made of the run's own, with the command `undo`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from export_contract import environment
from export_operator.domain import model
from export_operator.domain.jobs import PodSettings

ACTIVE_SECONDS = 300
"""For pulling the image, starting, and removing what is there."""
_OF_SOURCE = frozenset(
    {
        environment.PG_USER,
        environment.PG_PASSWORD,
        environment.PG_CREDENTIALS_DIR,
        environment.PG_SSL_ROOT_CERT,
        environment.MASK_KEY,
    }
)
_SOURCE = "source"


def name_of(run: str, *, objects: bool) -> str:
    """Its name: one for each thing that it may do."""
    return f"undo-{run}{'-objects' if objects else ''}"


def build(document: Mapping[str, Any], settings: PodSettings, *, objects: bool) -> dict[str, Any]:
    """The manifest. It belongs to the run's Job and goes with it. It has the credentials of the destination and of the
    fallback, not those of the source, which may be gone by now; and the present image, for an older one knows no
    `undo`."""
    metadata, pod = document["metadata"], document["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    labels = {
        "app.kubernetes.io/name": "export-runner",
        "app.kubernetes.io/component": "undo",
        model.LABEL_MANAGED_BY: model.MANAGED_BY,
    }
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": metadata["name"], "uid": metadata["uid"]}
    changed = {
        "image": settings.image,
        "args": ["undo", *(["--objects"] if objects else [])],
        "env": [each for each in container["env"] if each["name"] not in _OF_SOURCE],
        "volumeMounts": [each for each in container["volumeMounts"] if each["name"] != _SOURCE],
    }
    kept = {name: value for name, value in container.items() if name != "livenessProbe"}  # nothing beats its heart
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name_of(metadata["labels"][model.LABEL_RUN], objects=objects),
            "namespace": metadata["namespace"],
            "labels": labels,
            "ownerReferences": [owner],
        },
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": ACTIVE_SECONDS,
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    **pod,
                    "containers": [kept | changed],
                    "volumes": [each for each in pod["volumes"] if each["name"] != _SOURCE],
                },
            },
        },
    }
