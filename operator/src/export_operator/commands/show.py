"""What `ledger show` says: who has used how much, and which runs are live."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from export_operator.commands.text import RED, YELLOW, painted, plain, table
from export_operator.domain import policy, times
from export_operator.domain.consumption import Consumption, consumption
from export_operator.domain.identity import Subject
from export_operator.domain.ledger_rebuild import title
from export_operator.domain.model import Named
from export_operator.domain.pages import Entry
from export_operator.domain.salvage import Found
from export_operator.domain.usage import SLOTS, render_entry


def show(
    ledger: Sequence[Found],
    policies: Mapping[str, Named],
    defaults: policy.Defaults,
    wanted: Sequence[Subject],
    now: datetime,
    *,
    as_json: bool,
) -> None:
    """`wanted`: these subjects alone, and then run by run; all of them when there are none."""
    slots: tuple[Entry, ...] = next((found.page.entries for found in ledger if found.subject == SLOTS), ())
    shown = [found for found in ledger if found.subject != SLOTS and (not wanted or found.subject in wanted)]
    rows = [
        row
        for found in sorted(shown, key=lambda found: found.subject or Subject("", found.name))
        if found.subject and not found.fault
        for row in consumption(found.subject, found.page, policies, defaults, now)
    ]
    runs = [
        (found.subject, entry) for found in shown if wanted and found.subject for entry in reversed(found.page.entries)
    ]
    live = [entry for entry in slots if not wanted or _is_of(entry, wanted)]
    faults = [found for found in ledger if found.fault]
    if as_json:
        document = {
            "usage": [_consumption(row) for row in rows],
            "runs": [{"page": title(subject, "")} | render_entry(entry) for subject, entry in runs],
            "live": [render_entry(entry) for entry in live],
            "unreadable": {found.name: found.fault for found in faults},
        }
        print(json.dumps(document, indent=2))
        return
    _print(rows, runs, live, faults)


def _print(
    rows: Sequence[Consumption], runs: Sequence[tuple[Subject, Entry]], live: Sequence[Entry], faults: Sequence[Found]
) -> None:
    cells = [
        (
            title(row.subject, ""),
            row.resource,
            f"{row.used:,}",
            "-" if row.limit is None else f"{row.limit:,}",
            str(row.window),
            row.policy or "-",
            _room(row),
        )
        for row in rows
    ]
    lines = table(("SUBJECT", "RESOURCE", "USED", "LIMIT", "WINDOW", "POLICY", "ROOM"), cells)
    print(lines[0])
    for row, line in zip(rows, lines[1:], strict=True):
        print(painted(line, YELLOW) if row.full else line)
    if runs:
        told = [
            (
                title(subject, ""),
                entry.run,
                str(entry.request),
                times.render(entry.time),
                str(entry.state),
                f"{entry.rows:,}",
                f"{entry.bytes:,}",
            )
            for subject, entry in runs
        ]
        print("", *table(("SUBJECT", "RUN", "REQUEST", "RESERVED", "STATE", "ROWS", "BYTES"), told), sep="\n")
    if live:
        headings = ("LIVE RUN", "REQUEST", "USER", "SOURCE", "DESTINATION", "RESERVED")
        holders = [
            (entry.run, str(entry.request), entry.user, entry.source, entry.destination, times.render(entry.time))
            for entry in live
        ]
        print("", *table(headings, holders), sep="\n")
    else:
        print("\nNo run is live.")
    for found in faults:
        text = f"ExportUsage {found.name} cannot be read, and admits nobody: {found.fault}. See ledger verify."
        print(painted(plain(text), RED))


def _room(row: Consumption) -> str:
    if not row.full:
        return "now"
    return times.render(row.next_free) if row.next_free else "never"


def _is_of(entry: Entry, wanted: Sequence[Subject]) -> bool:
    return Subject("User", entry.user) in wanted or Subject("Namespace", entry.request.namespace) in wanted


def _consumption(row: Consumption) -> dict[str, Any]:
    return {
        "kind": row.subject.kind,
        "name": row.subject.name,
        "resource": row.resource,
        "used": row.used,
        "limit": row.limit,
        "window": str(row.window),
        "policy": row.policy,
        "full": row.full,
        "nextEligibleTime": times.render(row.next_free) if row.next_free else None,
    }
