"""The kopf edge: which kinds are watched, and where their events go. No decision is made here."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import kopf

from export_operator.adapters.kube import PAGE
from export_operator.domain.model import GROUP, VERSION
from export_operator.store import BESIDE, CATALOGUE, REQUESTS, Store, key_of

LOGIN_SECONDS = 1.0  # before the next one, after a login that was refused
FAR_AWAY = datetime(2100, 1, 1, tzinfo=UTC)
PAUSES = (1.0, 1.0, 2.0, 3.0, 5.0, 8.0, 13.0, 21.0)  # seconds before a LIST or WATCH is tried again, as kopf has them
LAST_PAUSE = 30.0
SERVER_SECONDS = 240  # the server ends a watch after this; below the usual idle limits of load balancers
IDLE_SECONDS = 0.2  # for which kopf keeps an object's last event: at a start there is one of each object


def make_registry(store: Store) -> kopf.OperatorRegistry:
    """Handlers of all watched kinds, feeding `store`."""
    registry = kopf.OperatorRegistry()
    kopf.on.startup(registry=registry)(_configure)
    kopf.on.login(registry=registry)(_make_login())

    @kopf.on.event(GROUP, VERSION, REQUESTS, registry=registry)
    async def request_event(event: kopf.RawEvent, **_: Any) -> None:
        document = _plain(event)
        if event["type"] == "DELETED":
            store.drop_request(key_of(document), document["metadata"]["uid"])
        else:
            store.put_request(document)

    for kind in BESIDE:
        kopf.on.event(GROUP, VERSION, kind, registry=registry, id=kind)(_beside_handler(store, kind))
    for kind in CATALOGUE:
        kopf.on.event(GROUP, VERSION, kind, registry=registry, id=kind)(_named_handler(store, kind))
    return registry


def _beside_handler(store: Store, kind: str) -> Any:
    async def beside_event(event: kopf.RawEvent, **_: Any) -> None:
        document = _plain(event)
        if event["type"] == "DELETED":
            store.drop_beside(kind, key_of(document), document["metadata"]["uid"])
        else:
            store.put_beside(kind, document)

    return beside_event


def _named_handler(store: Store, kind: str) -> Any:
    async def named_event(event: kopf.RawEvent, **_: Any) -> None:
        document = _plain(event)
        if event["type"] == "DELETED":
            store.drop_named(kind, document["metadata"]["name"], document["metadata"]["uid"])
        else:
            store.put_named(kind, document)

    return named_event


class _Patience:
    """kopf ends, and the process with it, when its pauses do, also where one namespace of many may not be read any
    more. These never end."""

    def __iter__(self) -> Iterator[float]:
        return itertools.chain(PAUSES, itertools.repeat(LAST_PAUSE))


def _plain(event: kopf.RawEvent) -> dict[str, Any]:
    return dict(event["object"])


def _make_login() -> Any:
    """kopf never takes credentials again that were refused once, and ends for want of others; but an API server may say
    401 for a moment. So each login differs from the last, by a date on which it would expire."""
    logins = itertools.count()

    async def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
        number = next(logins)
        if number:
            await asyncio.sleep(LOGIN_SECONDS)
        found = kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)
        return None if found is None else replace(found, expiration=FAR_AWAY + timedelta(seconds=number))

    return login


def _configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    settings.peering.standalone = True  # a Lease, not kopf's peering, tells who leads
    settings.scanning.disabled = True  # it would retry forbidden cluster-wide scans for a minute
    settings.posting.enabled = False  # Events of requests are our own
    settings.posting.loggers = False
    settings.watching.server_timeout = SERVER_SECONDS
    settings.watching.chunk_size = PAGE
    settings.queueing.idle_timeout = IDLE_SECONDS
    settings.networking.request_timeout = 30
    settings.networking.error_backoffs = _Patience()
    settings.execution.max_workers = 2  # all handlers are coroutines
