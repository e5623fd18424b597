"""One turn of deciding about one request: the facts, the moment, and the few things every decision does with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any

from export_operator.domain import estimates, pages, plan, policy, queue, quota, slots, status, times
from export_operator.domain.actions import Action, Decision, Emit, Observation, ReleaseSlot, Settings, WriteStatus
from export_operator.domain.identity import Subject, subject_of
from export_operator.domain.model import Request


@dataclass(frozen=True)
class Turn:
    """`now` is the same for the whole turn."""

    seen: Observation
    settings: Settings
    now: datetime

    @property
    def request(self) -> Request:
        return self.seen.request

    @cached_property
    def run(self) -> str:
        return self.request.run

    @cached_property
    def known(self) -> Mapping[str, Any]:
        """What status already says of this run; nothing when the run is new."""
        return self.request.status if self.request.phase and self.request.status.get("run") == self.run else {}

    @cached_property
    def owner(self) -> Subject:
        """Whom the request counts against."""
        return subject_of(self.request)

    @cached_property
    def policy(self) -> policy.Policy:
        key = ("policy", *self._who)
        return self.seen.catalogue.memo.once(key, lambda: policy.select(self.seen.catalogue.policies, self.request))

    @cached_property
    def limits(self) -> tuple[quota.WindowLimit, ...]:
        key = ("limits", *self._who, self.settings.defaults.key)
        return self.seen.catalogue.memo.once(
            key, lambda: policy.window_limits(self.policy, self.request, self.settings.defaults)
        )

    @cached_property
    def _who(self) -> tuple[str, frozenset[str], str]:
        """All of a request that its policy and limits follow from."""
        return self.request.requester, self.request.groups, self.request.key.namespace

    @cached_property
    def waiting_since(self) -> datetime:
        """Since when the run waits for its turn. The time for which its owner suspended it does not count: the wait
        begins anew afterwards."""
        queued = times.parse(self.known.get("queuedTime"))
        return times.whole(self.now) if queued is None or self.document().says("Suspended") else queued

    def make_plan(self) -> plan.Plan:
        """Raises `lookup.RefusalError`."""
        return plan.make_plan(
            self.request, self.seen.catalogue, self.policy, self.run, self.settings.max_concurrent_runs
        )

    def demand(self, found: plan.Plan) -> quota.Demand:
        """How many rows and bytes the run asks of its windows."""
        effective = found.effective
        return estimates.demand(
            self.seen.catalogue.sources[effective.source],
            effective.dataset,
            self.seen.catalogue.deliveries.get((effective.source, effective.dataset), ()),
            self.policy.section("maxima"),
        )

    def waiting(self, found: plan.Plan) -> queue.Waiting:
        """The run as one that asks for its place."""
        entry = pages.Entry(
            run=self.run,
            request=self.request.key,
            uid=self.request.uid,
            time=times.whole(self.now),
            user=self.request.requester,
            source=found.effective.source,
            destination=found.effective.destination,
            policy=self.policy.name,
        )
        # In this catalogue the policy, the source and the destination have one limit each.
        key = ("levels", entry.user, entry.request.namespace, entry.policy, entry.source, entry.destination)
        limits = found.slot_limits
        return queue.Waiting(
            entry=entry,
            levels=self.seen.catalogue.memo.once((*key, limits.total), lambda: slots.levels_of(entry, limits)),
            owner=self.owner,
            since=self.waiting_since,
            weight=self.policy.weight,
            priority=found.effective.priority,
            dataset=found.effective.dataset,
        )

    def document(self) -> status.Document:
        """A status to build on: what is known of this run."""
        known = self.known
        fields = {name: value for name, value in known.items() if name != "conditions"}
        fields |= {"observedGeneration": self.request.generation, "runID": self.request.record_run_id, "run": self.run}
        return status.Document(fields, list(known.get("conditions") or ()), self.request.generation, self.now)

    def accepted(self, found: plan.Plan) -> status.Document:
        document = self.document()
        document.fields["effective"] = dict(found.offer.shown)
        document.condition("Accepted", True, "Valid", "the request is valid under its policy")
        document.drop_condition("Reconciling")
        return document

    def write(self, document: status.Document) -> tuple[Action, ...]:
        """A status is written when it differs from what is there."""
        composed = document.compose()
        return () if dict(self.request.status) == composed else (WriteStatus(composed),)

    def event(self, kind: str, reason: str, text: str) -> tuple[Action, ...]:
        """An Event when the reason is new; a request that waits for the same thing says so once."""
        return () if self.known.get("reason") == reason else (Emit(kind, reason, text, self.run),)

    def started(self, document: status.Document) -> Emit:
        what = document.fields["effective"]
        text = f"exporting dataset {what['dataset']} of {what['source']} as {what['format']}"
        return Emit("Normal", "Started", text, self.run)

    def free_slot(self) -> tuple[Action, ...]:
        return (ReleaseSlot(self.run),) if self.seen.slot_held else ()

    def close(
        self,
        phase: str,
        reason: str,
        text: str,
        *,
        document: status.Document | None = None,
        first: tuple[Action, ...] = (),
        then: tuple[Action, ...] = (),
        finished: datetime | None = None,
        event: str = "",
    ) -> Decision:
        """End the run: Event (of this reason, or the usual one), status, and only then the slot, so that a crash in
        between is mended when the ended request is looked at again. `then` comes before the slot is free for others."""
        document = self.document() if document is None else document
        # Conditions turn when the run ended, not when somebody noticed.
        document = replace(document, now=finished or self.now)
        document.fields.pop("queue", None)
        document.halt()
        document.phase(phase, reason, text)
        document.drop_condition("Reconciling")
        document.fields["completionTime"] = times.render(document.now)
        succeeded = phase in {"Succeeded", "PartiallySucceeded"}
        document.condition("Complete" if succeeded else "Failed", True, reason, text)
        if phase == "Rejected":
            document.condition("Accepted", False, reason, text)
            document.condition("Stalled", True, reason, text)
        document.fit()
        told = Emit(
            "Warning" if phase in {"Failed", "Rejected"} else "Normal",
            event or (reason if phase == "Failed" else phase),
            text,
            self.run,
        )
        return Decision((*first, told, *self.write(document), *then, *self.free_slot()))
