"""What requests are told apart by in metrics: names of the platform team's objects, phases and reasons; and apart from
these, namespaces. Nothing that grows with the number of requests, and nothing that a tenant wrote."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

MAX_SERIES = 1_000
"""Combinations told apart, in one metric. A pod may invent reasons: whatever is beyond is summed up."""
MAX_TENANTS = 2_000
"""Namespaces and phases told apart."""
OTHER = "other"


class Labels(NamedTuple):
    """In the order of `LABELS`; "" where it is not known (yet)."""

    phase: str
    reason: str
    failure_class: str
    policy: str
    source: str
    destination: str
    format: str


class Tenant(NamedTuple):
    """In the order of `TENANT_LABELS`. Prometheus calls the namespace of what it scrapes `namespace`."""

    namespace: str
    phase: str


TENANT_LABELS = ("tenant", "phase")
LABELS = ("phase", "reason", "class", "policy", "source", "destination", "format")


def labels_of(status: Mapping[str, Any]) -> Labels:
    """Of a request, by its status. Source and destination stand there only once they are known to exist: what a tenant
    wrote may be anything."""
    effective = status.get("effective") or {}
    return Labels(
        phase=str(status.get("phase") or "Pending"),
        reason=str(status.get("reason") or ""),
        failure_class=str((status.get("failure") or {}).get("class") or ""),
        policy=str(effective.get("policy") or ""),
        source=str(effective.get("source") or ""),
        destination=str(effective.get("destination") or ""),
        format=str(effective.get("format") or ""),
    )


def bounded(labels: Labels, known: Collection[Labels]) -> Labels:
    """The labels, or those that sum up when so many are known already and these are not among them."""
    if labels in known or len(known) < MAX_SERIES:
        return labels
    return Labels(labels.phase, OTHER, "", "", "", "", "")


def bounded_tenant(tenant: Tenant, known: Collection[Tenant]) -> Tenant:
    """Likewise."""
    return tenant if tenant in known or len(known) < MAX_TENANTS else Tenant(OTHER, tenant.phase)
