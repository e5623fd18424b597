"""Looks at ScheduledExports, one at a time: observe → decide → act. The decisions are in `domain.firing`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple

from export_operator.adapters.cluster import Cluster
from export_operator.adapters.kube import ApiError, path_of
from export_operator.adapters.ledger import Ledger
from export_operator.adapters.metrics import Metrics
from export_operator.domain import firing, identity, schedule
from export_operator.domain.actions import Emit, WriteStatus
from export_operator.domain.identity import Enforcement
from export_operator.domain.model import EPOCH, GROUP, VERSION, Key, Request, parse_request, parse_stamped
from export_operator.domain.schedule import Schedule
from export_operator.history import Recorder
from export_operator.store import REQUESTS, Store, key_of
from export_operator.workqueue import WorkQueue

log = logging.getLogger(__name__)

KIND = "scheduledexports"
WORKERS = 4  # more would only make what is due at midnight a larger herd
REFUSALS = frozenset({400, 403, 404, 422})  # answers that are about the request, and not about the API server


class _Known(NamedTuple):
    """What a look has found while it was attested: of which object, and when."""

    uid: str
    generation: int
    time: datetime


class Schedules:
    """The controller of ScheduledExports. It hears of changes always, and acts while `run` runs."""

    def __init__(
        self,
        *,
        store: Store,
        cluster: Cluster,
        ledger: Ledger,
        history: Recorder,
        identity: Callable[[], Enforcement],
        clock: Callable[[], datetime],
        metrics: Metrics,
    ) -> None:
        """`clock` gives the present moment in UTC."""
        self._store = store
        self._cluster = cluster
        self._ledger = ledger
        self._history = history
        self._identity = identity
        self._clock = clock
        self._able = EPOCH
        looked = metrics.workqueue(KIND, lambda: len(self._queue))
        self._queue: WorkQueue[Key] = WorkQueue(self.reconcile, WORKERS, (ApiError,), looked)
        self._known: dict[Key, _Known] = {}
        self._owners: dict[Key, Key] = {}
        self._made: dict[Key, set[Key]] = {}
        self._begun = False
        store.listen(KIND, self._wake)
        store.listen(REQUESTS, self._request_changed)

    async def run(self) -> None:
        """Work until cancelled."""
        self._begun = True
        self.look_again()
        await self._queue.run()

    def look_again(self) -> None:
        """Look at every schedule: requests can be made from now on."""
        self._able = self._clock()
        for key in self._store.beside[KIND]:
            self._wake(key)

    def _wake(self, key: Key) -> None:
        if self._begun:  # a standby would remember every key until then
            self._queue.add(key)

    async def reconcile(self, key: Key) -> float | None:
        """Do what is to be done about the schedule now; the answer is when to look again (seconds), None for "on
        change". Raises `ApiError`."""
        document = self._store.beside[KIND].get(key)
        if document is None:
            self._known.pop(key, None)
            return None
        try:
            return await self._look(document)
        except ApiError as error:
            if not (error.conflict or error.not_found):
                raise
            await self._refresh(key)  # somebody was faster: look at what is there now
            return 0.0

    async def _look(self, document: Mapping[str, Any]) -> float | None:
        now = self._clock()
        given = parse_stamped(document, Schedule)
        await self._find_active(given)
        seen = firing.Observation(
            schedule=given,
            made=self._requests_of(given),
            identity=self._identity(),
            able=self._able,
            edited=await self._edited(given, now) if given.turned else now,
            suspect=self._suspects(given, now),
        )
        decision = firing.decide(seen, now)
        for action in decision.actions:
            if isinstance(action, firing.Make):
                refused = await self._make(given, action)
                seen = replace(seen, made=self._requests_of(given))
                decision = firing.answered(seen, action, refused, now)
        for action in decision.actions:
            await self._perform(document, action, now)
        return decision.requeue_after

    async def _perform(self, document: Mapping[str, Any], action: firing.Action, now: datetime) -> None:
        match action:
            case WriteStatus(wanted):
                written = await self._cluster.write_status(_path(key_of(document)), document, wanted)
                self._store.put_beside(KIND, written)
                log.info("%s: %s: %s", key_of(document), wanted["reason"], wanted["message"])
            case Emit():
                await self._cluster.tell(document, action, now)
            case firing.Cancel(request):
                await self._cluster.cancel_request(request)
            case firing.Delete(request):
                await self._history.secure(request.run)
                await self._cluster.delete_request(request)
            case firing.Make():
                raise AssertionError("what follows from a Make makes nothing")

    async def _make(self, given: Schedule, make: firing.Make) -> firing.Refused | None:
        """Make the request or try it; None when that is well, or when it was made before. Raises `ApiError`."""
        if not make.trial:
            await self._confirm(given)
        if denied := await self._denied(given):
            return firing.Refused("RequesterNotAllowed", denied)
        manifest = schedule.request_manifest(given, make.time)
        key = key_of(manifest)
        if not make.trial and self._ledger.has_run(identity.subject_of(given), key):
            return None  # an operator made it and died before it could say so; it ran, and somebody has deleted it
        try:
            found = await self._cluster.make_request(manifest, trial=make.trial)
        except ApiError as error:
            if error.status not in REFUSALS:
                raise
            text = f"the API server refuses the request {key.name}: {error.message or error.reason}"
            return firing.Refused("RequestRefused", text)
        if make.trial:
            return None
        if not given.owns(found):
            text = (
                f"there is an ExportRequest {key.name} which is not of this schedule: delete it, or rename the schedule"
            )
            return firing.Refused("NameTaken", text)
        self._store.put_request(found)
        return None

    async def _denied(self, given: Schedule) -> str:
        """Why who made the schedule may not ask so any more; "" if it may. Where nobody attests who that is, admission
        has checked it alone."""
        who, groups, namespace = given.submitter, given.submitter_groups, given.key.namespace
        if not who:
            return ""
        if not await self._cluster.allows(identity.review_asking(who, groups, namespace)):
            return f"{who!r}, who made this schedule, may not create exportrequests in namespace {namespace} any more"
        if who == given.requester:
            return ""
        if identity.acts_as(await self._cluster.granted(who, groups, given.requester, namespace)):
            return ""
        return (
            f"{who!r}, who made this schedule, no longer has the verb act-as on requesters.{GROUP}/{given.requester} in"
            f" namespace {namespace}"
        )

    async def _confirm(self, given: Schedule) -> None:
        """A cache that lags must not make again what another operator has made. Raises a conflict if it does."""
        found = await self._cluster.find(_path(given.key))
        if found is None or found["metadata"]["resourceVersion"] != given.resource_version:
            raise ApiError(409, "Conflict", "the schedule changed while it was decided on")

    async def _edited(self, given: Schedule, now: datetime) -> datetime:
        found = await self._cluster.find(_path(given.key))
        return now if found is None else schedule.last_edit(found, now)

    async def _find_active(self, given: Schedule) -> None:
        """What status says is under way is looked for if it is not known: nothing is made beside it by mistake."""
        for each in given.status.get("active") or ():
            key = Key(given.key.namespace, each["name"])
            if key not in self._store.requests and (found := await self._cluster.request(key)) is not None:
                self._store.put_request(found)

    def _requests_of(self, given: Schedule) -> tuple[Request, ...]:
        documents = (self._store.requests[key] for key in sorted(self._made.get(given.key, ())))
        return tuple(parse_request(document) for document in documents if given.owns(document))

    def _suspects(self, given: Schedule, now: datetime) -> bool:
        """The spec has changed between two looks, and the cluster did not attest by whom for some of that time."""
        state, known = self._identity(), self._known.get(given.key)
        if known is not None and known.uid == given.uid and known.generation != given.generation:
            if state.blind_between(known.time, now):
                return True
            if not state.enforced:
                return False
        self._known[given.key] = _Known(given.uid, given.generation, now)
        return False

    def _request_changed(self, key: Key) -> None:
        document = self._store.requests.get(key)
        owner = schedule.controller_of(document) if document is not None else None
        before = self._owners.pop(key, None)
        if before is not None:
            self._made[before].discard(key)
            if not self._made[before]:
                del self._made[before]
            self._wake(before)
        if owner is not None:
            self._owners[key] = owner.key
            self._made.setdefault(owner.key, set()).add(key)
            self._wake(owner.key)

    async def _refresh(self, key: Key) -> None:
        known = self._store.beside[KIND].get(key)
        found = await self._cluster.find(_path(key))
        if found is not None:
            self._store.put_beside(KIND, found)
        elif known is not None:
            self._store.drop_beside(KIND, key, known["metadata"]["uid"])


def _path(key: Key) -> str:
    return path_of(GROUP, VERSION, KIND, key.name, namespace=key.namespace)
