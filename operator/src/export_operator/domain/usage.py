"""ExportUsage, the object that a page of the ledger stands in: read and written as documents."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from sys import intern
from typing import Any

from export_operator.domain import times
from export_operator.domain.identity import Subject
from export_operator.domain.model import API_VERSION, Key
from export_operator.domain.pages import Bucket, Entry, Page, State
from export_operator.domain.tombstones import Tombstone, Tombstones

FORMAT = 1  # `spec.version`: it rises when an older operator could miscount what a newer one wrote
SLOTS = Subject("Slots", "all")


@dataclass(frozen=True, slots=True)
class Usage:
    """An ExportUsage as read. `fault` says why it cannot be; "" when it can."""

    name: str
    resource_version: str
    subject: Subject = field(default_factory=lambda: Subject("", ""))
    page: Page = field(default_factory=Page)
    fault: str = ""


def usage_name(subject: Subject) -> str:
    """User names are free text: the object's name is a hash of 160 bits, the text stands inside."""
    if subject == SLOTS:
        return "slots"
    return f"{subject.kind.lower()}-{hashlib.sha256(subject.name.encode()).hexdigest()[:40]}"


def parse_usage(body: Mapping[str, Any]) -> Usage:
    """An object that is not what we wrote is unreadable, not empty: nobody shall win quota by damaging it."""
    name, version = body["metadata"]["name"], body["metadata"]["resourceVersion"]
    try:
        spec = body["spec"]
        if spec.get("version", FORMAT) > FORMAT:
            return Usage(name, version, fault=f"its version {spec['version']} is newer than this operator")
        subject = Subject(spec["subject"]["kind"], spec["subject"]["name"])
        if usage_name(subject) != name:
            return Usage(name, version, fault="it is named after another subject")
        entries = tuple(parse_entry(item) for item in spec.get("entries") or ())
        folded = tuple(parse_bucket(item) for item in spec.get("folded") or ())
        stones = tuple(parse_tombstone(item) for item in spec.get("tombstones") or ())
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        return Usage(name, version, fault=f"it is damaged ({type(error).__name__}: {error})"[:200])
    if len({entry.run for entry in entries}) < len(entries):
        return Usage(name, version, fault="it is damaged (a run stands in it twice)")
    tombstones = Tombstones(stones, bool(spec.get("forgotten")))
    return Usage(name, version, subject, Page(entries, folded, tombstones))


def render_usage(namespace: str, subject: Subject, page: Page) -> dict[str, Any]:
    """The document of a page. What an entry does not say is left out."""
    spec: dict[str, Any] = {
        "version": FORMAT,
        "subject": {"kind": subject.kind, "name": subject.name},
        "entries": [render_entry(entry) for entry in page.entries],
    }
    if page.folded:
        spec["folded"] = [_render_bucket(bucket) for bucket in page.folded]
    if page.tombstones.stones:
        spec["tombstones"] = [_render_tombstone(stone) for stone in page.tombstones.stones]
    if page.tombstones.forgotten:
        spec["forgotten"] = True
    return {
        "apiVersion": API_VERSION,
        "kind": "ExportUsage",
        "metadata": {"name": usage_name(subject), "namespace": namespace},
        "spec": spec,
    }


def parse_entry(item: Mapping[str, Any]) -> Entry:
    """What thousands of entries name alike is kept once."""
    return Entry(
        run=item["run"],
        request=Key(intern(item["namespace"]), item["name"]),
        uid=item["uid"],
        time=_moment(item["time"]),
        user=intern(item.get("user", "")),
        source=intern(item.get("source", "")),
        destination=intern(item.get("destination", "")),
        policy=intern(item.get("policy", "")),
        state=State(item.get("state", State.RESERVED)),
        rows=_count(item.get("rows", 0)),
        bytes=_count(item.get("bytes", 0)),
    )


def render_entry(entry: Entry) -> dict[str, Any]:
    rendered = {
        "run": entry.run,
        "namespace": entry.request.namespace,
        "name": entry.request.name,
        "uid": entry.uid,
        "time": times.render(entry.time),
        "user": entry.user,
        "source": entry.source,
        "destination": entry.destination,
        "policy": entry.policy,
        "state": str(entry.state),
        "rows": entry.rows,
        "bytes": entry.bytes,
    }
    return {name: value for name, value in rendered.items() if value not in ("", 0)}


def parse_bucket(item: Mapping[str, Any]) -> Bucket:
    return Bucket(
        since=_moment(item["since"]),
        until=_moment(item["until"]),
        requests=_count(item["requests"]),
        launches=_count(item["launches"]),
        rows=_count(item["rows"]),
        bytes=_count(item["bytes"]),
    )


def _render_bucket(bucket: Bucket) -> dict[str, Any]:
    return {
        "since": times.render(bucket.since),
        "until": times.render(bucket.until),
        "requests": bucket.requests,
        "launches": bucket.launches,
        "rows": bucket.rows,
        "bytes": bucket.bytes,
    }


def parse_tombstone(item: Mapping[str, Any]) -> Tombstone:
    """Likewise."""
    return Tombstone(
        request=Key(intern(item["namespace"]), item["name"]),
        uid=item["uid"],
        user=intern(item["user"]),
        digest=intern(item["digest"]),
        run=item["run"],
        run_id=item.get("runID", ""),
        phase=intern(item["phase"]),
        ended=_moment(item["ended"]),
        time=_moment(item["time"]),
        expired=bool(item.get("expired")),
        result=dict(item.get("result") or {}),
        failure=dict(item.get("failure") or {}),
    )


def _render_tombstone(stone: Tombstone) -> dict[str, Any]:
    rendered = {
        "namespace": stone.request.namespace,
        "name": stone.request.name,
        "uid": stone.uid,
        "user": stone.user,
        "digest": stone.digest,
        "run": stone.run,
        "runID": stone.run_id,
        "phase": stone.phase,
        "ended": times.render(stone.ended),
        "time": times.render(stone.time),
        "expired": stone.expired,
        "result": dict(stone.result),
        "failure": dict(stone.failure),
    }
    return {name: value for name, value in rendered.items() if value not in ("", False, {})}


def _moment(text: str) -> datetime:
    moment = times.parse(text)
    if moment is None:
        raise ValueError(f"{text[:40]!r} is no time")
    return moment


def _count(value: int) -> int:
    if value < 0:
        raise ValueError(f"{value} is below 0")
    return int(value)
