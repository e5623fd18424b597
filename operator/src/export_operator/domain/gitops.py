"""Who manages a request, read off the marks that tools leave on it.

Sources: Argo CD, Resource Tracking (the annotation tracking-id; the label instance, where it is configured) and
Resource Hooks; Flux, kustomize-controller and helm-controller (the labels with the owner's name); Helm,
pkg/action/validate.go (the annotation release-name, the label managed-by) and Chart Hooks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from export_operator.domain.model import LABEL_MANAGED_BY, Request

MARKERS: Mapping[str, tuple[str, ...]] = {
    "Argo CD": ("argocd.argoproj.io/tracking-id", "argocd.argoproj.io/instance"),
    "Flux": ("kustomize.toolkit.fluxcd.io/name", "helm.toolkit.fluxcd.io/name"),
    "Helm": ("meta.helm.sh/release-name", f"{LABEL_MANAGED_BY}=Helm"),
}
"""A label or annotation of the tool's, `key` or `key=value`, by its name."""

HOOKS = ("argocd.argoproj.io/hook", "helm.sh/hook")
"""On what a tool makes anew each time it acts, because it shall run each time."""


def hook(request: Request) -> bool:
    """It is an action of the tool's, and no state that is to be kept."""
    return any(request.annotations.get(key) not in {None, "Skip"} for key in HOOKS)


def manager(request: Request, configured: Iterable[str] = ()) -> str:
    """The tool that would bring the request back if it vanished; "" when there is none. `configured` are the platform
    team's own markers, each `key` or `key=value`."""
    if hook(request):
        return ""
    for name, markers in MARKERS.items():
        if any(_marked(request, marker) for marker in markers):
            return name
    return next((marker for marker in configured if _marked(request, marker)), "")


def _marked(request: Request, marker: str) -> bool:
    key, equals, value = marker.partition("=")
    found = [each[key] for each in (request.labels, request.annotations) if key in each]
    return value in found if equals else bool(found)
