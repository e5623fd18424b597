"""Who asks: against whom a request counts, whether the cluster attests it, and who may speak for whom."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

from export_operator.domain.model import EPOCH, GROUP, Request, Stamped

SERVICE_ACCOUNT_PREFIX = "system:serviceaccount:"

Mode = Literal["Attested", "Declared"]
"""Attested: the cluster stamps requester and submitter. Declared: the client writes the requester and the cluster
checks it; nobody attests groups then."""

SETTLE = timedelta(seconds=2)
"""A policy is in force in every API server a moment after it is created: what is created in between may be forged."""
PATIENCE = timedelta(seconds=150)
"""How long a good look of the canary is believed while it cannot look again: two looks and a slow answer."""
STAMP = timedelta(seconds=1)
"""What creationTimestamp is cut to."""
MAX_SPANS = 32
"""Blind times that are remembered one by one; more become one long one."""


class Subject(NamedTuple):
    """`kind` is User or Namespace; the pair is the identity of a ledger object. A tuple, for the queue compares and
    looks up many."""

    kind: str
    name: str


def attested(given: Stamped, mode: Mode = "Attested") -> bool:
    """The fields that the policies demand are there: a missing one means that they did not see the object."""
    return bool(given.requester and (given.submitter or mode == "Declared"))


def subject_of(given: Stamped) -> Subject:
    """Whom the request counts against, or those that the schedule makes."""
    return subject(given.requester, given.key.namespace)


def subject(requester: str, namespace: str) -> Subject:
    """A person counts as a person. A service account that was not allowed to name one counts as the namespace of the
    *request*: one account of a pipeline serves many teams, and five a day for all of them would help nobody."""
    if requester.startswith(SERVICE_ACCOUNT_PREFIX):
        return Subject("Namespace", namespace)
    return Subject("User", requester)


ACT_AS = "act-as"
"""The verb with which one speaks for another, on the virtual resource `requesters`."""
BY_WILDCARD = "by-wildcard"
"""A verb that nobody is given by name. Who has it has every verb, which does not count as `ACT_AS`: else whoever may do
everything in one namespace could read as anybody."""


def may_download(downloader: str, request: Request, granted: Collection[str]) -> bool:
    """Whether `downloader`, the stamped requester of an ExportDownload, gets the result of `request`. `granted` are
    those of `ACT_AS` and `BY_WILDCARD` that the API server allows (see `review`). Admission cannot decide this: it
    sees one object at a time."""
    # Two objects that no policy has seen have the same requester: none.
    return bool(downloader) and (downloader == request.requester or acts_as(granted))


def acts_as(granted: Collection[str]) -> bool:
    """Whether who is granted these of `ACT_AS` and `BY_WILDCARD` may speak for another."""
    return ACT_AS in granted and BY_WILDCARD not in granted


def review(verb: str, username: str, groups: Iterable[str], requester: str, namespace: str) -> dict[str, Any]:
    """The SubjectAccessReview that asks whether `username`, with the groups that were attested, has `verb` on
    `requester` in a namespace."""
    return _review(username, groups, resource="requesters", name=requester, namespace=namespace, verb=verb)


def review_asking(username: str, groups: Iterable[str], namespace: str) -> dict[str, Any]:
    """The SubjectAccessReview that asks whether `username` may create requests in a namespace."""
    return _review(username, groups, resource="exportrequests", namespace=namespace, verb="create")


def _review(username: str, groups: Iterable[str], **attributes: str) -> dict[str, Any]:
    return {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": username, "groups": sorted(groups), "resourceAttributes": {"group": GROUP, **attributes}},
    }


def find_weakness(policy: Mapping[str, Any], binding: Mapping[str, Any], *, denies: bool) -> str:
    """What lets requests past a policy although it is there: conditions, selectors or a softer action, in words; ""
    when nothing does. `denies`: it is one that refuses, so its binding has to say so. A dry run in one namespace would
    not notice a policy that spares another."""
    spec, bound = policy.get("spec") or {}, binding.get("spec") or {}
    constraints = spec.get("matchConstraints") or {}
    if spec.get("failurePolicy") != "Fail":
        return "failurePolicy is not Fail"
    if spec.get("matchConditions"):
        return "it has matchConditions"
    if spec.get("paramKind") or bound.get("paramRef"):
        return "it has parameters"
    if constraints.get("namespaceSelector") or constraints.get("objectSelector"):
        return "its matchConstraints select namespaces or objects"
    if constraints.get("excludeResourceRules"):
        return "its matchConstraints exclude resources"
    if bound.get("matchResources"):
        return "its binding has matchResources"
    if bound.get("policyName") != policy["metadata"]["name"]:
        return "its binding is another policy's"
    if denies and "Deny" not in (bound.get("validationActions") or ()):
        return "its binding does not deny"
    return ""


@dataclass(frozen=True, slots=True)
class Finding:
    """One look of the canary. `enforced` None: it could not find out. `since` is when the youngest of the policies and
    bindings was created."""

    time: datetime
    enforced: bool | None
    message: str = ""
    since: datetime = EPOCH


@dataclass(frozen=True, slots=True)
class Span:
    """A time in which anybody may have written anything: from the last good look of the canary to the next. `end` is
    None while it lasts."""

    start: datetime
    end: datetime | None = None


@dataclass(frozen=True, slots=True)
class Enforcement:
    """Whether the policies attest who asks, and which requests they may not have seen."""

    mode: Mode = "Attested"
    enforced: bool = False
    message: str = "the admission policies have not been tried yet"
    since: datetime = EPOCH
    good: datetime | None = None
    blind: tuple[Span, ...] = ()

    def after(self, finding: Finding) -> Enforcement:
        """What is known after one more look. Only a look that saw a gap makes requests doubtful; one that could not
        see holds admission, when the last good one is too long ago."""
        if finding.enforced:
            closed = tuple(replace(span, end=span.end or finding.time) for span in self.blind)
            return replace(
                self, enforced=True, message="", since=finding.since, good=finding.time, blind=_bounded(closed)
            )
        if finding.enforced is None:
            fresh = self.enforced and self.good is not None and finding.time - self.good <= PATIENCE
            return self if fresh else replace(self, enforced=False, message=finding.message)
        blind = self.blind
        if not blind or blind[-1].end is not None:
            blind = (*blind, Span(self.good or EPOCH))
        return replace(self, enforced=False, message=finding.message, blind=blind)

    def doubts(self, given: Stamped) -> bool:
        """The object may have been made while nobody looked: before the present policies, or in a blind time.
        creationTimestamp is cut to whole seconds, so what is doubtful is rounded outwards."""
        born = given.created
        return born <= self.since + SETTLE or (bool(self.blind) and self.blind_between(born, born + STAMP))

    def blind_between(self, start: datetime, end: datetime) -> bool:
        """Nobody looked at some moment from `start` until `end`."""
        return any(end > span.start and (span.end is None or start <= span.end) for span in self.blind)


def _bounded(spans: tuple[Span, ...]) -> tuple[Span, ...]:
    """Too many become fewer and longer, which doubts more and never less."""
    if len(spans) <= MAX_SPANS:
        return spans
    return (Span(spans[0].start, spans[1].end), *spans[2:])
