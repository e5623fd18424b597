"""`export-operator sweep`: what lies in the buckets to no use, for those who run the operator."""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
import sys
from collections.abc import Mapping
from typing import Any

from export_operator.adapters import artifact_tables, storage
from export_operator.adapters.kube import ApiError, Kube
from export_operator.clock import now
from export_operator.commands.options import INTERRUPTED, add_shared
from export_operator.domain.sweep import REMOVED, Finding
from export_operator.settings import PREFIX, ProcessSettings, read_settings
from export_operator.sweep_report import Place, Report
from export_operator.sweeper import Sweeper

FINE, UNSEEN, UNABLE = 0, 1, 2
EXIT_CODES = "Exit codes: 0 everything was swept, 1 something could not be or is more than one pass takes, 2 none was."

DESCRIPTION = """\
Looks through the buckets of all ExportDestinations and the tables of their fallbacks, as the operator does every few
hours, and removes what is the exporter's, older than the grace and of no use to anybody: uploads and checkpoints of
runs that have no Job any more, and objects that no manifest makes an export. An export itself is never removed; one
whose request is gone is told.

It uses KUBECONFIG as kubectl does, or runs inside the operator's pod:

  kubectl -n export-operator exec deploy/export-operator -- export-operator sweep --dry-run
"""


def add_parser(commands: Any) -> None:
    """Add `sweep` to the commands of the operator's program."""
    parser = commands.add_parser(
        "sweep",
        help="find and remove what lies in the buckets to no use",
        description=DESCRIPTION,
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--dry-run", action="store_true", help="remove nothing, tell what would be removed")
    parser.add_argument(
        "--grace",
        type=int,
        metavar="SECONDS",
        help=f"what is younger is left alone; at least an hour (default: ${PREFIX}SWEEP_GRACE_SECONDS, or a day)",
    )
    add_shared(parser)


def run(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Do what was asked; the answer is the exit code. Raises `SettingsError`."""
    given = {} if options.grace is None else {f"{PREFIX}SWEEP_GRACE_SECONDS": str(options.grace)}
    needed = {f"{PREFIX}RUNNER_IMAGE": "none", **environ, f"{PREFIX}RUN_NAMESPACE": options.run_namespace, **given}
    settings = read_settings(needed)
    try:
        return asyncio.run(_run(options, settings))
    except KeyboardInterrupt:
        return INTERRUPTED


async def _run(options: argparse.Namespace, settings: ProcessSettings) -> int:
    try:
        async with Kube.connected(context=options.context) as kube:
            there, own = (kube, options.run_namespace), settings.sweep_own_identity
            sweeper = Sweeper(
                *there,
                settings.watch_namespaces,
                functools.partial(storage.opened, *there, own_identity=own),
                functools.partial(artifact_tables.opened, *there),
                clock=now,
                grace=settings.sweep_grace,
            )
            report = await sweeper.sweep(dry_run=options.dry_run)
    except ApiError as error:
        print(f"export-operator: {error}", file=sys.stderr)
        return UNABLE
    print(as_json(report) if options.output == "json" else as_text(report, dry_run=options.dry_run))
    return UNSEEN if report.blind or report.partial else FINE


def as_json(report: Report) -> str:
    """The whole report as one document."""
    return json.dumps(
        {
            "findings": [_fields(place, finding) for place, finding in report.findings],
            "totals": [
                {"destination": destination, "kind": kind, "count": total.count, "bytes": total.bytes}
                for destination, totals in sorted(report.totals.items())
                for kind, total in sorted(totals.items())
            ],
            "removed": {"keys": report.removed, "bytes": report.removed_bytes},
            "blind": report.blind,
            "partial": report.partial,
        },
        indent=2,
    )


def _fields(place: Place, finding: Finding) -> dict[str, Any]:
    return {
        "kind": finding.kind,
        "destination": place.destination,
        "bucket": place.spec.get("bucket"),
        "folder": finding.folder,
        "uri": place.uri(finding.folder),
        "run": finding.run,
        "request": str(finding.request) if finding.request else None,
        "keys": list(finding.keys),
        "bytes": finding.bytes,
    }


def as_text(report: Report, *, dry_run: bool) -> str:
    """The report for people: one line a finding, then the sums."""
    lines = [_line(place, finding, dry_run=dry_run) for place, finding in report.findings]
    for destination, totals in sorted(report.totals.items()):
        for kind, total in sorted(totals.items()):
            lines.append(f"{destination}: {kind}: {total.count}, {total.bytes} bytes")
    lines += [f"not seen: {each}" for each in report.blind]
    lines += [f"to be gone on with: {each}" for each in report.partial]
    lines.append(
        "dry run: nothing was removed"
        if dry_run
        else f"removed: {report.removed} keys, uploads and rows, {report.removed_bytes} bytes"
    )
    return "\n".join(lines)


def _line(place: Place, finding: Finding, *, dry_run: bool) -> str:
    what = "stays" if finding.kind not in REMOVED else "would go" if dry_run else "removed"
    whose = f" of {finding.request}" if finding.request else ""
    return f"{what}: {finding.kind} {place.uri(finding.folder)}{whose}, {finding.bytes} bytes"
