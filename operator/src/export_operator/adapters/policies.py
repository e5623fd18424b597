"""The status of ExportPolicies: whether each is in force, and what those whom it selects use."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from export_operator.adapters.cluster import Cluster
from export_operator.adapters.kube import ApiError, path_of
from export_operator.adapters.ledger import Ledger
from export_operator.domain import policy_usage, standing, status
from export_operator.domain.model import GROUP, VERSION
from export_operator.domain.policy import Defaults, Policy, window_of
from export_operator.store import CATALOGUE, Store

log = logging.getLogger(__name__)

TICK_SECONDS = 1.0
USAGE_SECONDS = 15.0  # what is used is summed up so often, and written at most so often for each policy
MAX_WRITES = 5  # in one tick: many policies that change at once take turns
BATCH = 1000  # requests looked at before others have their turn

KIND = "exportpolicies"
DELIVERED = "NotificationsDelivered"
"""A condition."""


class PolicyReporter:
    """Writes statuses when they have changed, at a bounded rate. It reads what the operator keeps in memory anyway."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        store: Store,
        ledger: Ledger,
        defaults: Defaults,
        clock: Callable[[], datetime],
        timer: Callable[[], float],
        delivery: Callable[[str], tuple[bool, str] | None] = lambda _: None,
    ) -> None:
        """`clock` is the time of day in UTC, `timer` seconds that only go forward. `delivery` tells of a policy whether
        its channels deliver, and what there is to say of it; None where it has none."""
        self._delivery = delivery
        self._cluster = cluster
        self._store = store
        self._ledger = ledger
        self._defaults = defaults
        self._clock = clock
        self._timer = timer
        self._seen: frozenset[tuple[str, str, int]] = frozenset()
        self._standings: dict[str, tuple[int, standing.Standing]] = {}  # with the generation that was looked at
        self._tally: policy_usage.Tally | None = None
        self._tally_due = 0.0
        self._written: dict[str, float] = {}

    async def run(self) -> None:
        """Report until cancelled."""
        while True:
            await self.once()
            await asyncio.sleep(TICK_SECONDS)

    async def once(self) -> None:
        """Bring up to date what has changed, as much of it as may be written now."""
        await self._judge()
        now = self._timer()
        if now >= self._tally_due:
            self._tally = await self._sum_up()
            self._tally_due = now + USAGE_SECONDS
        due = []
        for name, document in self._store.documents[KIND].items():
            composed = self._compose(name, document)
            known, last = document.get("status") or {}, self._written.get(name, -USAGE_SECONDS)
            if composed is None or composed == known:
                continue
            news = composed.get("conditions") != known.get("conditions")
            if news or now - last >= USAGE_SECONDS:
                due.append((not news, last, name, document, composed))
        for _, _, name, document, composed in sorted(due, key=lambda item: item[:3])[:MAX_WRITES]:
            self._written[name] = now
            await self._write(name, document, composed)

    async def _judge(self) -> None:
        """Anew when a spec has changed: what one policy says may hang on another, and on what sources offer."""
        seen = frozenset(
            (kind, name, int(document["metadata"].get("generation") or 0))
            for kind in CATALOGUE
            for name, document in self._store.documents[kind].items()
        )
        if seen == self._seen:
            return
        catalogue, found = self._store.catalogue(), {}
        for policy in list(catalogue.policies.values()):
            found[policy.name] = (policy.generation, standing.judge(policy, catalogue))
            await asyncio.sleep(0)
        self._seen, self._standings = seen, found

    async def _sum_up(self) -> policy_usage.Tally:
        policies = self._store.catalogue().policies.values()
        windows = {policy.name: window_of(Policy(policy.name, policy.spec), self._defaults) for policy in policies}
        tally = policy_usage.Tally(windows, self._clock())
        for subject in self._ledger.subjects():
            if (page := self._ledger.page(subject)) is not None:
                tally.add_page(subject, page)
            await asyncio.sleep(0)
        for number, document in enumerate(list(self._store.requests.values())):
            tally.add_request(document.get("status") or {})
            if number % BATCH == BATCH - 1:
                await asyncio.sleep(0)
        return tally

    def _compose(self, name: str, document: Mapping[str, Any]) -> dict[str, Any] | None:
        """The status that the policy should have; None while it has not been judged."""
        if name not in self._standings:
            return None
        generation, found = self._standings[name]
        known = document.get("status") or {}
        made = status.Document(
            {"observedGeneration": generation}, list(known.get("conditions") or ()), generation, self._clock()
        )
        made.condition("Accepted", found.accepted, found.reason, found.message)
        delivery = self._delivery(name)
        if delivery is None:
            made.drop_condition(DELIVERED)
        else:
            made.condition(DELIVERED, delivery[0], "Delivering" if delivery[0] else "DeliveryFailing", delivery[1])
        usage = self._tally.as_status(name) if self._tally is not None else None
        if (shown := usage or known.get("usage")) is not None:
            made.fields["usage"] = shown
        return made.compose()

    async def _write(self, name: str, document: Mapping[str, Any], composed: Mapping[str, Any]) -> None:
        try:
            written = await self._cluster.write_status(path_of(GROUP, VERSION, KIND, name), document, composed)
        except ApiError as error:
            if not (error.conflict or error.not_found):  # somebody was faster, and the watch will tell
                log.info("status of policy %s: %s", name, error)
        else:
            self._store.put_named(KIND, written)
