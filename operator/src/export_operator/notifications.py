"""Tells people and programs what happens to requests: status → outbox → lanes.

What is to be told is read off the requests' status and waits in the outbox, which is kept in the cluster. Nothing here
is waited for by an export.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from export_operator.adapters.cluster import Cluster
from export_operator.adapters.kept import FullError, Kept
from export_operator.adapters.kube import ApiError
from export_operator.adapters.notify import Send
from export_operator.adapters.outbox import OutboxStore
from export_operator.counting import REMEMBERED, unrecorded
from export_operator.domain.channels import Channel, all_channels
from export_operator.domain.model import Catalogue, Job, Key
from export_operator.domain.notifications import Notification, due, turns_with_time
from export_operator.domain.outbox import Outbox, Tally
from export_operator.domain.resend import wanted, wish_of
from export_operator.lanes import Lanes, set_within
from export_operator.logs import about
from export_operator.store import Store

log = logging.getLogger(__name__)

Document = Mapping[str, Any]

LAST_SECONDS = 0.5  # for the last write: who takes over waits meanwhile
HORIZON_AGE = timedelta(hours=1)  # the one that is kept is brought up to date so often where nothing happens
GONE = timedelta(hours=1)
"""A policy or channel that is replaced is away for a moment; one that is away for so long is gone."""
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
    this process leads no more. `show` is told what channels have delivered, as it is kept."""

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
        show: Callable[[Mapping[str, Tally]], None],
        pace: Pace = Pace(),
    ) -> None:
        self._place = kept
        self._store = store
        self._jobs = jobs
        self._clock = clock
        self._show = show
        self._pace = pace
        self._outbox: Outbox | None = None
        self._version = ""
        self._saved = clock()
        self._dirty = False
        self._full = False
        self._changed = asyncio.Event()
        self._lanes = Lanes(
            cluster=cluster,
            store=store,
            senders=senders,
            fence=fence,
            clock=clock,
            pauses=pace.pauses,
            refused_pause=pace.refused,
            channels=self._channels,
            gone=self._gone,
            changed=self._keep_soon,
            counted=self._keep_later,
        )
        self._known: tuple[Catalogue | None, Mapping[str, Channel]] = (None, {})
        self._whole = True
        """Every request is to be looked at, for some may tell what could not be told before."""
        self._absent: dict[str, datetime] = {}
        """Channels that have a box and are gone: since when."""
        self._held: dict[str, datetime] = {}
        """By channel, until when all must be known of the first for which there was no room."""
        store.listen("exportpolicies", lambda _: self._policies_changed())

    def recorded(self, after: Document) -> None:
        """A request says something new. It is read here: it may say something else, or be gone, a moment later."""
        if self._outbox is not None and self._channels():
            self._take(self._due(after))

    def _policies_changed(self) -> None:
        """What happens from now on is told by a channel that is new, and what waits for one that was mended is tried
        again at once."""
        before, after = self._known[1], self._channels()
        if self._outbox is None or before == after:
            return
        self._whole = True
        self._dirty |= self._outbox.open(after, self._clock())
        self._changed.set()
        for key in before.keys() | after.keys():
            if before.get(key) != after.get(key):
                self._lanes.mend(key)

    def standing(self, policy: str) -> tuple[bool, str] | None:
        """Whether the channels of a policy deliver, what hinders them and what was given up; None where it has none."""
        mine = {channel.key: channel.name for channel in self._channels().values() if channel.policy == policy}
        if not mine:
            return None
        troubles = self._lanes.troubles
        hindered = "; ".join(f"{name}: {troubles[key]}" for key, name in mine.items() if key in troubles)
        told = f"notifications wait: {hindered}" if hindered else "no channel is in trouble"
        dead = [each for each in (self._outbox.dead if self._outbox is not None else ()) if each.channel in mine]
        if dead:
            last = dead[-1]
            told += f"; given up: {len(dead)}, the last at {last.time} ({mine[last.channel]}: {last.why})"
        return not hindered, told

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

    async def follow(self) -> None:
        """As a standby: show what the leader keeps, until cancelled."""
        while True:
            if not self._leads():
                with contextlib.suppress(ApiError):
                    kept = await self._place.load()
                    if kept.value is not None and not self._leads():  # a leader knows better meanwhile
                        self._show(kept.value.tallies())
            await asyncio.sleep(self._pace.sweep)

    def _leads(self) -> bool:
        return self._outbox is not None

    async def _load(self) -> None:
        while True:
            try:
                kept = await self._place.load()
                break
            except ApiError as error:
                log.warning("notifications cannot be read, again in %.0f s: %s", self._pace.sweep, error)
                await asyncio.sleep(self._pace.sweep)
        self._version, self._outbox, self._whole = kept.version, kept.value or Outbox(), True
        self._lanes.begin(self._outbox)
        self._show(self._outbox.tallies())

    async def _tell(self, group: asyncio.TaskGroup) -> None:
        loop = asyncio.get_running_loop()
        swept = None
        while True:
            if self._whole or swept is None or loop.time() - swept >= self._pace.sweep:
                await self._sweep()
                swept = loop.time()
            self._lanes.open(group)
            if self._dirty:
                try:
                    await self._save()
                except ApiError as error:
                    log.warning("notifications cannot be kept, again in %.0f s: %s", self._pace.save, error)
            await asyncio.sleep(self._pace.save)
            await set_within(self._changed, max(swept + self._pace.sweep - loop.time(), 0))
            self._changed.clear()

    async def _sweep(self) -> None:
        """Look at the requests that may tell something new by now; at all of them when this process begins, when there
        are other channels, and when there was no room for what they told."""
        assert self._outbox is not None
        now, channels = self._clock(), self._channels()
        self._dirty |= self._outbox.open(channels, now)  # kept at once: it says from when on the channel is told
        self._close(channels, now)
        self._revive(channels, now)
        whole, self._whole, self._held = self._whole or bool(self._held), False, {}
        found: list[tuple[Notification, tuple[str, ...]]] = []
        late = unrecorded(self._jobs(), self._store)
        for number, document in enumerate(list(self._store.requests.values()) if channels else ()):
            if whole or turns_with_time(document):
                found += self._due(document)
            if number % BATCH == BATCH - 1:
                await asyncio.sleep(0)
        self._take(sorted(found, key=lambda item: item[0].time))
        horizon = min([now - REMEMBERED, *late])
        for key in self._outbox.boxes.keys() - self._absent.keys():  # who is away may come back, and is told then
            self._outbox.boxes[key].forget(min(horizon, self._held.get(key, horizon)))
        self._dirty |= bool(self._outbox.boxes) and now - self._saved >= HORIZON_AGE

    def _close(self, channels: Mapping[str, Channel], now: datetime) -> None:
        """Boxes of channels that are gone, once their lanes have given up what waited."""
        assert self._outbox is not None
        self._absent = {key: self._absent.get(key, now) for key in self._outbox.boxes if key not in channels}
        for key in self._absent:
            if self._gone(key, now) and not self._outbox.boxes[key].waiting:
                del self._outbox.boxes[key]
                self._dirty = True

    def _revive(self, channels: Mapping[str, Channel], now: datetime) -> None:
        """What was given up and is asked for by its policy waits again."""
        assert self._outbox is not None
        policies = self._store.documents["exportpolicies"] if self._outbox.dead else {}
        wishes = {name: wish for name, policy in policies.items() if (wish := wish_of(policy)) is not None}
        for dead in self._outbox.revive(lambda each: wanted(each, channels, wishes, now), now):
            log.info("notification %s by %s is sent again", dead.id, dead.channel, extra=about(dead.request))
            self._keep_soon()
            self._lanes.wake(dead.channel)

    def _gone(self, key: str, now: datetime) -> bool:
        return now - self._absent.get(key, now) >= GONE

    def _due(self, document: Document) -> list[tuple[Notification, tuple[str, ...]]]:
        """What the document tells. No export shall hang on whether it can be told of."""
        try:
            return due(document, self._store.catalogue().policies, self._clock())
        except Exception:
            metadata, told = document["metadata"], document.get("status") or {}
            key = Key(metadata.get("namespace", ""), metadata.get("name", ""))
            log.exception("nobody is told of it", extra=about(key, str(told.get("run") or "")))
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
                    self._keep_soon()
                    self._lanes.wake(key)
                else:
                    self._held[key] = min(self._held.get(key, notification.until), notification.until)

    def _keep_soon(self) -> None:
        self._dirty = True
        self._changed.set()

    def _keep_later(self) -> None:
        """With the next change, or after the next look."""
        self._dirty = True

    def _channels(self) -> Mapping[str, Channel]:
        """The same until a policy changes."""
        catalogue = self._store.catalogue()
        if self._known[0] is not catalogue:
            self._known = (catalogue, all_channels(catalogue.policies))
        return self._known[1]

    async def _save(self) -> None:
        """Raises `ApiError`; then the next call does it."""
        if self._outbox is None or not self._dirty:
            return
        self._dirty, tallies = False, self._outbox.tallies()
        try:
            kept: Kept[Outbox] = await self._place.save(self._outbox, self._version)
        except ApiError as error:
            self._dirty = True
            if error.status in {404, 409}:  # somebody took it away or changed it: what is known here is written anew
                self._version = (await self._place.load()).version
            raise
        except FullError as error:
            if not self._full:
                log.warning("%s: notifications from now on may be lost or repeated if the operator ends", error)
            self._full = True
            return
        self._version, self._saved, self._full = kept.version, self._clock(), False
        self._show(tallies)
