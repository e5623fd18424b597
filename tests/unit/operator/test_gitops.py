"""Whose request is it: the marks of tools, as those tools write them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from export_operator.domain.gitops import hook, manager

from .builders import request

pytestmark = pytest.mark.unit

ARGO = {"argocd.argoproj.io/tracking-id": "app:export-operator.io/ExportRequest:team-a/users"}


@pytest.mark.parametrize(
    ("labels", "annotations", "expected"),
    [
        ({}, {}, ""),
        ({"team": "a"}, {"kubectl.kubernetes.io/last-applied-configuration": "{}"}, ""),
        ({"app.kubernetes.io/managed-by": "kustomize"}, {}, ""),
        ({}, ARGO, "Argo CD"),
        ({"argocd.argoproj.io/instance": "app"}, {}, "Argo CD"),
        ({"kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": "flux"}, {}, "Flux"),
        ({"helm.toolkit.fluxcd.io/name": "apps"}, {"meta.helm.sh/release-name": "apps"}, "Flux"),
        ({"app.kubernetes.io/managed-by": "Helm"}, {"meta.helm.sh/release-name": "apps"}, "Helm"),
        ({"app.kubernetes.io/managed-by": "Helm"}, {}, "Helm"),
        ({}, ARGO | {"argocd.argoproj.io/hook": "PostSync"}, ""),
        ({}, ARGO | {"argocd.argoproj.io/hook": "Skip"}, "Argo CD"),
        ({"app.kubernetes.io/managed-by": "Helm"}, {"helm.sh/hook": "pre-upgrade"}, ""),
    ],
)
def test_a_tool_is_known_by_its_marks(labels: dict[str, str], annotations: dict[str, str], expected: str) -> None:
    marked = replace(request(), labels=labels, annotations=annotations)
    assert (manager(marked), hook(marked)) == (
        expected,
        any("/hook" in key and value != "Skip" for key, value in annotations.items()),
    )


@pytest.mark.parametrize(
    ("marker", "expected"),
    [
        ("fleet.example/owner", "fleet.example/owner"),
        ("fleet.example/owner=robot", "fleet.example/owner=robot"),
        ("fleet.example/owner=human", ""),
        ("note", "note"),
        ("note=", "note="),
        ("absent", ""),
    ],
)
def test_the_platform_team_names_marks_of_its_own(marker: str, expected: str) -> None:
    marked = replace(request(), labels={"fleet.example/owner": "robot"}, annotations={"note": ""})
    assert manager(marked, (marker,)) == expected
