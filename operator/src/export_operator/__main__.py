"""The command line: `export-operator --help` tells its commands."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import sys
from collections.abc import Sequence
from typing import TextIO

from export_operator import __version__
from export_operator.adapters.elector import Elector
from export_operator.adapters.kube import ApiError, Kube
from export_operator.adapters.metrics import Metrics
from export_operator.app import App
from export_operator.clock import now
from export_operator.commands import history, ledger, notifications, redrive, sweep
from export_operator.domain.grants import find_exposed
from export_operator.domain.lease import holder_name
from export_operator.logs import configure
from export_operator.settings import PREFIX, ProcessSettings, SettingsError, read_settings
from export_operator.startup import StartError, check_access, check_served, collect_seldom


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit codes: 0 done, 1 it cannot work here (the message says why), 2 wrong usage or settings."""
    options = _parser().parse_args(arguments)
    if options.command == "version":
        print(__version__)
        return 0
    if options.command == "grants":
        return _grants(sys.stdin)
    try:
        if options.command == "history":
            return history.run(options, os.environ)
        if options.command == "ledger":
            return ledger.run(options, os.environ)
        if options.command == "notifications":
            return notifications.run(options)
        if options.command == "redrive":
            return redrive.run(options, sys.stdin)
        if options.command == "sweep":
            return sweep.run(options, os.environ)
        settings = read_settings(os.environ)
    except SettingsError as error:
        print(f"export-operator: {error}", file=sys.stderr)
        return 2
    configure(settings.log_format, settings.log_level)
    work = {"run": _run, "check": _check}[options.command]
    try:
        asyncio.run(work(settings))
    except TimeoutError:
        print("export-operator: the API server did not answer in time", file=sys.stderr)
        return 1
    except (StartError, ApiError) as error:
        print(f"export-operator: {error}", file=sys.stderr)
        return 1
    return 0


async def _run(settings: ProcessSettings) -> None:
    collect_seldom()
    metrics = Metrics()
    holder = holder_name(settings.pod_name, settings.pod_uid, secrets.token_hex(4))
    async with Kube.connected(metrics.count_call) as to_lease:
        elector = Elector(to_lease, settings.namespace, holder, now)
        async with Kube.connected(metrics.count_call, fence=elector.fence) as kube:
            await App(settings, kube, metrics, elector).run()


async def _check(settings: ProcessSettings) -> None:
    async with Kube.connected() as kube:
        await check_served(kube)
        await check_access(kube, settings.namespace, settings.decisions.pods.namespace)
    print("ok: the CRDs are served, the run namespace and the Lease can be read")


def _grants(given: TextIO) -> int:
    """1 when an account with act-as can be used by others."""
    try:
        exposed = find_exposed(json.load(given)["items"])
    except (ValueError, KeyError, TypeError) as error:
        print(f"export-operator: standard input is not a list of roles and bindings: {error}", file=sys.stderr)
        return 2
    for each in exposed:
        print(each)
    if not exposed:
        print("ok: no account with the verb act-as can be used by others")
    return 1 if exposed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="export-operator",
        description="Turns ExportRequests into Jobs, with quotas. Runs in a cluster; the chart starts it.",
        epilog=f"Settings come from variables {PREFIX}*; at least {PREFIX}RUN_NAMESPACE and {PREFIX}RUNNER_IMAGE.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("run", help="serve until asked to stop")
    commands.add_parser("check", help="say whether the operator could work here: CRDs, access to the run namespace")
    commands.add_parser(
        "grants",
        help="say which accounts with the verb act-as others can use, from what this gives on standard input:"
        " kubectl get roles,rolebindings,clusterroles,clusterrolebindings --all-namespaces --output json",
    )
    history.add_parser(commands)
    ledger.add_parser(commands)
    notifications.add_parser(commands)
    redrive.add_parser(commands)
    sweep.add_parser(commands)
    commands.add_parser("version", help="print the version")
    return parser


if __name__ == "__main__":
    sys.exit(main())
