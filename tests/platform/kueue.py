"""Kueue beside the product, from its own chart."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cluster import images, kueue, providers, say
from tests.cluster.kubectl import Kubectl
from tests.platform import chart
from tests.platform.names import RUN_NAMESPACE
from tests.platform.waiting import until

NAMESPACE = "kueue-system"
VALUES = Path(__file__).resolve().parents[1] / "services" / "kueue" / "values.yaml"
KINDS = "localqueues.kueue.x-k8s.io,clusterqueues.kueue.x-k8s.io,resourceflavors.kueue.x-k8s.io"


@contextmanager
def installed(cluster: providers.Cluster) -> Iterator[None]:
    """Kueue, for as long as the block runs. Nothing of it stays: its webhooks would refuse Jobs when it is gone."""
    manifests = _manifests(cluster)
    kubectl, runs = Kubectl(cluster, NAMESPACE), Kubectl(cluster, RUN_NAMESPACE)
    try:
        with say.step(f"installing Kueue {kueue.version()}"):
            kubectl.apply(f"apiVersion: v1\nkind: Namespace\nmetadata: {{name: {NAMESPACE}}}")
            kubectl.apply(manifests)
            kubectl.rolled_out("kueue-controller-manager")
        yield
        # What has a finalizer of Kueue's goes while there is a Kueue to take that away.
        runs.run("delete", "jobs", "--selector=kueue.x-k8s.io/queue-name", "--timeout=60s")
        until("Workloads to go", lambda: not runs.output("get", "workloads.kueue.x-k8s.io", "-o", "name"), 60)
        runs.run("delete", KINDS, "--all", "--timeout=60s")
    finally:
        kubectl.run("delete", "--ignore-not-found", "--timeout=120s", "-f", "-", stdin=manifests)
        kubectl.run("delete", "namespace", NAMESPACE, "--wait=false")


def _manifests(cluster: providers.Cluster) -> str:
    """What the chart installs, but for the API that tells positions in queues: it takes an aggregation layer, which not
    every cluster of tests has."""
    reference = images.references(cluster, ["kueue"])["kueue"]
    values = ["--values", str(VALUES), *chart.image("controllerManager.manager.image", reference)]
    text = chart.helm(cluster, "template", "kueue", str(kueue.chart()), "--namespace", NAMESPACE, *values)
    documents = re.split(r"^---$", text, flags=re.MULTILINE)
    return "---".join(each for each in documents if not re.search(r"^kind: APIService$", each, re.MULTILINE))
