"""Who leads: one Lease, what it says, and when somebody else may take it.

Rules: kubernetes/client-go `tools/leaderelection`, as far as what stands in the Lease and when it is free. No moment in
a Lease is ever compared with a clock of this machine: clocks differ, and are set. A Lease is free when it has not
changed for as long as its holder said, counted from when this process first saw it so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

NAME = "export-operator"

DURATION_SECONDS = 15.0
"""How long a renewal holds: counted by the holder from before it was sent, by others from after they have seen it."""

EXPIRED_SECONDS = 1
"""`leaseDurationSeconds` of a Lease that was given back, as client-go writes it."""

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Lease:
    """As it was read. `holder` is "" when it was given back."""

    version: str
    holder: str
    seconds: float
    transitions: int


@dataclass(frozen=True, slots=True)
class Sight:
    """What is known of the Lease (None: there is none), and since when: seconds of a clock that only goes forward."""

    lease: Lease | None
    since: float


def holder_name(pod: str, uid: str, process: str) -> str:
    """The name of one process among all holders there ever were. `uid` is the pod's, "" outside of one."""
    return f"{pod}_{uid}_{process}"


def parse_lease(document: Document) -> Lease:
    spec = document.get("spec") or {}
    return Lease(
        version=document["metadata"]["resourceVersion"],
        holder=spec.get("holderIdentity") or "",
        seconds=float(spec.get("leaseDurationSeconds") or DURATION_SECONDS),
        transitions=int(spec.get("leaseTransitions") or 0),
    )


def free_in(sight: Sight, holder: str, now: float) -> float:
    """Seconds until `holder` may try to take the Lease, 0 or less for "now". Trying is safe at any time: it is taken as
    it was seen, or not at all."""
    known = sight.lease
    if known is None or not known.holder or known.holder == holder:
        return 0.0
    pod = _pod_of(holder)
    if pod and pod == _pod_of(known.holder):
        return 0.0  # an earlier process of this very pod: the kubelet saw it end before it started this one
    return sight.since + known.seconds - now


def _pod_of(holder: str) -> str:
    """The pod's UID; "" when that is no pod's."""
    parts = holder.split("_")
    return parts[1] if len(parts) == 3 else ""


def claim(known: Lease | None, holder: str, now: datetime) -> dict[str, Any]:
    """What takes the Lease: to be created, or merged into the one that is known if it has not changed since."""
    spec = {
        "holderIdentity": holder,
        "leaseDurationSeconds": int(DURATION_SECONDS),
        "acquireTime": _micro(now),
        "renewTime": _micro(now),
        "leaseTransitions": 0 if known is None else known.transitions + 1,
    }
    version = {} if known is None else {"resourceVersion": known.version}
    return {"metadata": {"name": NAME, **version}, "spec": spec}


def renewal(holder: str, now: datetime) -> list[dict[str, Any]]:
    """A JSON patch that takes effect only as long as `holder` has the Lease. It does not name a resourceVersion, so a
    renewal whose answer was lost is in nobody's way."""
    return [_if_held_by(holder), _put("renewTime", _micro(now))]


def return_(holder: str, now: datetime) -> list[dict[str, Any]]:
    """A JSON patch that gives the Lease back, if `holder` has it: the next one need not wait."""
    return [
        _if_held_by(holder),
        _put("holderIdentity", ""),
        _put("leaseDurationSeconds", EXPIRED_SECONDS),
        _put("renewTime", _micro(now)),
    ]


def _if_held_by(holder: str) -> dict[str, Any]:
    return {"op": "test", "path": "/spec/holderIdentity", "value": holder}


def _put(field: str, value: object) -> dict[str, Any]:
    return {"op": "add", "path": f"/spec/{field}", "value": value}


def _micro(moment: datetime) -> str:
    """As Kubernetes writes a MicroTime."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
