"""How the operator begins: what must be known first, who is looked at first, and when the first one is admitted."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from export_operator.adapters.cells import LedgerError
from export_operator.adapters.kube import ApiError
from export_operator.parts import Parts
from export_operator.takeover import take_over

log = logging.getLogger(__name__)

START_SECONDS = 60.0  # for the first lists; an API server that is slower restarts the pod
KUEUE_SECONDS = 5.0  # for the first list of Workloads, which may be of a kind that nobody has installed
FIRST_LOOK_SECONDS = 30.0  # at everybody who waits; then those who were not seen yet come later
RETRY_SECONDS = 5.0


class Beginning:
    """Of one process: `catch_up` before it stands by; `lead`, then `admit`, once it leads."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._looked = asyncio.Event()

    async def catch_up(self) -> None:
        """Wait for what a standby must know too. The kinds of ours are listed by who begins to lead, for others by
        kopf. Raises `TimeoutError`."""
        parts = self._parts
        if parts.settings.kueue:
            with contextlib.suppress(TimeoutError):  # without Kueue in the cluster its own runs wait, and no others
                async with asyncio.timeout(KUEUE_SECONDS):
                    await parts.workloads.informer.synced.wait()
        async with asyncio.timeout(START_SECONDS):
            for cache in (parts.runs.jobs, parts.runs.pods, parts.redeliveries, parts.ledger.informer):
                await cache.synced.wait()

    async def lead(self) -> None:
        """Lead from here on: with what is known of sources and destinations, and who asks; then look at everything.
        Nothing is decided before every source, destination and policy is known: half of them would lie.

        A watch may lag behind what the last leader has written: a run that is over, and whose Job has been deleted,
        would begin again. So all is listed once more, now that nobody else writes."""
        parts = self._parts
        while True:
            try:
                await parts.resync.once()
                break
            except ApiError as error:
                log.warning("requests cannot be listed, again in %.0f s: %s", RETRY_SECONDS, error)
                await asyncio.sleep(RETRY_SECONDS)
        parts.prober.restore()
        await parts.canary.look()
        parts.begin()
        everybody = dict.fromkeys((*parts.store.requests, *parts.ledger.requests(), *parts.runs.requests()))
        for key in everybody:
            if not parts.store.at_rest(key):
                parts.wake(key)
        # What is left to do about those who have ended can wait.
        parts.store.backlog.add(key for key in everybody if parts.store.at_rest(key))

    async def admit(self) -> None:
        """Serve those who wait, until cancelled. Nothing is admitted before the slots agree with the Jobs, and before
        everybody who waits has been looked at: who is looked at first shall not be served first."""
        parts = self._parts
        while True:
            try:
                await take_over(parts.store, parts.runs, parts.ledger, parts.cluster)
                break
            except (ApiError, LedgerError) as error:
                log.warning("slots cannot be taken over, again in %.0f s: %s", RETRY_SECONDS, error)
                parts.queueing.close(LedgerError(str(error)))
                self._looked.set()
                await asyncio.sleep(RETRY_SECONDS)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_LOOK_SECONDS):
                await parts.queue.passed()
        self._looked.set()
        parts.queueing.open()
        await parts.queueing.run()

    async def looked(self) -> None:
        """Wait until a leader has looked at everybody who waits, or cannot, but not for ever."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_LOOK_SECONDS):
                await self._looked.wait()
