"""What happens to a request that people want to be told of, read off its status: which events, for which channels.

Everything follows from a document and the moment, so whoever looks at the same request finds the same events with the
same ids, and a receiver can tell a repetition. CloudEvents 1.0 and Standard Webhooks give their form.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from string import Template
from typing import Any

from export_operator.domain import status, times
from export_operator.domain.channels import FACTS, Channel, Event, channels_of
from export_operator.domain.model import API_VERSION, TERMINAL_PHASES, Named, Request, parse_request
from export_operator.domain.policy import Policy, select

TYPE_PREFIX = "io.export-operator.request"
QUEUED_LONG_SECONDS = 900
EXPIRING_SECONDS = 86_400
QUOTA_NEAR_PERCENT = 80
MAX_TEXT = 512  # bytes of each text among the facts
NOT_NEW = frozenset({"Adopted", "RunIDUsed"})
"""Reasons of an end that repeats an earlier one, of which people were told then."""

OF_THE_END = frozenset(
    {
        *("phase", "reason", "message", "failureClass", "advice", "completionTime"),
        *("rows", "bytes", "uri", "manifestURI", "expirationTime"),
    }
)
"""Facts that a start is told without: it says the same whenever it is found."""
TITLES: Mapping[Event, str] = {
    Event.QUEUED_LONG: "Export ${namespace}/${name} still waits",
    Event.STARTED: "Export ${namespace}/${name} has started",
    Event.SUCCEEDED: "Export ${namespace}/${name} is ready",
    Event.PARTIALLY_SUCCEEDED: "Export ${namespace}/${name} is ready in part",
    Event.FAILED: "Export ${namespace}/${name} failed: ${reason}",
    Event.REJECTED: "Export ${namespace}/${name} was rejected: ${reason}",
    Event.CANCELLED: "Export ${namespace}/${name} was cancelled",
    Event.EXPIRING: "Export ${namespace}/${name} is deleted at ${expirationTime}",
    Event.QUOTA_NEAR: "Quota of ${quotaSubject}: ${quotaUsed} of ${quotaLimit} ${quotaResource} used",
}

LINES = (
    ("Dataset", "${dataset} of ${source}"),
    ("Asked for by", "${requester}"),
    ("Rows", "${rows}"),
    ("Bytes", "${bytes}"),
    ("Where", "${uri}"),
    ("Manifest", "${manifestURI}"),
    ("Kept until", "${expirationTime}"),
    ("What to do", "${advice}"),
)
"""The default text's lines after the first; one of which nothing is known is left out."""


@dataclass(frozen=True, slots=True)
class Notification:
    """Something that happened, once. `time` is when; who knows of everything until `until` knows of this."""

    id: str
    event: Event
    time: datetime
    until: datetime
    facts: Mapping[str, str | int]

    def cloud_event(self) -> bytes:
        """Structured mode, as JSON: the same bytes for the same notification, for they are signed."""
        facts = self.facts
        document = {
            "specversion": "1.0",
            "id": self.id,
            "source": f"/apis/{API_VERSION}/namespaces/{facts['namespace']}/exportrequests/{facts['name']}",
            "type": f"{TYPE_PREFIX}.{self.event.lower()}",
            "subject": facts["run"],
            "time": times.render(self.time),
            "datacontenttype": "application/json",
            "data": {name: facts[name] for name in FACTS if name in facts},
        }
        return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()

    def text(self, channel: Channel) -> tuple[str, str]:
        """Title and body for people, by the channel's templates or ours. What a template names and nobody knows is
        empty."""
        known = _Known({name: _readable(value) for name, value in self.facts.items()})
        title = " ".join(Template(channel.title or TITLES[self.event]).safe_substitute(known).split())  # one line
        if channel.body:
            return title, Template(channel.body).safe_substitute(known)
        first = self.facts.get("message") or title
        lines = [f"{label}: {_fill(text, self.facts)}" for label, text in LINES if _fill(text, self.facts)]
        return title, "\n".join([str(first), "", *lines, f"Event: {self.id}"])


class _Known(dict[str, str]):
    def __missing__(self, name: str) -> str:
        if name in FACTS:
            return ""
        raise KeyError(name)


def _fill(text: str, facts: Mapping[str, str | int]) -> str:
    """ "" when something is missing."""
    try:
        return Template(text).substitute({name: _readable(value) for name, value in facts.items()})
    except KeyError:
        return ""


def _readable(value: str | int) -> str:
    return f"{value:,}" if isinstance(value, int) else value


def due(
    document: Mapping[str, Any], policies: Mapping[str, Named], now: datetime
) -> list[tuple[Notification, tuple[str, ...]]]:
    """What the document tells by now, each with the keys of the channels that want it; nothing when none does."""
    told = document.get("status") or {}
    if not told.get("run"):
        return []
    request = parse_request(document)
    policy = select(policies, request)
    asked = request.spec.get("notify") or ()
    channels = [each for each in channels_of(policy).values() if each.always or each.name in asked]
    if not channels:
        return []
    wanted = frozenset[str]().union(*(channel.events for channel in channels))
    return [
        (found, tuple(channel.key for channel in channels if found.event in channel.events))
        for found in _happened(request, policy, now)
        if found.event in wanted
    ]


