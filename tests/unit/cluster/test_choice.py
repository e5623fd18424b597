"""Which provider is chosen, and what is said where none can be."""

import pytest

from tests.cluster.choice import Choice, Facts, choose
from tests.cluster.problem import Problem

pytestmark = pytest.mark.unit
BARE = Facts(wanted="", kubeconfig="", engine=None, linux=True, root=True)


@pytest.mark.parametrize(
    ("facts", "provider"),
    [
        (BARE, "local"),
        (Facts(engine="docker", linux=False, root=False), "kind"),
        (Facts(engine="podman"), "kind"),
        (Facts(engine="docker", wanted="local"), "local"),
        (Facts(kubeconfig="/home/me/.kube/config"), "local"),
        (Facts(kubeconfig="/home/me/.kube/config", wanted="current"), "current"),
        (Facts(engine="podman", wanted="kind"), "kind"),
    ],
)
def test_the_provider_follows_from_the_facts(facts: Facts, provider: str) -> None:
    assert choose(facts).provider == provider


def test_an_existing_cluster_is_used_only_when_asked_for() -> None:
    """A KUBECONFIG may lead to production."""
    assert choose(Facts(kubeconfig="/prod", engine="docker")).provider != "current"


def test_kind_learns_which_engine_answered() -> None:
    assert choose(Facts(engine="podman")) == Choice("kind", "podman answers", "podman")


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (Facts(wanted="kind"), "docker info"),
        (Facts(wanted="current"), "KUBECONFIG"),
        (Facts(wanted="local", root=False), "root"),
        (Facts(wanted="local", linux=False, root=False), "Linux and root"),
        (Facts(wanted="minikube"), "current, kind, local"),
        (Facts(linux=False, root=False), "Docker or Podman"),
    ],
)
def test_what_is_missing_is_said(facts: Facts, said: str) -> None:
    with pytest.raises(Problem, match=said):
        choose(facts)
