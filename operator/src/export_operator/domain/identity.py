"""Against whom a request counts."""

from __future__ import annotations

from typing import NamedTuple

from export_operator.domain.model import Request

SERVICE_ACCOUNT_PREFIX = "system:serviceaccount:"


class Subject(NamedTuple):
    """`kind` is User or Namespace; the pair is the identity of a ledger object. A tuple, for the queue compares and
    looks up many."""

    kind: str
    name: str


def attested(request: Request) -> bool:
    """Both fields are stamped at admission, so one that is missing means that the policies did not see the request."""
    return bool(request.requester and request.submitter)


def subject_of(request: Request) -> Subject:
    """Whom the request counts against."""
    return subject(request.requester, request.key.namespace)


def subject(requester: str, namespace: str) -> Subject:
    """A person counts as a person. A service account that was not allowed to name one counts as the namespace of the
    *request*: one account of a pipeline serves many teams, and five a day for all of them would help nobody."""
    if requester.startswith(SERVICE_ACCOUNT_PREFIX):
        return Subject("Namespace", namespace)
    return Subject("User", requester)
