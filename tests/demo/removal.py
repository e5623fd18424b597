"""`demo down`: nothing of the demo is left running."""

from tests.cluster import providers, say
from tests.cluster.kubectl import Kubectl
from tests.cluster.problem import Problem
from tests.demo.stage import TEAM
from tests.platform import chart
from tests.platform.names import NAMESPACE, REPOSITORY, RUN_NAMESPACE
from tests.services import cluster as services

SHARED = ("policies", "crds")
"""Folders of manifests/ whose objects the chart keeps on uninstall, so that nobody loses requests by it."""


def down() -> int:
    try:
        cluster = providers.running()
    except Problem:
        say.line("no cluster is running, so nothing of the demo is")
        return 0
    kubectl = Kubectl(cluster, "default")
    with say.step("removing the chart"):
        chart.uninstall(cluster)
    if cluster.name == "current":
        say.warn("CLUSTER=current: CRDs, policies and the run namespace stay, others may use them")
    else:
        with say.step("removing CRDs and policies, and with them every request"):
            for folder in SHARED:
                kubectl.run("delete", "--ignore-not-found", "-f", REPOSITORY / "manifests" / folder)
    ours = [TEAM, services.NAMESPACE] + ([] if cluster.name == "current" else [RUN_NAMESPACE, NAMESPACE])
    with say.step(f"removing the namespaces {', '.join(ours)}"):
        kubectl.run("delete", "namespace", *ours, "--ignore-not-found", "--timeout=120s")
    say.line("the cluster goes on; to stop it: make cluster-down")
    return 0
