"""What calls to the API server are for."""

from __future__ import annotations

from export_operator.adapters.outbox import NAME as OUTBOX
from export_operator.adapters.unwritten import NAME as HISTORY

PURPOSES = {
    "exportrequests": "request",
    "exportusages": "ledger",
    "jobs": "job",
    "workloads": "workload",
    "events": "event",
    "secrets": "probe",
    "configmaps": "totals",
    "leases": "lease",
}

ASKED = {"pods": "pod", "events": "event"}
"""Listed beyond any cache, to learn why one run does not start or how it ended."""


def purpose_of(path: str, verb: str) -> str:
    """What a call is for: keeping caches (`list`, `watch`), the canary (`dry-run`), a `status`, a `log`, one of
    `PURPOSES`, `pod`, `download`, `history`, `notification`, or else the verb itself. A run costs the sum of all but
    `list`, `watch`, `dry-run`, `log`, `probe` and `lease`, which do not grow with their number."""
    root, *parts = path.strip("/").split("/")
    place = parts[2 if root == "apis" else 1 :]
    if place[:1] == ["namespaces"] and len(place) > 2:
        place = place[2:]
    plural, subresource = "".join(place[:1]), "".join(place[2:3])
    if plural in ASKED and verb == "list":
        return ASKED[plural]
    if plural == "secrets" and verb == "create":
        return "download"  # the one kind of Secret that is made
    if verb in {"list", "watch", "dry-run"}:
        return verb
    if plural == "configmaps" and place[1:2] == [HISTORY]:
        return "history"
    if plural == "configmaps" and place[1:2] == [OUTBOX]:
        return "notification"
    return subresource or PURPOSES.get(plural, verb)
