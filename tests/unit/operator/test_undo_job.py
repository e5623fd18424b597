"""The Job that undoes a run where the operator has no access itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from export_operator.domain.jobs import build_job
from export_operator.domain.leftovers import of_job
from export_operator.domain.undo_job import build

from .builders import DATABASE_FALLBACK, RUN, SETTINGS, catalogue, destination, plan, request, source

pytestmark = pytest.mark.unit

NEWER = replace(SETTINGS.pods, image="registry/exporter:2")
LABELS = {
    "app.kubernetes.io/name": "export-runner",
    "app.kubernetes.io/component": "undo",
    "app.kubernetes.io/managed-by": "export-operator",
}


def of_run(**changes: Any) -> dict[str, Any]:
    manifest = build_job(request(), plan(known=catalogue(source(), destination(**changes))), SETTINGS.pods)
    return {**manifest, "metadata": manifest["metadata"] | {"uid": "job-uid"}}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, False),
        ({"credentialsSecret": None}, True),
        ({"fallback": DATABASE_FALLBACK}, True),
        ({"fallback": {"bucket": {"bucket": "spare"}}}, True),
    ],
    ids=["a key", "web identity", "a database", "a fallback by web identity"],
)
def test_a_pod_is_needed_where_the_operator_has_no_key(changes: dict[str, Any], expected: bool) -> None:
    assert of_job(of_run(**changes), dict[str, dict[str, Any]]().get).by_pod is expected


@pytest.mark.parametrize("objects", [False, True])
def test_the_job_is_that_of_the_run_but_for_what_it_does(objects: bool) -> None:
    given = of_run(fallback=DATABASE_FALLBACK)
    pod = given["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    of_source = {"PGUSER", "PGPASSWORD", "EXPORT_PG_CREDENTIALS_DIR", "PGSSLROOTCERT"}
    expected = {name: value for name, value in container.items() if name != "livenessProbe"} | {
        "image": "registry/exporter:2",
        "args": ["undo", "--objects"] if objects else ["undo"],
        "env": [each for each in container["env"] if each["name"] not in of_source],
        "volumeMounts": [each for each in container["volumeMounts"] if each["name"] != "source"],
    }
    assert build(given, NEWER, objects=objects) == {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": f"undo-{RUN}{'-objects' if objects else ''}",
            "namespace": "export-runs",
            "labels": LABELS,
            "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": f"export-{RUN}", "uid": "job-uid"}],
        },
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": 300,
            "template": {
                "metadata": {"labels": LABELS},
                "spec": {
                    **pod,
                    "containers": [expected],
                    "volumes": [each for each in pod["volumes"] if each["name"] != "source"],
                },
            },
        },
    }
