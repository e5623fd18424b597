"""What the API server says the operator asked of it: calls by purpose, in the words of the operator's own metric."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from export_operator.adapters.metrics import purpose_of

TOLD_ANEW = "place told anew"
APART = ("log get", TOLD_ANEW)
"""Progress, which is not among the calls of a run: how often it is told follows from how long one runs or waits."""
BY_TIME = ("list", "watch", "dry-run", "probe", "lease")
"""Purposes of calls that do not grow with the number of runs."""


def by_time(name: str) -> bool:
    """Whether it is the name of such a call."""
    return name.partition(" ")[0] in BY_TIME


@dataclass
class Calls:
    """By purpose and verb. `conflicts` are writes that another's had overtaken; `refused` failed for another reason,
    with the code in their names."""

    made: Counter[str] = field(default_factory=Counter)
    conflicts: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)


def told_apart(calls: Calls, count: int) -> None:
    """So many updates of status told those who wait of their place, and nothing else."""
    calls.made[TOLD_ANEW] = count
    calls.made["status update"] -= count


def size(log: Path) -> int:
    """Where the log ends now: `since` of a later `read`."""
    return log.stat().st_size if log.exists() else 0


def read(log: Path, since: int = 0) -> Calls:
    """Every call in an audit log, or those that were written after it was so long."""
    calls = Calls()
    for event in events(log, since):
        name = name_of(event)
        calls.made[name] += 1
        code = int((event.get("responseStatus") or {}).get("code") or 0)
        if code == 409:
            calls.conflicts[name] += 1
        elif code >= 400:
            calls.refused[f"{name}: {code}"] += 1
    return calls


def events(log: Path, since: int = 0) -> Iterator[Mapping[str, Any]]:
    """The same as the API server wrote them; a line that it has not ended yet is left out."""
    with log.open("rb") as lines:
        lines.seek(since)
        for line in lines:
            if line.endswith(b"\n"):
                yield json.loads(line)


def name_of(event: Mapping[str, Any]) -> str:
    """`ledger update`, `status update`, `list` …"""
    verb: str = event["verb"]
    purpose = purpose_of(event["requestURI"].partition("?")[0], verb)
    return verb if purpose == verb else f"{purpose} {verb}"
