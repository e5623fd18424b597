"""The Lease by which one process of several leads: won, renewed, given back; and the fence that asks for it.

The client's own elector reads the wall clock, goes on after an error of the connection, and never gives the Lease back.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime

from export_operator.adapters.informer import Informer
from export_operator.adapters.kube import ApiError, Kube, path_of
from export_operator.domain import lease
from export_operator.domain.lease import Lease, Sight

log = logging.getLogger(__name__)

RENEW_SECONDS = 2.0  # between a renewal and the next
RETRY_SECONDS = 0.5  # after one that failed
WAIT_SECONDS = 4.0  # at most, between two tries to take it: an API server may take no write for hours
FIRST_TRY_SECONDS = 1.5  # for the answer to a renewal; each further try is given twice as long, while the Lease lasts
RETURN_SECONDS = 1.0
TAKEN = {404, 422}  # the Lease has been deleted, or names another holder


def uptime() -> float:
    """Seconds of a clock that nobody sets and that goes on while the machine is suspended."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class NotLeading(ApiError):  # noqa: N818 - it says what is the case, and is treated as any call that fails
    """This process does not hold the Lease, or not for long enough: nothing was sent."""

    def __init__(self, message: str) -> None:
        super().__init__(0, "NotLeading", message)


class Elector:
    """`holder` is this process's own name among all there ever were. `kube` should be a connection of its own: a
    renewal must not stand behind other calls, and is not fenced. `clock` is the time of day in UTC, for people who read
    the Lease; `timer` is what decides, seconds that only go forward."""

    def __init__(
        self,
        kube: Kube,
        namespace: str,
        holder: str,
        clock: Callable[[], datetime],
        timer: Callable[[], float] = uptime,
    ) -> None:
        self._kube = kube
        self._all = path_of("coordination.k8s.io", "v1", "leases", namespace=namespace)
        self._path = f"{self._all}/{lease.NAME}"
        self._clock = clock
        self._timer = timer
        self._until = -1.0
        self._sight = Sight(None, 0.0)
        self._news = asyncio.Event()
        self.holder = holder

    @property
    def leads(self) -> bool:
        """Whether this process holds the Lease at this moment."""
        return self._timer() < self._until

    def fence(self, seconds: float) -> None:
        """Raises `NotLeading` unless the Lease is held for so many seconds more: for what takes effect outside."""
        left = self._until - self._timer()
        if left < seconds:
            raise NotLeading(f"the Lease is held for {max(left, 0.0):.1f} s more, and this may take {seconds:.1f} s")

    async def win(self) -> None:
        """Wait for the Lease, and take it. An API server that is away is waited for."""
        name = f"metadata.name={lease.NAME}"  # that is all that may be seen of Leases
        informer = Informer(self._kube, self._all, lease.parse_lease, self._seen, field=name)
        watch = asyncio.create_task(informer.run(), name="watch of the Lease")
        try:
            await informer.synced.wait()
            failures = 0
            while True:
                wait = lease.free_in(self._sight, self.holder, self._timer())
                if wait <= 0:
                    if await self._claim(self._sight.lease):
                        return
                    await self._look(informer)
                    wait = min(RETRY_SECONDS * 2**failures, WAIT_SECONDS)
                    failures = min(failures + 1, 10)
                else:
                    failures = 0
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._news.wait()
                self._news.clear()
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)

    async def hold(self) -> None:
        """Renew the Lease as long as that works. Raises `NotLeading` when it is lost, to somebody or to time."""
        failures = 0
        while True:
            await asyncio.sleep(RETRY_SECONDS if failures else RENEW_SECONDS)
            sent = self._timer()
            left = self._until - sent
            if left <= 0:
                raise NotLeading("the Lease could not be renewed in time")
            try:
                change = lease.renewal(self.holder, self._clock())
                await self._kube.amend(self._path, change, min(left, FIRST_TRY_SECONDS * 2**failures))
            except ApiError as error:
                if error.status in TAKEN:
                    self._until = -1.0
                    raise NotLeading("somebody else has the Lease") from error
                failures += 1
                log.warning("the Lease is not renewed, and held for %.1f s more: %s", left, error)
            else:
                self._until = sent + lease.DURATION_SECONDS
                failures = 0

    async def give_back(self) -> None:
        """Let the next one begin at once. From here on nothing passes the fence."""
        if not self.leads:
            return
        self._until = -1.0
        try:
            await self._kube.amend(self._path, lease.return_(self.holder, self._clock()), RETURN_SECONDS)
        except ApiError as error:
            log.warning("the Lease could not be given back, and runs out: %s", error)

    def _seen(self, _: Lease | None, after: Lease | None) -> None:
        self._sight = Sight(after, self._timer())
        self._news.set()

    async def _claim(self, known: Lease | None) -> bool:
        sent = self._timer()
        body = lease.claim(known, self.holder, self._clock())
        try:
            if known is None:
                await self._kube.create(self._all, body)
            else:
                await self._kube.patch(self._path, body)
        except ApiError as error:
            log.info("the Lease is not taken: %s", error)
            return False
        self._until = sent + lease.DURATION_SECONDS
        return True

    async def _look(self, informer: Informer[Lease]) -> None:
        """At the Lease as it is now: the watch may lag."""
        with suppress(ApiError):
            document = await self._kube.find(self._path)
            if document is None:
                informer.drop(lease.NAME)
            else:
                informer.put(document)
