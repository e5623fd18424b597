"""What kopf's watches and the resync have told of our resources: documents by key, never older than what was known."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from export_operator.backlog import Backlog
from export_operator.domain import estimates, gitops
from export_operator.domain.census import Census
from export_operator.domain.model import TERMINAL_PHASES, Catalogue, DeliveredSize, Key, Named, going, parse_named
from export_operator.words import Words

Document = Mapping[str, Any]

SETTLED = TERMINAL_PHASES | {"Running"}  # phases in which a request depends on no source, destination or policy more
MAX_GONE = 10_000  # deleted objects remembered: many more than can be deleted while one LIST is read
KEPT = ("namespace", "name", "uid", "resourceVersion", "generation", "creationTimestamp")  # of metadata, beside marks


class Store:
    """`changed` is called with the key of every request that may need a look, `recorded` with each new document of a
    request and the one that it replaces. Who else wants to know of changes says so to `listen`. Of labels and
    annotations only `marks` are kept.

    What somebody has deleted is gone from that moment on, however long a finalizer keeps it."""

    def __init__(
        self,
        changed: Callable[[Key], None],
        recorded: Callable[[Document | None, Document], None] = lambda _before, _after: None,
        marks: Collection[str] = gitops.keys(),
    ) -> None:
        self._changed = changed
        self._marks = marks
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
        self._words = Words()

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
        before = self.requests.get(key)
        if not self._news(document, before):
            return
        if going(document):
            self.drop_request(key, document["metadata"]["uid"])
        else:
            after = self._lean(document)
            self.requests[key] = after
            self.census.put(key, after)
            self._recorded(before, after)
            estimates.remember(self._deliveries, document.get("status") or {})
            self._changed(key)
            self._tell(REQUESTS, key)

    @property
    def gone(self) -> frozenset[str]:
        """UIDs of what is known to be gone."""
        return frozenset(self._gone)

    def drop_request(self, key: Key, uid: str = "") -> None:
        """It is gone: whatever has this name, or only what has this UID. Somebody may have made it anew, and events of
        different objects come in any order."""
        if not self._ended(self.requests.get(key), uid):
            return
        self.requests.pop(key, None)
        self.census.drop(key)
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
        if not self._news(document, self.beside[kind].get(key)):
            return
        if going(document):
            self.drop_beside(kind, key, document["metadata"]["uid"])
        else:
            self.beside[kind][key] = self._lean(document)
            self._tell(kind, key)

    def drop_beside(self, kind: str, key: Key, uid: str = "") -> None:
        """Likewise."""
        if self._ended(self.beside[kind].get(key), uid) and self.beside[kind].pop(key, None) is not None:
            self._tell(kind, key)

    def _tell(self, kind: str, key: Key) -> None:
        for changed in self._listeners[kind]:
            changed(key)

    def _news(self, document: Document, known: Document | None) -> bool:
        """It says what was not known, and is not of an object that is gone."""
        return document["metadata"]["uid"] not in self._gone and _newer(document, known)

    def _lean(self, document: Document) -> Document:
        """Without what nobody reads of the metadata, which may be more than all else: `managedFields`, and whatever
        people and tools note there. The API server takes none of it from who writes a status. The rest in words that
        all documents share."""
        metadata = document["metadata"]
        kept = {name: metadata[name] for name in KEPT if name in metadata}
        for name in ("labels", "annotations"):
            if found := {key: value for key, value in (metadata.get(name) or {}).items() if key in self._marks}:
                kept[name] = found
        if owners := [owner for owner in metadata.get("ownerReferences") or () if owner.get("controller")]:
            kept["ownerReferences"] = owners
        return self._words.shared({**document, "metadata": kept})

    def _ended(self, known: Document | None, uid: str) -> bool:
        """Remember that the object of this UID is gone, or that which is known; whether nothing else is known."""
        present = "" if known is None else str(known["metadata"]["uid"])
        if gone := uid or present:
            self._gone[gone] = None
        if len(self._gone) > MAX_GONE:
            del self._gone[next(iter(self._gone))]
        return present in ("", gone)

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

    def drop_named(self, kind: str, name: str, uid: str = "") -> None:
        """As `drop_request`."""
        known = self.documents[kind].get(name)
        if known is not None and uid not in ("", known["metadata"]["uid"]):
            return
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
    """resourceVersions of one kind are comparable numbers (KEP-5504), also of two objects that had one name."""
    return known is None or int(document["metadata"]["resourceVersion"]) > int(known["metadata"]["resourceVersion"])
