"""The channels by which people and programs are told: made by the platform team in an ExportPolicy, picked by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from string import Template

from export_operator.domain.model import Named
from export_operator.domain.policy import Policy


class Event(StrEnum):
    """As channels name it."""

    QUEUED_LONG = "QueuedLong"
    STARTED = "Started"
    SUCCEEDED = "Succeeded"
    PARTIALLY_SUCCEEDED = "PartiallySucceeded"
    FAILED = "Failed"
    REJECTED = "Rejected"
    CANCELLED = "Cancelled"
    EXPIRING = "Expiring"
    QUOTA_NEAR = "QuotaNear"


ENDS = (Event.SUCCEEDED, Event.PARTIALLY_SUCCEEDED, Event.FAILED, Event.REJECTED, Event.CANCELLED)

FACTS = (
    *("event", "time", "id", "namespace", "name", "uid", "run", "requester", "policy", "phase", "reason", "message"),
    *("source", "dataset", "destination", "format", "rows", "bytes", "uri", "manifestURI", "expirationTime"),
    *("failureClass", "advice", "queuedTime", "startTime", "completionTime"),
    *("quotaSubject", "quotaResource", "quotaUsed", "quotaLimit"),
)
"""What a template may name, and what an event's `data` may have."""


@dataclass(frozen=True, slots=True)
class Channel:
    """A way to people or programs that the platform team has made. `key` tells it from all others."""

    policy: str
    name: str
    type: str
    secret: str
    events: frozenset[str]
    always: bool = False
    networks: tuple[str, ...] = ()
    plain: bool = False
    """URLs without TLS are taken."""
    title: str = ""
    body: str = ""

    @property
    def key(self) -> str:
        return f"{self.policy}/{self.name}"


def unknown_names(template: str) -> list[str]:
    """What a template names that no event has, or what is wrong with it."""
    found = Template(template)
    return [*sorted(set(found.get_identifiers()) - set(FACTS)), *([] if found.is_valid() else ["$"])]


def channels_of(policy: Named | Policy) -> dict[str, Channel]:
    """By name."""
    section = policy.spec.get("notifications") or {}
    found = {}
    for item in section.get("channels") or ():
        template = item.get("template") or {}
        found[str(item["name"])] = Channel(
            policy=policy.name,
            name=str(item["name"]),
            type=str(item["type"]),
            secret=str(item["secretRef"]["name"]),
            events=frozenset(item.get("events") or ENDS),
            always=bool(item.get("always")),
            networks=tuple(item.get("allowedNetworks") or ()),
            plain=bool(item.get("allowPlainHTTP")),
            title=str(template.get("title") or ""),
            body=str(template.get("body") or ""),
        )
    return found


def all_channels(policies: Mapping[str, Named]) -> dict[str, Channel]:
    """Those of all policies, by key."""
    return {channel.key: channel for policy in policies.values() for channel in channels_of(policy).values()}
