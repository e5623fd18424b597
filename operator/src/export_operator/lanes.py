"""Delivers what waits in the outbox: channel's Secret → receiver, a lane for each channel.

A receiver that is slow or away holds up its own channel alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from export_operator.adapters.cluster import Cluster, secret_data
from export_operator.adapters.kube import ApiError
from export_operator.adapters.notify import DeliveryError, Send
from export_operator.domain.actions import Emit
from export_operator.domain.channels import Channel
from export_operator.domain.model import Key, parse_request
from export_operator.domain.notifications import Notification
from export_operator.domain.outbox import DELIVERED, FAILED, GIVE_UP, Outbox, Waiting
from export_operator.logs import about
from export_operator.store import Store

log = logging.getLogger(__name__)

FENCE_SECONDS = 1.0
MAX_REFUSALS = 3  # of one notification, by a receiver that takes others


@dataclass(frozen=True, slots=True)
class Lane:
    """The way to one receiver: a task, who wakes it when something else waits, and who tells it that its channel is
    another one now."""

    task: asyncio.Task[None]
    woken: asyncio.Event
    mended: asyncio.Event


class Lanes:
    """One for each channel, by its key. `senders` gives how to deliver by channels' types; `fence` raises `ApiError`
    when this process leads no more. `pauses` follow failures of a channel in a row, each less up to half of it at
    random, and `refused_pause` comes before what a receiver has refused is tried again, in seconds.

    `channels` gives those that there are, and `gone` whether one is away for so long by a moment that nothing waits for
    it any more. `changed` is called when something was delivered or given up, `counted` when a delivery has failed.
    """

    def __init__(
        self,
        *,
        cluster: Cluster,
        store: Store,
        senders: Mapping[str, Send],
        fence: Callable[[float], None],
        clock: Callable[[], datetime],
        pauses: Sequence[float],
        refused_pause: float,
        channels: Callable[[], Mapping[str, Channel]],
        gone: Callable[[str, datetime], bool],
        changed: Callable[[], None],
        counted: Callable[[], None],
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._senders = senders
        self._fence = fence
        self._clock = clock
        self._pauses = pauses
        self._refused_pause = refused_pause
        self._channels = channels
        self._gone = gone
        self._changed = changed
        self._counted = counted
        self._outbox = Outbox()
        self._lanes: dict[str, Lane] = {}
        self._refused: dict[tuple[str, str], tuple[int, datetime]] = {}
        """How often a receiver has refused one, and when it is tried again: others go first until then."""
        self.troubles: dict[str, str] = {}
        """What hinders channels, until they deliver again."""

    def begin(self, outbox: Outbox) -> None:
        """From now on deliver what waits in this one."""
        self._outbox = outbox

    def wake(self, key: str) -> None:
        """Something else waits for the channel."""
        if key in self._lanes:
            self._lanes[key].woken.set()

    def mend(self, key: str) -> None:
        """The channel is another one now: it is tried at once."""
        if key in self._lanes:
            self._lanes[key].mended.set()

    def open(self, group: asyncio.TaskGroup) -> None:
        """One for each channel in whose box something waits."""
        self._lanes = {key: lane for key, lane in self._lanes.items() if not lane.task.done()}
        for key, box in self._outbox.boxes.items():
            if box.waiting and key not in self._lanes:
                woken, mended = asyncio.Event(), asyncio.Event()
                task = group.create_task(self._lane(key, woken, mended), name=f"notify {key}")
                self._lanes[key] = Lane(task, woken, mended)

    async def _lane(self, key: str, woken: asyncio.Event, mended: asyncio.Event) -> None:
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
                    if failures >= len(self._pauses):
                        self._set_aside(key, waiting.notification, seconds)
                    if await set_within(mended, seconds):
                        mended.clear()
                        failures = 0
                else:
                    failures = 0
                    self._settle(key, waiting.notification)
            elif seconds > 0:
                await set_within(woken, seconds)

    def _waiting(self, key: str) -> Mapping[str, Waiting]:
        """By id."""
        box = self._outbox.boxes.get(key)
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
        self._outbox.boxes[key].settle(found.id, DELIVERED)
        self._refused.pop((key, found.id), None)
        if self.troubles.pop(key, None) is not None:
            log.info("notifications by %s are delivered again", key)
        self._changed()

    def _pause(self, failures: int) -> float:
        return self._pauses[min(failures, len(self._pauses) - 1)] * random.uniform(0.5, 1)  # noqa: S311

    def _set_aside(self, key: str, found: Notification, seconds: float) -> None:
        """It may be this one alone that the receiver chokes on: another is tried next, if there is one."""
        if len(self._waiting(key)) > 1:
            refusals, _ = self._refused.get((key, found.id), (0, None))
            self._refused[key, found.id] = (refusals, self._clock() + timedelta(seconds=2 * seconds))

    def _fail(self, key: str, why: str) -> None:
        self._count_failed(key)
        if self.troubles.get(key) != why:
            log.warning("notifications by %s wait: %s", key, why)
        self.troubles[key] = why

    def _count_failed(self, key: str) -> None:
        self._outbox.boxes[key].counts[FAILED] += 1
        self._counted()

    async def _refuse(self, key: str, found: Notification, why: str) -> None:
        """The receiver takes others, so this one steps aside."""
        self._count_failed(key)
        times = self._refused.get((key, found.id), (0, None))[0] + 1
        self._refused[key, found.id] = (times, self._clock() + timedelta(seconds=self._refused_pause))
        if times >= MAX_REFUSALS:
            await self._bury(key, found, f"refused {times} times: {why}")

    async def _give_up_old(self, key: str) -> None:
        now = self._clock()
        gone = self._gone(key, now)
        for waiting in list(self._waiting(key).values()):
            if gone or now - waiting.since >= GIVE_UP:
                await self._bury(key, waiting.notification, self.troubles.get(key, "nobody took it in time"))

    async def _bury(self, key: str, found: Notification, why: str) -> None:
        dead = self._outbox.bury(key, found.id, why, self._clock())
        self._refused.pop((key, found.id), None)
        mark = about(dead.request, str(found.facts["run"]))
        log.warning("notification %s of %s by %s is given up: %s", dead.id, dead.request, key, why, extra=mark)
        self._changed()
        document = self._store.requests.get(Key(*dead.request.split("/", 1)))
        if document is not None:
            text = f"{found.event} was not delivered by channel {key}: {why}"
            told = Emit("Warning", "NotificationNotDelivered", text, str(found.facts["run"]))
            await self._cluster.emit(parse_request(document), told, self._clock())


async def set_within(event: asyncio.Event, seconds: float) -> bool:
    """Wait for the event; whether it came."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()
