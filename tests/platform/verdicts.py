"""What GitOps tools make of an object, by the very scripts and rules that they go by.

Argo CD runs our health.lua in Lua 5.1, Flux our healthCheckExprs in CEL; what Helm and Flux do without them is kstatus.
"""

from pathlib import Path
from typing import Any

import cel
import yaml
from lupa import lua51

from tests.platform.api import Json
from tests.platform.names import REPOSITORY

GITOPS = REPOSITORY / "manifests" / "gitops"
HEALTH = GITOPS / "health.lua"
FLUX = GITOPS / "flux-kustomization.yaml"


def argo(document: Json, script: Path = HEALTH) -> tuple[str, str]:
    """Health and message, as Argo CD shows them. Its Lua has `obj` and no library that reaches outside."""
    lua = lua51.LuaRuntime(register_eval=False, unpack_returned_tuples=True)
    lua.globals().obj = lua.table_from(document, recursive=True)
    found = lua.execute(script.read_text())
    return str(found["status"]), str(found["message"])


def flux(document: Json) -> str:
    """InProgress, Failed or Current, as RFC 0009 of Flux orders it: fluxcd/pkg, runtime/cel/status_evaluator.go."""
    (expressions,) = yaml.safe_load(FLUX.read_text())["spec"]["healthCheckExprs"]
    assert (expressions["apiVersion"], expressions["kind"]) == (document["apiVersion"], document["kind"])
    if _unobserved(document):
        return "InProgress"
    for name, verdict in (("inProgress", "InProgress"), ("failed", "Failed"), ("current", "Current")):
        answer = cel.evaluate(expressions[name], document)
        assert isinstance(answer, bool), f"{name} is no yes or no"
        if answer:
            return verdict
    return "InProgress"


def kstatus(document: Json) -> str:
    """The rules of kstatus for a kind that it does not know: cli-utils, pkg/kstatus/status, `Compute`."""
    if document["metadata"].get("deletionTimestamp"):
        return "Terminating"
    if _unobserved(document):
        return "InProgress"
    conditions = (document.get("status") or {}).get("conditions") or []
    for condition in conditions:
        if (condition["type"], condition["status"]) == ("Reconciling", "True"):
            return "InProgress"
        if (condition["type"], condition["status"]) == ("Stalled", "True"):
            return "Failed"
    ready = [condition["status"] for condition in conditions if condition["type"] == "Ready"]
    return "Current" if ready in ([], ["True"]) else "InProgress"


def _unobserved(document: Json) -> bool:
    status: dict[str, Any] = document.get("status") or {}
    return "observedGeneration" in status and status["observedGeneration"] != document["metadata"]["generation"]
