"""Which cluster to use: facts about the machine in, a decision with its reason out."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.cluster import apt, shell
from tests.cluster.problem import Problem

Provider = Literal["current", "kind", "local"]
Engine = Literal["docker", "podman"]
PROVIDERS: tuple[Provider, ...] = ("current", "kind", "local")


@dataclass(frozen=True)
class Facts:
    """What the decision depends on."""

    wanted: str = ""
    """CLUSTER: the user's own choice, or nothing."""
    kubeconfig: str = ""
    """KUBECONFIG, or the path of the default one if it exists."""
    engine: Engine | None = None
    """The container engine that answers."""
    linux: bool = True
    root: bool = True


@dataclass(frozen=True)
class Choice:
    provider: Provider
    why: str
    engine: Engine | None = None


def choose(facts: Facts) -> Choice:
    """The provider, or a Problem that says what is missing."""
    match facts.wanted:
        case "current":
            if not facts.kubeconfig:
                raise Problem("CLUSTER=current: neither KUBECONFIG nor ~/.kube/config leads to a cluster")
            return Choice("current", f"CLUSTER=current, and {facts.kubeconfig} leads there")
        case "kind":
            if not facts.engine:
                raise Problem("CLUSTER=kind: neither `docker info` nor `podman info` answers")
            return Choice("kind", f"CLUSTER=kind, on {facts.engine}", facts.engine)
        case "local":
            if lacks := _local_lacks(facts):
                raise Problem(f"CLUSTER=local runs Kubernetes on this machine itself; it needs {lacks}")
            return Choice("local", "CLUSTER=local")
        case "":
            pass
        case other:
            raise Problem(f"CLUSTER={other} is none of {', '.join(PROVIDERS)}")
    if facts.engine:
        return Choice("kind", f"{facts.engine} answers", facts.engine)
    lacks = _local_lacks(facts)
    if not lacks:
        return Choice("local", "no container engine answers, and this is Linux with root")
    raise Problem(
        "no cluster can be made here. Either start Docker or Podman (kind then makes one),"
        f" or have {lacks} (Kubernetes then runs on this machine itself),"
        " or use a cluster that exists: CLUSTER=current with KUBECONFIG"
    )


def _local_lacks(facts: Facts) -> str:
    lacks = [what for what, have in (("Linux", facts.linux), ("root", facts.root)) if not have]
    return " and ".join(lacks)


def gather(environ: Mapping[str, str] = os.environ) -> Facts:
    """Look at this machine. Engines are asked only when the answer matters: a dead one may take its time."""
    wanted = environ.get("CLUSTER", "")
    engine: Engine | None = None
    if wanted in ("", "kind"):
        if answers("docker"):
            engine = "docker"
        elif answers("podman"):
            engine = "podman"
    default = Path.home() / ".kube" / "config"
    return Facts(
        wanted=wanted,
        kubeconfig=environ.get("KUBECONFIG", "") or (str(default) if default.exists() else ""),
        engine=engine,
        linux=sys.platform == "linux",
        root=hasattr(os, "geteuid") and os.geteuid() == 0,
    )


def answers(engine: Engine) -> bool:
    """Is the engine here and at work? Under the name of docker there may be Podman, which kind has to be told of."""
    if apt.find(engine) is None or not shell.answers([engine, "info"]):
        return False
    return shell.run([engine, "--version"], check=False).stdout.lower().startswith(engine)
