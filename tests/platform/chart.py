"""The chart, by helm: installed, upgraded, removed."""

import json
from pathlib import Path

from tests.cluster import images, providers, say, shell, tools
from tests.cluster.kubectl import Kubectl
from tests.platform.names import CHART, NAMESPACE, RELEASE


def helm(cluster: providers.Cluster, *args: str) -> str:
    return shell.run([tools.path("helm"), *args], env=providers.environment(cluster), timeout=300).stdout


def attests(cluster: providers.Cluster) -> bool:
    """Can the cluster write down who asks? Before Kubernetes 1.36 it serves no MutatingAdmissionPolicy."""
    found = Kubectl(cluster, NAMESPACE).output("get", "--raw", "/apis/admissionregistration.k8s.io/v1")
    return any(each["kind"] == "MutatingAdmissionPolicy" for each in json.loads(found)["resources"])


def install(cluster: providers.Cluster, built: images.Images, *settings: str, directory: Path = CHART) -> None:
    """Have the chart installed, from this working tree (or another `directory`) and with images of it, in a mode that
    the cluster can. `settings` are helm's `--set`."""
    if not attests(cluster):
        settings = ("identity.mode=Declared", *settings)
    values = [
        *image("image", built.operator),
        *image("runner.image", built.exporter),
        *(each for setting in settings for each in ("--set", setting)),
    ]
    # CRDs and policies outlive an uninstall, and may have been applied without helm: it takes them over.
    _forget_interrupted(cluster)
    options = ["--take-ownership", "--force-conflicts", "--create-namespace", "--wait", "--timeout=120s"]
    with say.step("installing the chart"):
        helm(cluster, "upgrade", "--install", RELEASE, str(directory), "--namespace", NAMESPACE, *options, *values)


def _forget_interrupted(cluster: providers.Cluster) -> None:
    """A helm that was killed has left a revision `pending`, and no other would begin while it stands there."""
    kubectl = Kubectl(cluster, NAMESPACE)
    pending = f"owner=helm,name={RELEASE},status in (pending-install,pending-upgrade,pending-rollback)"
    kubectl.run("delete", "secret", "--selector", pending, "--ignore-not-found", check=False)


def uninstall(cluster: providers.Cluster) -> None:
    """What the chart's users would do: requests, resources, policies and the run namespace stay."""
    args = ["uninstall", RELEASE, "--namespace", NAMESPACE, "--ignore-not-found", "--wait", "--timeout=120s"]
    helm(cluster, *args)


def image(value: str, reference: str) -> list[str]:
    """helm's options for an image: repository and tag below a value."""
    repository, _, tag = reference.rpartition(":")
    given = {"repository": repository, "tag": tag}
    return [each for key, text in given.items() for each in ("--set-string", f"{value}.{key}={text}")]
