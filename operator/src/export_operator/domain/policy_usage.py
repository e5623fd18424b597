"""What those whom a policy selects use, read off the ledger and the requests: for people to see, nothing is decided on
it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from export_operator.domain.identity import Subject, subject
from export_operator.domain.pages import Bucket, Entry, Page
from export_operator.domain.quota import counting
from export_operator.domain.windows import Window

MOST = 5  # users and namespaces that status names


@dataclass(slots=True)
class Used:
    """What counts in a window, summed up."""

    requests: int = 0
    rows: int = 0
    bytes: int = 0

    def add(self, item: Entry | Bucket) -> None:
        self.requests += item.requests
        self.rows += item.rows
        self.bytes += item.bytes

    def as_status(self) -> dict[str, Any]:
        return {"requests": self.requests, "rows": self.rows, "bytes": self.bytes}


@dataclass(slots=True)
class PolicyUsage:
    """`status.usage` of a policy in the making."""

    window: Window
    running: int = 0
    queued: int = 0
    total: Used = field(default_factory=Used)
    users: defaultdict[str, Used] = field(default_factory=lambda: defaultdict(Used))
    namespaces: defaultdict[str, Used] = field(default_factory=lambda: defaultdict(Used))
    page: Used | None = None

    def as_status(self) -> dict[str, Any]:
        # The policy's own page, if it has one, knows also of runs that the pages of busy users have summed up.
        total = self.total if self.page is None else self.page
        shares = {"users": _most(self.users), "namespaces": _most(self.namespaces)}
        return {"running": self.running, "queued": self.queued, **total.as_status()} | {
            name: share for name, share in shares.items() if share
        }


class Tally:
    """What each policy's window holds `now`. Pages of the ledger and requests are added one by one, so that the caller
    can do other things in between."""

    def __init__(self, windows: Mapping[str, Window], now: datetime) -> None:
        self._now = now
        self._begins = {name: window.begins(now) for name, window in windows.items()}
        self._usages = {name: PolicyUsage(window) for name, window in windows.items()}

    def add_page(self, whose: Subject, page: Page) -> None:
        """A run stands in the pages of several subjects; it is counted in that of its owner."""
        if whose.kind == "Policy":
            if (usage := self._usages.get(whose.name)) is not None:
                usage.page = Used()
                for item in counting(page, usage.window, self._now):
                    usage.page.add(item)
            return
        for entry in page.entries:
            begins = self._begins.get(entry.policy)
            if begins is None or entry.time < begins or not entry.requests:
                continue
            if subject(entry.user, entry.request.namespace) == whose:
                usage = self._usages[entry.policy]
                for used in (usage.total, usage.users[entry.user], usage.namespaces[entry.request.namespace]):
                    used.add(entry)

    def add_request(self, status: Mapping[str, Any]) -> None:
        """A request, by its status."""
        usage = self._usages.get((status.get("effective") or {}).get("policy", ""))
        if usage is None:
            return
        match status.get("phase"):
            case "Queued":
                usage.queued += 1
            case "Running":
                usage.running += 1
            case "Pending" if status.get("jobRef"):
                usage.running += 1

    def as_status(self, policy: str) -> dict[str, Any] | None:
        """`status.usage`; None for a policy that was not there when the tally began."""
        usage = self._usages.get(policy)
        return None if usage is None else usage.as_status()


def _most(shares: Mapping[str, Used]) -> list[dict[str, Any]]:
    ranked = sorted(shares.items(), key=lambda item: (-item[1].requests, -item[1].bytes, -item[1].rows, item[0]))
    return [{"name": name, **used.as_status()} for name, used in ranked[:MOST]]
