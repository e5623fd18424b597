"""Which policy applies to a request, and what it resolves to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from export_operator.domain.identity import Subject, subject_of
from export_operator.domain.model import Named, Request
from export_operator.domain.quota import RESOURCES, WindowLimit
from export_operator.domain.windows import CalendarDay, Sliding, Window

BUILT_IN = "built-in"
UTC = ZoneInfo("UTC")

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
    "priority": "Normal",
}
"""What holds where neither the request nor the policy says: one minute to run, a week in the queue (a full window frees
itself within a day or, for monthly ones, not soon), five minutes to start (an image pull on a slow registry)."""


PRIORITIES = ("Low", "Normal", "High")  # ascending

CEILINGS: Mapping[str, Any] = {"priority": "Normal"}
"""What bounds a request where the policy does not: High takes turns from others, so it must be granted."""

REFUND_ON = ("Infrastructure", "Quota", "Source", "Destination", "Preflight")
"""What is no fault of the requester's, or cost nothing."""


Amounts = Mapping[str, int]
"""Requests, rows and bytes; what is absent is not limited."""


@dataclass(frozen=True, slots=True)
class Defaults:
    """The chart's answer where no policy speaks."""

    requests_per_user: int = 5
    window: timedelta = timedelta(days=1)
    cluster: Amounts = field(default_factory=dict)
    """What all runs together may use within `window`, whatever the policies say."""
    key: tuple[Any, ...] = field(init=False, repr=False, compare=False)
    """What tells these from others."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", (self.requests_per_user, self.window, *self.cluster.items()))


@dataclass(frozen=True, slots=True)
class SelectedBy:
    """What a policy's selector matched: a User, Group or Namespace. Everyone and BuiltIn have no name."""

    kind: str
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """An ExportPolicy and why it applies, or the built-in one."""

    name: str
    spec: Mapping[str, Any]
    selected_by: SelectedBy = SelectedBy("BuiltIn")

    def section(self, name: str) -> Mapping[str, Any]:
        section = self.spec.get(name)
        return section if isinstance(section, Mapping) else {}

    def default(self, name: str) -> Any:
        """The policy's default of a request's field, or the product's."""
        value = self.section("defaults").get(name)
        return FALLBACKS.get(name) if value is None else value

    def maximum(self, name: str) -> Any:
        """The most that a request may ask for; None where nothing bounds it."""
        value = self.section("maxima").get(name)
        return CEILINGS.get(name) if value is None else value

    def allowed(self, kind: str) -> tuple[str, ...] | None:
        """The names that are allowed of `kind` (sources, destinations, formats or layouts); None when all are."""
        section = self.section("allowed")
        names = tuple(section.get(kind) or ()) or None
        if kind != "sources" or not (datasets := section.get("datasets")):
            return names
        # A source none of whose datasets is allowed is of no use.
        having = dict.fromkeys(item["source"] for item in datasets)
        return tuple(name for name in having if names is None or name in names)

    @property
    def refund_on(self) -> frozenset[str]:
        """After which failures a run does not count: classes of failures, and Preflight."""
        given = self.section("limits").get("refundOn")
        return frozenset(REFUND_ON if given is None else given)

    def object_ttl(self, *, fallback: bool) -> timedelta | None:
        """How long delivered objects are kept, or those in a fallback; None: until somebody deletes them."""
        retention = self.section("retention")
        seconds = retention.get("fallbackTTLSeconds") if fallback else None
        seconds = retention.get("objectTTLSeconds") if seconds is None else seconds
        return None if seconds is None else timedelta(seconds=int(seconds))

    @property
    def weight(self) -> int:
        """The share of turns in the queue of each user whom the policy selects."""
        return int(self.spec.get("weight") or 1)

    def max_queued(self, request: Request) -> Mapping[Subject, int | None]:
        """Of how many requests may wait at once, by whom they count against; None is no limit."""
        subjects = (
            ("user", subject_of(request)),
            ("namespace", Subject("Namespace", request.key.namespace)),
            ("all", Subject("Policy", self.name)),
        )
        limits = self.section("limits")
        found: dict[Subject, int | None] = {}
        for scope, subject in subjects:
            limit = (limits.get(scope) or {}).get("maxQueued")
            known = found.get(subject)
            found[subject] = limit if known is None else known if limit is None else min(known, limit)
        return found

    def allows(self, kind: str, name: str) -> bool:
        """Whether `name` is among those `allowed`."""
        allowed = self.allowed(kind)
        return allowed is None or name in allowed

    def allowed_datasets(self, source: str) -> Mapping[str, tuple[str, ...] | None] | None:
        """The datasets of `source` that are allowed, each with its columns (None: all); None when all datasets are."""
        listed = self.section("allowed").get("datasets")
        if not listed:
            return None
        return {
            item["dataset"]: tuple(item.get("columns") or ()) or None for item in listed if item["source"] == source
        }


