"""What kopf's watches and the resync have told of our resources: documents by key, never older than what was known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from export_operator.backlog import Backlog
from export_operator.domain import estimates
from export_operator.domain.census import Census
from export_operator.domain.model import TERMINAL_PHASES, Catalogue, DeliveredSize, Key, Named, parse_named

Document = Mapping[str, Any]

SETTLED = TERMINAL_PHASES | {"Running"}  # phases in which a request depends on no source, destination or policy more
MAX_GONE = 10_000  # deleted objects remembered: many more than can be deleted while one LIST is read


class Store:
    """`changed` is called with the key of every request that may need a look, `recorded` with each new document of a
    request and the one that it replaces. Who else wants to know of changes says so to `listen`."""

    def __init__(
        self,
        changed: Callable[[Key], None],
        recorded: Callable[[Document | None, Document], None] = lambda _before, _after: None,
    ) -> None:
        self._changed = changed
        self._listeners: dict[str, list[Callable[[Key], None]]] = {kind: [] for kind in (REQUESTS, *BESIDE, *CATALOGUE)}
        self._recorded = recorded
        self.census = Census()
        self.backlog = Backlog(changed)
        self.requests: dict[Key, Document] = {}
        self.beside: dict[str, dict[Key, Document]] = {kind: {} for kind in BESIDE}
        self.documents: dict[str, dict[str, Document]] = {kind: {} for kind in CATALOGUE}
        self._named: dict[str, dict[str, Named]] = {kind: {} for kind in CATALOGUE}
        self._deliveries: dict[tuple[str, str], tuple[DeliveredSize, ...]] = {}
        self._catalogue: Catalogue | None = None
        self._gone: dict[str, None] = {}  # UIDs, oldest first

    def catalogue(self) -> Catalogue:
        """The same one until a source, destination or policy changes."""
        if self._catalogue is None:
            self._catalogue = Catalogue(
                deliveries=self._deliveries,
                sources=dict(self._named["exportsources"]),
                destinations=dict(self._named["exportdestinations"]),
                policies=dict(self._named["exportpolicies"]),
            )
        return self._catalogue

    def put_request(self, document: Document) -> None:
        """A request as it was read. One that is known to be gone does not come back by a LIST that began before, and
        what is known already wakes nobody: a resync finds ten thousand that have not changed."""
        key = key_of(document)
        if document["metadata"]["uid"] not in self._gone and _newer(document, self.requests.get(key)):
            before, after = self.requests.get(key), _lean(document)
            self.requests[key] = after
            self.census.put(key, after)
            self._recorded(before, after)
            estimates.remember(self._deliveries, document.get("status") or {})
            self._changed(key)
            self._tell(REQUESTS, key)

    def drop_request(self, key: Key) -> None:
        dropped = self.requests.pop(key, None)
        self.census.drop(key)
        if dropped is not None:
            self._bury(dropped)
        self._changed(key)
        self._tell(REQUESTS, key)

    def at_rest(self, key: Key) -> bool:
        """Whether the request is there and has ended: what is still to be done about it is planned."""
        return _phase(self.requests.get(key) or {}) in TERMINAL_PHASES

    def listen(self, kind: str, changed: Callable[[Key], None]) -> None:
        """Call `changed` with the key of each object of `kind` (`REQUESTS`, one of `BESIDE` or of `CATALOGUE`) that is
        new, says something new (of the catalogue: in its spec), or is gone."""
        self._listeners[kind].append(changed)

    def put_beside(self, kind: str, document: Document) -> None:
        """An object of a kind of `BESIDE` as it was read; as with a request, what is old or known changes nothing."""
        key = key_of(document)
        if document["metadata"]["uid"] not in self._gone and _newer(document, self.beside[kind].get(key)):
            self.beside[kind][key] = _lean(document)
            self._tell(kind, key)

    def drop_beside(self, kind: str, key: Key) -> None:
        dropped = self.beside[kind].pop(key, None)
        if dropped is not None:
            self._bury(dropped)
            self._tell(kind, key)

    def _tell(self, kind: str, key: Key) -> None:
        for changed in self._listeners[kind]:
            changed(key)

    def _bury(self, document: Document) -> None:
        self._gone[document["metadata"]["uid"]] = None
        if len(self._gone) > MAX_GONE:
            del self._gone[next(iter(self._gone))]

    def put_named(self, kind: str, document: Document) -> None:
        """A source, destination or policy. Those who have no Job yet are looked at again when it says something new."""
        name = document["metadata"]["name"]
        before = self.documents[kind].get(name)
        if not _newer(document, before):
            return
        self.documents[kind][name] = document
        self._named[kind][name] = parse_named(document)
        self._catalogue = None
        if before is None or before.get("spec") != document.get("spec"):
            self.wake_waiting()
            self._tell(kind, Key("", name))

    def drop_named(self, kind: str, name: str) -> None:
        self._named[kind].pop(name, None)
        self._catalogue = None
        if self.documents[kind].pop(name, None) is not None:
            self.wake_waiting()
            self._tell(kind, Key("", name))

    def wake_waiting(self) -> None:
        """Look again at every request that has no Job yet, oldest first, at the backlog's pace."""
        waiting = [
            (document["metadata"].get("creationTimestamp", ""), key)
            for key, document in self.requests.items()
            if _phase(document) not in SETTLED
        ]
        self.backlog.add(key for _, key in sorted(waiting))


REQUESTS = "exportrequests"
DOWNLOADS = "exportdownloads"
BESIDE = ("scheduledexports", DOWNLOADS)
"""The other kinds that tenants write, each with a controller of its own."""
CATALOGUE = ("exportsources", "exportdestinations", "exportpolicies")


def key_of(document: Document) -> Key:
    return Key(document["metadata"]["namespace"], document["metadata"]["name"])


def _phase(document: Document) -> str:
    return str((document.get("status") or {}).get("phase") or "")


def _newer(document: Document, known: Document | None) -> bool:
    """resourceVersions of one kind are comparable numbers (KEP-5504). Another UID is another object."""
    if known is None or known["metadata"]["uid"] != document["metadata"]["uid"]:
        return True
    return int(document["metadata"]["resourceVersion"]) > int(known["metadata"]["resourceVersion"])


def _lean(document: Document) -> Document:
    """Without `managedFields`, which are more than all else and which nobody reads. The API server takes an update
    without them as one that changes nothing about them."""
    return {
        **document,
        "metadata": {name: value for name, value in document["metadata"].items() if name != "managedFields"},
    }