def turns_with_time(document: Mapping[str, Any]) -> bool:
    """Whether the document may tell something later that it does not tell now."""
    told = document.get("status") or {}
    return told.get("phase") == "Queued" or bool((told.get("result") or {}).get("expirationTime"))


def _happened(request: Request, policy: Policy, now: datetime) -> Iterator[Notification]:
    """In the order in which it happened, as far as the status still tells."""
    told, settings = request.status, policy.section("notifications")
    phase = str(told.get("phase") or "")
    ended = phase in TERMINAL_PHASES
    if told.get("reason") in NOT_NEW:
        return
    queued = times.parse(told.get("queuedTime"))
    if phase == "Queued" and queued is not None:
        late = queued + timedelta(seconds=int(settings.get("queuedLongSeconds") or QUEUED_LONG_SECONDS))
        if late <= now:
            yield _notification(request, Event.QUEUED_LONG, late)
    yield from _near(request, int(settings.get("quotaNearPercent") or QUOTA_NEAR_PERCENT))
    started = times.parse(told.get("startTime"))
    if started is not None:  # also of a run that has ended meanwhile: whoever counts starts and ends finds both
        yield _notification(request, Event.STARTED, started)
    completed = times.parse(told.get("completionTime"))
    if not ended or completed is None:
        return
    yield _notification(request, Event(status.ended_as(told)), completed)
    result = told.get("result") or {}
    expires = times.parse(result.get("expirationTime"))
    if expires is not None and not result.get("deleted"):
        # What is kept for a short time is told of half-way, not at once.
        lead = timedelta(seconds=int(settings.get("expiringSeconds") or EXPIRING_SECONDS))
        warned = expires - min(lead, (expires - completed) / 2)
        if warned <= now < expires:
            yield _notification(request, Event.EXPIRING, warned)


def _near(request: Request, percent: int) -> Iterator[Notification]:
    """Limits of which so much is used. Once a day for each: many runs meet the same one."""
    told = request.status
    reserved = [item for item in told.get("conditions") or () if item["type"] == "QuotaReserved"]
    moment = times.parse(reserved[0]["lastTransitionTime"]) if reserved else times.parse(told.get("queuedTime"))
    for state in told.get("quota") or () if moment is not None else ():
        used, limit = int(state["used"]), int(state["limit"])
        if state["scope"] not in {"User", "Namespace"} or used * 100 < percent * limit:
            continue
        assert moment is not None
        whose = request.requester if state["scope"] == "User" else request.key.namespace
        day = moment.replace(hour=0, minute=0, second=0, microsecond=0)
        what = "/".join([state["policy"], state["scope"], whose, state["resource"]])
        facts: dict[str, str | int] = {
            "quotaSubject": whose,
            "quotaResource": str(state["resource"]),
            "quotaUsed": used,
            "quotaLimit": limit,
            "message": (
                f"{state['scope']} {whose} has used {used:,} of {limit:,} {state['resource']} that policy"
                f" {state['policy']} allows in its window"
            ),
        }
        identity = f"quota-{hashlib.sha256(what.encode()).hexdigest()[:20]}-{day:%Y%m%d}"
        yield _notification(
            request, Event.QUOTA_NEAR, moment, more=facts, identity=identity, until=day + timedelta(days=1)
        )


def _notification(
    request: Request,
    event: Event,
    moment: datetime,
    *,
    more: Mapping[str, str | int] | None = None,
    identity: str = "",
    until: datetime | None = None,
) -> Notification:
    told = request.status
    effective, result, failure = (told.get(part) or {} for part in ("effective", "result", "failure"))
    identity = identity or f"{told['run']}-{event.lower()}"
    facts: dict[str, Any] = {
        "event": event.value,
        "time": times.render(moment),
        "id": identity,
        "namespace": request.key.namespace,
        "name": request.key.name,
        "uid": request.uid,
        "run": told["run"],
        "requester": request.requester,
        "phase": told.get("phase"),
        "reason": told.get("reason"),
        "message": told.get("message"),
        "failureClass": failure.get("class"),
        "advice": failure.get("advice"),
        **{name: effective.get(name) for name in ("policy", "source", "dataset", "destination", "format")},
        **{name: result.get(name) for name in ("rows", "bytes", "uri", "manifestURI", "expirationTime")},
        **{name: told.get(name) for name in ("queuedTime", "startTime", "completionTime")},
        **(more or {}),
    }
    left_out = OF_THE_END if event is Event.STARTED else frozenset()
    clean = {name: _clean(value) for name, value in facts.items() if value not in (None, "") and name not in left_out}
    return Notification(identity, event, moment, until or moment, clean)


def _clean(value: Any) -> str | int:
    """One line of bounded length: no text of a tenant's begins a line or a header of its own."""
    if isinstance(value, int):
        return value
    text = str(value)
    if not text.isprintable():
        text = "".join(character if character.isprintable() else " " for character in text)
    return status.clip(text, MAX_TEXT)
