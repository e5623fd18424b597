"""What is called how: the chart's defaults, and where they are."""

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
CHART = REPOSITORY / "charts" / "export-operator"
SAMPLES = REPOSITORY / "manifests" / "samples"

RELEASE = "export-operator"
NAMESPACE = "export-operator"
DEPLOYMENT = "export-operator"
OPERATOR = "app.kubernetes.io/component=operator"
"""Selects the operator's pods."""
RUN_NAMESPACE = "export-runs"
LABEL_RUN = "export-operator.io/run"
LABEL_REQUEST_UID = "export-operator.io/request-uid"
API_VERSION = "export-operator.io/v1alpha1"
