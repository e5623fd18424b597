"""Which policy applies to a request, and what it resolves to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from export_operator.domain.identity import Subject, subject_of
from export_operator.domain.model import Named, Request
from export_operator.domain.quota import WindowLimit

BUILT_IN = "built-in"

FALLBACKS: Mapping[str, Any] = {
    "format": "CSV",
    "compression": "None",
    "layout": "SingleObject",
    "runDeadlineSeconds": 60,
    "queueDeadlineSeconds": 7 * 86_400,
    "startDeadlineSeconds": 300,
    "ttlSecondsAfterFinished": 7 * 86_400,
    "onDeadline": "Fail",
    "onQuotaExceeded": "Queue",
    "consistency": "Auto",
    "resume": "Auto",
}
"""What holds where neither the request nor the policy says: one minute to run, a week in the queue (a full window frees
itself within a day or, for monthly ones, not soon), five minutes to start (an image pull on a slow registry)."""


@dataclass(frozen=True, slots=True)
class Defaults:
    """The chart's answer where no policy speaks."""

    requests_per_user: int = 5
    window: timedelta = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Policy:
    """An ExportPolicy, or the built-in one."""

    name: str
    spec: Mapping[str, Any]

    def section(self, name: str) -> Mapping[str, Any]:
        section = self.spec.get(name)
        return section if isinstance(section, Mapping) else {}

    def default(self, name: str) -> Any:
        """The policy's default of a request's field, or the product's."""
        value = self.section("defaults").get(name)
        return FALLBACKS.get(name) if value is None else value

    def allows(self, kind: str, name: str) -> bool:
        """`kind` is sources, destinations, formats or layouts; an empty list allows all."""
        allowed = self.section("allowed").get(kind) or ()
        return not allowed or name in allowed


def select(policies: Mapping[str, Named], request: Request) -> Policy:
    """The most specific policy that matches: one that names the user, then a group of theirs, then the namespace, then
    one for everyone; among equals the first by name. Groups count only where they were attested."""
    ranked = sorted(
        (rank, policy.name, policy) for policy in policies.values() if (rank := _rank(policy, request)) is not None
    )
    if ranked:
        return Policy(ranked[0][1], ranked[0][2].spec)
    return Policy(BUILT_IN, {})


def _rank(policy: Named, request: Request) -> int | None:
    """How specific a match is, 0 being the most; None when a list that the selector gives does not match."""
    selector = policy.spec.get("selector") or {}
    users, groups, namespaces = (selector.get(kind) or () for kind in ("users", "groups", "namespaces"))
    matches = (
        (users, request.requester in users),
        (groups, bool(request.groups.intersection(groups))),
        (namespaces, request.key.namespace in namespaces),
    )
    if any(given and not matched for given, matched in matches):
        return None
    return next((rank for rank, (given, _) in enumerate(matches) if given), len(matches))


def window_limits(policy: Policy, request: Request, defaults: Defaults) -> tuple[WindowLimit, ...]:
    """The windows that the request must find room in, in the order in which they are reserved: user, then namespace."""
    limits = policy.section("limits")
    window = timedelta(seconds=limits["windowSeconds"]) if limits.get("windowSeconds") else defaults.window
    user_limit = (limits.get("user") or {}).get("requests")
    namespace_limit = (limits.get("namespace") or {}).get("requests")
    subject = subject_of(request)
    if user_limit is None:
        user_limit = defaults.requests_per_user
    # A service account's own window already is its namespace's: the tighter of both limits holds there.
    if subject.kind == "Namespace":
        tightest = user_limit if namespace_limit is None else min(user_limit, namespace_limit)
        return (WindowLimit(subject, "Namespace", tightest, window, policy.name),)
    found = [WindowLimit(subject, "User", user_limit, window, policy.name)]
    if namespace_limit is not None:
        found.append(
            WindowLimit(Subject("Namespace", request.key.namespace), "Namespace", namespace_limit, window, policy.name)
        )
    return tuple(found)
