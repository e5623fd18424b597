"""Tells people and programs what happens to requests: outbox → channel's Secret → receiver, a lane for each channel.

What is to be told is read off the requests' status and waits in the outbox, which is kept in the cluster. Nothing here
is waited for by an export, and a receiver that is slow or away holds up its own channel alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from export_operator.adapters.cluster import Cluster, secret_data
from export_operator.adapters.kept import Kept
from export_operator.adapters.kube import ApiError
from export_operator.adapters.metrics import Metrics
from export_operator.adapters.notify import DeliveryError, Send
from export_operator.adapters.outbox import OutboxStore
from export_operator.counting import REMEMBERED, unrecorded
from export_operator.domain.actions import Emit
from export_operator.domain.channels import Channel, all_channels
from export_operator.domain.model import Catalogue, Job, Key, parse_request
from export_operator.domain.notifications import Notification, due, not_told_yet, turns_with_time
from export_operator.domain.outbox import GIVE_UP, Outbox, Waiting
from export_operator.store import Store

log = logging.getLogger(__name__)

Document = Mapping[str, Any]

LAST_SECONDS = 0.5  # for the last write: who takes over waits meanwhile
FENCE_SECONDS = 1.0
HORIZON_AGE = timedelta(hours=1)  # the one that is kept is brought up to date so often where nothing happens
MAX_REFUSALS = 3  # of one notification, by a receiver that takes others
BATCH = 500  # requests looked at before others have their turn


@dataclass(frozen=True, slots=True)
class Pace:
    """In seconds."""

    save: float = 1.0
    """Between two writes: what is delivered meanwhile may be told again by the next operator."""
    sweep: float = 15.0
    """Between looks for what becomes true by time alone."""
    pauses: tuple[float, ...] = (1.0, 2.0, 5.0, 15.0, 60.0, 300.0)
    """After failures of a channel in a row, each less up to half of it at random."""
    refused: float = 60.0
    """Before what a receiver has refused is tried again."""


class Notifications:
    """`jobs` gives every Job of ours, `senders` how to deliver by the channels' types; `fence` raises `ApiError` when
    this process leads no more."""

    def __init__(
        self,
        *,
        kept: OutboxStore,
        store: Store,
        cluster: Cluster,
        jobs: Callable[[], list[Job]],
        senders: Mapping[str, Send],
        fence: Callable[[float], None],
        clock: Callable[[], datetime],
        metrics: Metrics,
        pace: Pace = Pace(),
    ) -> None:
        self._place = kept
        self._store = store
        self._cluster = cluster
        self._jobs = jobs
        self._senders = senders
        self._fence = fence
        self._clock = clock
        self._metrics = metrics
        self._pace = pace
        self._outbox: Outbox | None = None
        self._version = ""
        self._saved = clock()
        self._dirty = False
        self._changed = asyncio.Event()
        self._lanes: dict[str, tuple[asyncio.Task[None], asyncio.Event]] = {}
        self._known: tuple[Catalogue | None, Mapping[str, Channel]] = (None, {})
        self._held: dict[str, datetime] = {}
        """By channel, until when all must be known of the first for which there was no room."""
        self._refused: dict[tuple[str, str], tuple[int, datetime]] = {}
        """How often a receiver has refused one, and when it is tried again: others go first until then."""
        self._troubles: dict[str, str] = {}

    def recorded(self, after: Document) -> None:
        """A request says something new. It is read here: it may say something else, or be gone, a moment later."""
        if self._outbox is not None and self._channels():
            self._take(self._due(after))

    def trouble(self, policy: str) -> str | None:
        """What hinders the channels of a policy, "" when nothing does; None where it has none."""
        mine = [channel for channel in self._channels().values() if channel.policy == policy]
        told = [f"{each.name}: {self._troubles[each.key]}" for each in mine if each.key in self._troubles]
        return "; ".join(told) if mine else None

    async def run(self) -> None:
        """As the leader, until cancelled."""
        await self._load()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._tell(group))
        finally:
            # What was delivered shall not be delivered again by who takes over.
            with contextlib.suppress(ApiError, TimeoutError):
                async with asyncio.timeout(LAST_SECONDS):
                    await self._save()
            self._outbox = None
            self._lanes.clear()

    async def _load(self) -> None:
        while True:
            try:
                kept = await self._place.load()
                break
            except ApiError as error:
                log.warning("notifications cannot be read, again in %.0f s: %s", self._pace.sweep, error)
                await asyncio.sleep(self._pace.sweep)
        self._version, self._outbox = kept.version, kept.value or Outbox()

    async def _tell(self, group: asyncio.TaskGroup) -> None:
        loop = asyncio.get_running_loop()
        swept = None
        while True:
            if swept is None or loop.time() - swept >= self._pace.sweep:
                await self._sweep(whole=swept is None)
                swept = loop.time()
            self._open_lanes(group)
            if self._dirty:
                try:
                    await self._save()
                except ApiError as error:
                    log.warning("notifications cannot be kept, again in %.0f s: %s", self._pace.save, error)
            self._show()
            await asyncio.sleep(self._pace.save)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(swept + self._pace.sweep - loop.time(), 0)):
                    await self._changed.wait()
            self._changed.clear()

    async def _sweep(self, *, whole: bool) -> None:
        """Look at the requests that may tell something new by now; at all of them when this process begins, and when
        there was no room for what they told."""
        assert self._outbox is not None
        now, channels = self._clock(), self._channels()
        self._dirty |= self._outbox.open(channels, now)  # kept at once: it says from when on the channel is told
        whole, self._held = whole or bool(self._held), {}
        found: list[tuple[Notification, tuple[str, ...]]] = []
        late = unrecorded(self._jobs(), self._store)
        for number, document in enumerate(list(self._store.requests.values()) if channels else ()):
            if whole or turns_with_time(document):
                found += self._due(document)
            if (moment := not_told_yet(document)) is not None:
                late.append(moment)
            if number % BATCH == BATCH - 1:
                await asyncio.sleep(0)
        self._take(sorted(found, key=lambda item: item[0].time))
        horizon = min([now - REMEMBERED, *late])
        for key, box in self._outbox.boxes.items():
            box.forget(min(horizon, self._held.get(key, horizon)))
        self._dirty |= bool(self._outbox.boxes) and now - self._saved >= HORIZON_AGE

    def _due(self, document: Document) -> list[tuple[Notification, tuple[str, ...]]]:
        """What the document tells. No export shall hang on whether it can be told of."""
        try:
            return due(document, self._store.catalogue().policies, self._clock())
        except Exception:
            log.exception("%s: nobody is told of it", document["metadata"].get("name"))
            return []

    def _take(self, found: Iterable[tuple[Notification, tuple[str, ...]]]) -> None:
        assert self._outbox is not None
        now = self._clock()
        for notification, channels in found:
            for key in channels:
                if key not in self._outbox.boxes:
                    self._dirty |= self._outbox.open(self._channels(), now)
                if self._outbox.boxes[key].knows(notification):
                    continue
                if self._outbox.add(notification, key, now):
                    self._note(key)
                else:
                    self._held[key] = min(self._held.get(key, notification.until), notification.until)

    def _note(self, key: str) -> None:
        """The box of the channel has changed."""
        self._dirty = True
        self._changed.set()
        if key in self._lanes:
            self._lanes[key][1].set()

    def _channels(self) -> Mapping[str, Channel]:
        """The same until a policy changes."""
        catalogue = self._store.catalogue()
        if self._known[0] is not catalogue:
            self._known = (catalogue, all_channels(catalogue.policies))
        return self._known[1]

    def _open_lanes(self, group: asyncio.TaskGroup) -> None:
        """One for each channel in whose box something waits."""
        assert self._outbox is not None
        self._lanes = {key: lane for key, lane in self._lanes.items() if not lane[0].done()}
        for key, box in self._outbox.boxes.items():
            if box.waiting and key not in self._lanes:
                event = asyncio.Event()
                self._lanes[key] = (group.create_task(self._lane(key, event), name=f"notify {key}"), event)

    async def _lane(self, key: str, woken: asyncio.Event) -> None:
        """Deliver what waits for a channel, one after the other, until nothing does."""
        failures = 0
        while self._waiting(key):
            await self._give_up_old(key)
            woken.clear()
            waiting, seconds = self._next(key)
            if waiting is not None:
                try:
                    await self._deliver(key, waiting.notification)
                except DeliveryError as error:
                    if error.refused:
                        await self._refuse(key, waiting.notification, str(error))
                        continue
                    seconds = self._pause(failures)
                    failures += 1
                    self._fail(key, str(error))
                    if failures >= len(self._pace.pauses):
                        self._set_aside(key, waiting.notification, seconds)
                    await asyncio.sleep(seconds)
                else:
                    failures = 0
                    self._settle(key, waiting.notification)
            elif seconds > 0:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(seconds):
                        await woken.wait()

    def _waiting(self, key: str) -> Mapping[str, Waiting]:
        """By id."""
        box = None if self._outbox is None else self._outbox.boxes.get(key)
        return {} if box is None else box.waiting

    def _next(self, key: str) -> tuple[Waiting | None, float]:
        """What is delivered next, or for how many seconds nothing is."""
        now, soonest = self._clock(), GIVE_UP.total_seconds()
        for identity, waiting in self._waiting(key).items():
            left = (self._refused.get((key, identity), (0, now))[1] - now).total_seconds()
            if left <= 0:
                return waiting, 0.0
            soonest = min(soonest, left)
        return None, soonest if self._waiting(key) else 0.0

    async def _deliver(self, key: str, found: Notification) -> None:
        """Raises `DeliveryError`."""
        channel = self._channels().get(key)
        if channel is None:
            raise DeliveryError("the policy has no such channel any more")
        try:
            secret = await self._cluster.secret_object(channel.secret)
        except ApiError as error:
            raise DeliveryError(f"Secret {channel.secret!r} cannot be read: {error.reason}") from error
        if secret is None:
            where = self._cluster.run_namespace
            raise DeliveryError(f"Secret {channel.secret!r} does not exist in namespace {where!r}; create it there")
        send = self._senders.get(channel.type)
        if send is None:  # a newer CRD knows more types
            raise DeliveryError(f"this release knows no channels of type {channel.type!r}")
        try:
            self._fence(FENCE_SECONDS)
            await send(channel, secret_data(secret), found)
        except DeliveryError:
            raise
        except Exception as error:
            log.exception("%s", key)
            raise DeliveryError(f"the operator could not send it: {type(error).__name__}") from error

    def _settle(self, key: str, found: Notification) -> None:
        assert self._outbox is not None
        self._outbox.boxes[key].settle(found.id)
        self._refused.pop((key, found.id), None)
        self._metrics.notified(key, "delivered")
        if self._troubles.pop(key, None) is not None:
            log.info("notifications by %s are delivered again", key)
        self._note(key)

    def _pause(self, failures: int) -> float:
        pauses = self._pace.pauses
        return pauses[min(failures, len(pauses) - 1)] * random.uniform(0.5, 1)  # noqa: S311

    def _set_aside(self, key: str, found: Notification, seconds: float) -> None:
        """It may be this one alone that the receiver chokes on: another is tried next, if there is one."""
        if len(self._waiting(key)) > 1:
            refusals, _ = self._refused.get((key, found.id), (0, None))
            self._refused[key, found.id] = (refusals, self._clock() + timedelta(seconds=2 * seconds))

    def _fail(self, key: str, why: str) -> None:
        self._metrics.notified(key, "failed")
        if self._troubles.get(key) != why:
            log.warning("notifications by %s wait: %s", key, why)
        self._troubles[key] = why

    async def _refuse(self, key: str, found: Notification, why: str) -> None:
        """The receiver takes others, so this one steps aside."""
        self._metrics.notified(key, "failed")
        times = self._refused.get((key, found.id), (0, None))[0] + 1
        self._refused[key, found.id] = (times, self._clock() + timedelta(seconds=self._pace.refused))
        if times >= MAX_REFUSALS:
            await self._bury(key, found, f"refused {times} times: {why}")

    async def _give_up_old(self, key: str) -> None:
        now = self._clock()
        for waiting in list(self._waiting(key).values()):
            if now - waiting.since >= GIVE_UP:
                await self._bury(key, waiting.notification, self._troubles.get(key, "nobody took it in time"))

    async def _bury(self, key: str, found: Notification, why: str) -> None:
        assert self._outbox is not None
        dead = self._outbox.bury(key, found.id, why, self._clock())
        self._refused.pop((key, found.id), None)
        self._metrics.notified(key, "dead")
        log.warning("notification %s of %s by %s is given up: %s", dead.id, dead.request, key, why)
        self._note(key)
        document = self._store.requests.get(Key(*dead.request.split("/", 1)))
        if document is not None:
            text = f"{found.event} was not delivered by channel {key}: {why}"
            told = Emit("Warning", "NotificationNotDelivered", text, str(found.facts["run"]))
            await self._cluster.emit(parse_request(document), told, self._clock())

    async def _save(self) -> None:
        """Raises `ApiError`; then the next call does it."""
        if self._outbox is None or not self._dirty:
            return
        self._dirty = False
        try:
            kept: Kept[Outbox] = await self._place.save(self._outbox, self._version)
        except ApiError as error:
            self._dirty = True
            if error.status in {404, 409}:  # somebody took it away or changed it: what is known here is written anew
                self._version = (await self._place.load()).version
            raise
        self._version, self._saved = kept.version, self._clock()

    def _show(self) -> None:
        assert self._outbox is not None
        now = self._clock()
        self._metrics.notifications_waiting(
            {
                key: (len(box.waiting), (now - box.oldest).total_seconds() if box.oldest else 0.0)
                for key, box in self._outbox.boxes.items()
            }
        )
