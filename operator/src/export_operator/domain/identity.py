"""Against whom a request counts."""

from __future__ import annotations

from dataclasses import dataclass

from export_operator.domain.model import Request

SERVICE_ACCOUNT_PREFIX = "system:serviceaccount:"


@dataclass(frozen=True, slots=True, order=True)
class Subject:
    """`kind` is User or Namespace; the pair is the identity of a ledger object."""

    kind: str
    name: str


def attested(request: Request) -> bool:
    """Both fields are stamped at admission, so one that is missing means that the policies did not see the request."""
    return bool(request.requester and request.submitter)


def subject_of(request: Request) -> Subject:
    """A person counts as a person. A service account that was not allowed to name one counts as the namespace of the
    *request*: one account of a pipeline serves many teams, and five a day for all of them would help nobody."""
    if request.requester.startswith(SERVICE_ACCOUNT_PREFIX):
        return Subject("Namespace", request.key.namespace)
    return Subject("User", request.requester)
