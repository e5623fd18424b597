"""What the pages of the ledger say to people: what counts now, of how much, and when there is room again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from export_operator.domain import policy, quota
from export_operator.domain.evidence import request_of
from export_operator.domain.identity import Subject
from export_operator.domain.model import Key, Named
from export_operator.domain.pages import Entry, Page
from export_operator.domain.windows import Sliding, Window

DAY = Sliding(timedelta(days=1))


@dataclass(frozen=True, slots=True)
class Consumption:
    """One resource of one subject. `limit` and `policy` are those that hold today for its newest run; None and "" where
    there is no limit. `next_free`: when there is room for one more; None: now, or never where `full`."""

    subject: Subject
    resource: str
    used: int
    window: Window
    limit: int | None = None
    policy: str = ""
    full: bool = False
    next_free: datetime | None = None


def consumption(
    subject: Subject, page: Page, policies: Mapping[str, Named], defaults: policy.Defaults, now: datetime
) -> list[Consumption]:
    """Each resource that is limited, launches only where they are what is full; without a limit the last day's
    requests."""
    limit = _limit(subject, page, policies, defaults)
    if limit is None:
        used = quota.used(quota.counting(page, DAY, now), "requests")
        return [Consumption(subject, "requests", used, DAY)]
    counted = quota.counting(page, limit.window, now)
    one_more = Entry(run="", request=Key("", ""), uid="", time=now)
    asked = quota.reserve(page, one_more, quota.Demand(), limit, now)
    full = {state.resource: state for state in asked.states if state.full}
    return [
        Consumption(
            subject,
            resource,
            quota.used(counted, resource),
            limit.window,
            maximum,
            limit.policy,
            resource in full,
            full[resource].next_eligible if resource in full else None,
        )
        for resource in (*quota.RESOURCES, *({"launches"} & full.keys()))
        if (maximum := limit.of(resource)) is not None
    ]


def _limit(
    subject: Subject, page: Page, policies: Mapping[str, Named], defaults: policy.Defaults
) -> quota.WindowLimit | None:
    """The limit that the newest run of the page has there, under the policy that admitted it as that is today."""
    newest = max(page.entries, key=lambda entry: (entry.time, entry.run), default=None)
    if newest is None:
        return None
    request = request_of(newest)
    named = policies.get(newest.policy)
    rules = policy.Policy(named.name, named.spec) if named else policy.select(policies, request)
    limits = policy.window_limits(rules, request, defaults)
    return next((limit for limit in limits if limit.subject == subject), None)