def select(policies: Mapping[str, Named], request: Request) -> Policy:
    """The most specific policy that selects the request: one with a list of users goes before one without, then one
    with groups, then one with namespaces; among equals the first by name. Every list that is given must match. Groups
    count only where they were attested."""
    requester, groups, namespace = request.requester, request.groups, request.key.namespace
    best: Named | None = None
    for policy in policies.values():
        in_users, in_groups, in_namespaces = policy.selectors
        if (
            (in_users and requester not in in_users)
            or (in_namespaces and namespace not in in_namespaces)
            or (in_groups and in_groups.isdisjoint(groups))
        ):
            continue
        if best is None or policy.specificity < best.specificity:
            best = policy
    return Policy(BUILT_IN, {}) if best is None else Policy(best.name, best.spec, _reason(best, request))


def _reason(policy: Named, request: Request) -> SelectedBy:
    """What the most specific list of the selector matched."""
    users, groups, namespaces = policy.selectors
    if users:
        return SelectedBy("User", request.requester)
    if groups:
        return SelectedBy("Group", min(groups & request.groups))
    return SelectedBy("Namespace", request.key.namespace) if namespaces else SelectedBy("Everyone")


@lru_cache(maxsize=1024)
def find_zone(name: str) -> ZoneInfo | None:
    """The time zone, or None where this machine's database does not have it (the API server's may be newer)."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def window_of(policy: Policy, defaults: Defaults) -> Window:
    """How long what is used under the policy counts. A day of a time zone that is not known here is one of UTC's."""
    limits = policy.section("limits")
    if zone := (limits.get("calendar") or {}).get("timeZone"):
        return CalendarDay(find_zone(zone) or UTC)
    seconds = limits.get("windowSeconds")
    return Sliding(timedelta(seconds=seconds) if seconds else defaults.window)


def window_limits(policy: Policy, request: Request, defaults: Defaults) -> tuple[WindowLimit, ...]:
    """The windows that the request must find room in, in the order in which they are reserved: of the user, the
    namespace, all whom the policy selects, and the cluster. Only those that limit something."""
    limits = policy.section("limits")
    user: Amounts = {"requests": defaults.requests_per_user, **_amounts(limits.get("user"))}
    namespace = _amounts(limits.get("namespace"))
    owner, place = subject_of(request), Subject("Namespace", request.key.namespace)
    if owner == place:
        # A service account's own window already is its namespace's: the tighter of both limits holds there.
        user, namespace = {}, _tighter(user, namespace)
    window = window_of(policy, defaults)
    scopes = (
        WindowLimit(owner, "User", window, policy.name, **user),
        WindowLimit(place, "Namespace", window, policy.name, **namespace),
        WindowLimit(Subject("Policy", policy.name), "Policy", window, policy.name, **_amounts(limits.get("all"))),
        WindowLimit(Subject("Cluster", "all"), "Cluster", Sliding(defaults.window), BUILT_IN, **defaults.cluster),
    )
    return tuple(limit for limit in scopes if any(limit.of(resource) is not None for resource in RESOURCES))


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for a person in a namespace, whatever is asked for: it depends on the catalogue and the chart alone.
    `limits` are those of `window_limits`, `max_queued` those of the policy."""

    policy: Policy
    owner: Subject
    limits: tuple[WindowLimit, ...]
    max_queued: Mapping[Subject, int | None]
    weight: int


def find_terms(policies: Mapping[str, Named], request: Request, defaults: Defaults) -> Terms:
    """The terms of whoever made the request."""
    policy = select(policies, request)
    limits = window_limits(policy, request, defaults)
    return Terms(policy, subject_of(request), limits, policy.max_queued(request), policy.weight)


def _amounts(scope: Mapping[str, Any] | None) -> Amounts:
    return {resource: int(scope[resource]) for resource in RESOURCES if scope and scope.get(resource) is not None}


def _tighter(one: Amounts, other: Amounts) -> Amounts:
    return {
        resource: min(amounts[resource] for amounts in (one, other) if resource in amounts)
        for resource in RESOURCES
        if resource in one or resource in other
    }
