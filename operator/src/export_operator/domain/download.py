"""What comes of an ExportDownload: links, to whom, to what and for how long; what it waits for; or why there are none.

Where the objects stand follows from request and destination, and their manifest proves it: nothing of a request's
status leads to a key. Links are in no value that is written or told, but in the Secret alone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeAlias, TypeVar

from export_contract import names
from export_operator.domain import gitops, identity, lookup, places, policy, times
from export_operator.domain.identity import Enforcement
from export_operator.domain.model import Catalogue, Key, Named, Request, Stamped
from export_operator.domain.status import Document, ended_as

DEFAULT_SECONDS = 900
MAX_SECONDS = 7 * 86_400
"""The longest that a signature of AWS serves (Signature Version 4, query parameters)."""
TOGETHER = timedelta(seconds=10)
"""In which a request may still appear that was applied in the same breath."""
PATIENCE = timedelta(days=1)
"""How long trouble is waited out, and how long a download that failed stays to be read."""
LOOK_AGAIN_SECONDS = 60.0
MOVED_SECONDS = 300.0
"""Between two looks whether an export was moved out of a database."""


@dataclass(frozen=True, slots=True)
class Download(Stamped):
    """An ExportDownload."""

    @property
    def request(self) -> Key:
        return Key(self.key.namespace, str(self.spec.get("requestName") or ""))

    @property
    def run_id(self) -> str | None:
        """`runID` of the run that is asked for; None: the present one."""
        return self.spec.get("runID")

    @property
    def over(self) -> bool:
        """It has been answered for good: nothing but its time is still to come."""
        return self.status.get("phase") in {"Ready", "Failed", "Expired"}

    @property
    def seconds(self) -> int:
        """How long the links are asked to serve."""
        return int(self.spec.get("expirationSeconds") or DEFAULT_SECONDS)


@dataclass(frozen=True, slots=True)
class Seen:
    """All that is known about one download before its objects are looked for. `granted`: as `may_download` takes it;
    `markers`: as `gitops.manager` does."""

    download: Download
    request: Request | None
    catalogue: Catalogue
    identity: Enforcement
    granted: Collection[str] = frozenset()
    markers: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class Wait:
    """`seconds` until the next look; None: what it waits for will be an event."""

    reason: str
    message: str
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Refuse:
    """There will be no links."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Search:
    """The objects of a run are to be looked for in the buckets of `destination`. `most` seconds is what was asked for,
    or what the policy allows."""

    request: Request
    destination: Named
    at: places.Coordinates
    most: int


@dataclass(frozen=True, slots=True)
class Links:
    """There are links, in this Secret."""

    run: str
    objects: int
    secret: str
    until: datetime
    note: str = ""
    """What a person should know of them besides."""


@dataclass(frozen=True, slots=True)
class Rest:
    """Nothing is to be done for so many seconds."""

    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Remove:
    """Its time is over: it goes, and its Secret with it."""


@dataclass(frozen=True, slots=True)
class Expire:
    """Its time is over, and it stays: a tool that keeps it would make it, and new links, again and again."""


Told: TypeAlias = Wait | Refuse | Links | Expire
"""What is written into status."""
A = TypeVar("A")


def decide(seen: Seen, now: datetime) -> Told | Search | Rest | Remove:
    """What is to be done about a download now."""
    return _after(seen, now) if seen.download.over else _begin(seen, now)


def bounded(download: Download, search: Search, answer: A, now: datetime) -> A | Refuse:
    """What came of a search. Trouble that is met again and again ends in a refusal for the same reason, some time after
    the run has ended and links are asked for."""
    since = max(download.created, times.parse(search.request.status.get("completionTime")) or download.created)
    if isinstance(answer, Wait) and now - since > PATIENCE:
        return Refuse(answer.reason, answer.message)
    return answer


def _after(seen: Seen, now: datetime) -> Rest | Remove | Expire:
    status = seen.download.status
    end = times.parse(status.get("expirationTime"))
    if end is None:  # it failed, some time ago
        turned: Mapping[str, Any] = next(
            (each for each in status.get("conditions") or () if each["type"] == "Stalled"), {}
        )
        end = (times.parse(turned.get("lastTransitionTime")) or seen.download.created) + PATIENCE
    left = (end - now).total_seconds()
    if left > 0:
        return Rest(left)
    if not gitops.manager(seen.download, seen.markers):
        return Remove()
    return Expire() if status["phase"] == "Ready" else Rest()


