"""Who manages an object of ours, read off the marks that tools leave on it.

Sources: Argo CD, Resource Tracking (the annotation tracking-id; the label instance, where it is configured) and
Resource Hooks; Flux, kustomize-controller and helm-controller (the labels with the owner's name); Helm,
pkg/action/validate.go (the annotation release-name, the label managed-by) and Chart Hooks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from export_operator.domain.model import LABEL_MANAGED_BY, Stamped

MARKERS: Mapping[str, tuple[str, ...]] = {
    "Argo CD": ("argocd.argoproj.io/tracking-id", "argocd.argoproj.io/instance"),
    "Flux": ("kustomize.toolkit.fluxcd.io/name", "helm.toolkit.fluxcd.io/name"),
    "Helm": ("meta.helm.sh/release-name", f"{LABEL_MANAGED_BY}=Helm"),
}
"""A label or annotation of the tool's, `key` or `key=value`, by its name."""

HOOKS = ("argocd.argoproj.io/hook", "helm.sh/hook")
"""On what a tool makes anew each time it acts, because it shall run each time."""


def keys(configured: Iterable[str] = ()) -> frozenset[str]:
    """Of the labels and annotations that are read here; of all others an object may have as many as it likes."""
    markers = (marker for each in (*MARKERS.values(), configured) for marker in each)
    return frozenset((*HOOKS, *(marker.partition("=")[0] for marker in markers)))


def hook(given: Stamped) -> bool:
    """It is an action of the tool's, and no state that is to be kept."""
    return any(given.annotations.get(key) not in {None, "Skip"} for key in HOOKS)


def manager(given: Stamped, configured: Iterable[str] = ()) -> str:
    """The tool that would bring the object back if it vanished; "" when there is none. `configured` are the platform
    team's own markers, each `key` or `key=value`."""
    if hook(given):
        return ""
    for name, markers in MARKERS.items():
        if any(_marked(given, marker) for marker in markers):
            return name
    return next((marker for marker in configured if _marked(given, marker)), "")


def _marked(given: Stamped, marker: str) -> bool:
    key, equals, value = marker.partition("=")
    found = [each[key] for each in (given.labels, given.annotations) if key in each]
    return value in found if equals else bool(found)
