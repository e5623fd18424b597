"""One turn of deciding about one request: the facts, the moment, and the few things every decision does with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import Any

from export_operator.domain import estimates, pages, plan, policy, queue, quota, slots, status, times
from export_operator.domain.actions import Action, Decision, Emit, Observation, ReleaseSlot, Settings, WriteStatus
from export_operator.domain.model import Request


@dataclass(frozen=True)
class Turn:
    """`now` is the same for the whole turn."""

    seen: Observation
    settings: Settings
    now: datetime
    run: str = field(init=False)
    known: Mapping[str, Any] = field(init=False)
    """What status already says of this run; nothing when the run is new."""

    def __post_init__(self) -> None:
        request, run = self.seen.request, self.seen.request.run
        told = request.phase and request.status.get("run") == run
        object.__setattr__(self, "run", run)
        object.__setattr__(self, "known", request.status if told else {})

    @property
    def request(self) -> Request:
        return self.seen.request

    @cached_property
    def terms(self) -> policy.Terms:
        """What holds for whoever asks."""
        catalogue, request, defaults = self.seen.catalogue, self.request, self.settings.defaults
        # All of a request that they follow from.
        key = ("terms", request.requester, request.groups, request.key.namespace, defaults.key)
        return catalogue.memo.once(key, lambda: policy.find_terms(catalogue.policies, request, defaults))

    @property
    def policy(self) -> policy.Policy:
        return self.terms.policy

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
        place = (found.effective.source, found.effective.dataset)
        return estimates.demand(found.offer.expected, self.seen.catalogue.deliveries.get(place, ()))

    def waiting(self, found: plan.Plan) -> queue.Waiting:
        """The run as one that asks for its place."""
        request, terms, effective, limits = self.request, self.terms, found.effective, found.slot_limits
        entry = pages.Entry(
            run=self.run,
            request=request.key,
            uid=request.uid,
            time=times.whole(self.now),
            user=request.requester,
            source=effective.source,
            destination=effective.destination,
            policy=effective.policy,
        )
        # In this catalogue the policy, the source and the destination have one limit each.
        whose = ("levels", entry.user, request.key.namespace, effective.policy)
        key = (*whose, effective.source, effective.destination, limits.total)
        return queue.Waiting(
            entry=entry,
            levels=self.seen.catalogue.memo.once(key, lambda: slots.levels_of(entry, limits)),
            owner=terms.owner,
            since=self.waiting_since,
            weight=terms.weight,
            priority=effective.priority,
            dataset=effective.dataset,
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