def _begin(seen: Seen, now: datetime) -> Wait | Refuse | Search:
    download, request = seen.download, seen.request
    # Before the next line: an operator that starts after a gap does not know of it, and reads here what was found.
    if not identity.attested(download, seen.identity.mode) or seen.identity.doubts(download):
        text = (
            "nobody attested who created it: the admission policies did not see it, or were not in force. Make it anew"
        )
        return Refuse("IdentityNotAttested", text)
    if not seen.identity.enforced:
        text = f"no link is made while the cluster does not attest who asks: {seen.identity.message}"
        return Wait("IdentityNotEnforced", text, LOOK_AGAIN_SECONDS)
    if request is None:
        text = f"spec.requestName: there is no ExportRequest {download.request.name!r} in this namespace"
        left = (download.created + TOGETHER - now).total_seconds()
        return Refuse("RequestNotFound", text) if left <= 0 else Wait("RequestNotFound", text, left)
    if not identity.may_download(download.requester, request, seen.granted):
        return _not_allowed(download, request)
    run_id = request.run_id if download.run_id is None else download.run_id
    run = names.run_id(request.uid, run_id)
    if run_id == request.run_id:
        if answer := _present(request):
            return answer
        # Status alone knows of a run that was adopted. Its manifest must be of the same namespace, name and requester.
        run = str((request.status.get("adopted") or {}).get("run") or run)
    return _search(seen, request, run)


def _not_allowed(download: Download, request: Request) -> Refuse:
    return Refuse(
        "NotAllowed",
        f"ExportRequest {request.key.name!r} is of {request.requester!r}, and this ExportDownload of"
        f" {download.requester!r}: its requester downloads it, or a holder of the verb act-as, granted by its name on"
        f" requesters.export-operator.io/{request.requester} in namespace {request.key.namespace}",
    )


def _present(request: Request) -> Wait | Refuse | None:
    """Why the request's present run has nothing to download; None when it may have."""
    if not request.finished:
        return Wait(
            "RunNotFinished", f"ExportRequest {request.key.name!r} is {request.phase or 'new'}: it is waited for"
        )
    phase = ended_as(request.status)
    if phase not in {"Succeeded", "PartiallySucceeded"}:
        return Refuse("NothingDelivered", f"ExportRequest {request.key.name!r} ended as {phase}: there is no object")
    return None


def _search(seen: Seen, request: Request, run: str) -> Refuse | Search:
    effective: Mapping[str, Any] = request.status.get("effective") or {}
    name = (request.spec.get("destination") or {}).get("name") or effective.get("destination") or ""
    destination = lookup.usable(seen.catalogue.destinations.get(name), request.key.namespace)
    if destination is None:
        text = f"there is no ExportDestination {name!r} for namespace {request.key.namespace!r} any more"
        return Refuse("DestinationNotFound", f"{text}: ask the platform team")
    ceiling = policy.select(seen.catalogue.policies, request).maximum("downloadExpirationSeconds")
    most = min(seen.download.seconds, ceiling or MAX_SECONDS, MAX_SECONDS)
    return Search(request, destination, places.coordinates(request, effective, run), most)


def absent(search: Search, troubles: Sequence[str]) -> Wait | Refuse:
    """No bucket has the manifest. `troubles` are sentences about those that could not be asked."""
    name, spec = search.destination.name, search.destination.spec
    if troubles:
        return Wait("DestinationUnavailable", "; ".join(troubles), LOOK_AGAIN_SECONDS)
    database = places.fallback_database(spec)
    result = search.request.status.get("result") or {}
    if database is not None and result.get("usedFallback", True):
        uri = names.artifact_uri(database, search.at.run)
        text = (
            f"the export is in the fallback of ExportDestination {name!r}, a database, which no link leads to: links"
            " are made when the platform team has moved it to the bucket (redeliver). Meanwhile it can hand the export"
            f" out by `export-runner fetch {uri} --to FILE`"
        )
        return Wait("InFallbackDatabase", text, MOVED_SECONDS)
    folder = f"s3://{spec['bucket']}/{search.at.keys(spec).manifest.rpartition('/')[0]}/"
    if not spec.get("credentialsSecret"):
        text = (
            f"ExportDestination {name!r} has no key to sign links with: its access is that of export pods. Fetch what"
            f" is in {folder} with access of your own, or ask the platform team"
        )
        return Refuse("NoKeyToSign", text)
    return Refuse("ObjectsNotFound", f"{folder} has no manifest: it was removed, or the run has delivered nothing")


def status(download: Download, answer: Told, now: datetime) -> dict[str, Any]:
    """The status that tells the answer."""
    known = download.status
    document = Document({**known}, [*(known.get("conditions") or ())], download.generation, now)
    document.fields["observedGeneration"] = download.generation
    match answer:
        case Wait(reason, message):
            phase = "Pending"
        case Refuse(reason, message):
            phase = "Failed"
            document.condition("Stalled", True, reason, message)
        case Expire():
            phase, reason, message = "Expired", "Expired", "the links have ended: make a new ExportDownload for others"
        case Links(run, objects, name, until, more):
            phase, reason = "Ready", "LinksMade"
            some = "the object" if objects == 1 else f"{objects} objects"
            message = f"links to {some} and the manifest are in Secret {name} until {times.render(until)}"
            message += f"; {more}" if more else ""
            document.fields.update(
                run=run, objects=objects, secretRef={"name": name}, expirationTime=times.render(until)
            )
    document.phase(phase, reason, message)
    if phase == "Expired":
        document.drop_condition("Ready")  # a tool that waits for what it has applied would wait for ever
        document.condition("Expired", True, reason, message)
    else:
        document.condition("Ready", phase == "Ready", reason, message)
    return document.compose()
