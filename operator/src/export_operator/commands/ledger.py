"""`export-operator ledger show | verify | rebuild`: the ledger of quotas, for those who run the operator."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Mapping
from typing import Any

from export_operator.adapters.kube import ApiError, Kube
from export_operator.adapters.mender import Mender
from export_operator.adapters.witnesses import Witnesses
from export_operator.clock import now
from export_operator.commands import report, show
from export_operator.commands.options import INTERRUPTED, add_shared
from export_operator.domain import ledger_rebuild, policy
from export_operator.domain.evidence import request_of
from export_operator.domain.identity import Subject
from export_operator.domain.ledger_rebuild import NoRoomError, Plan
from export_operator.domain.pages import Entry
from export_operator.settings import PREFIX, ProcessSettings, read_settings

FINE, DIFFERENT, UNABLE = 0, 1, 2
WAIT_SECONDS = 65.0
"""Between two looks: what is under way in the first is done in the second, and what should have been settled is."""

DESCRIPTION = """\
Quotas are decided on objects of kind ExportUsage in the run namespace, the ledger. These commands read it, compare it
with what requests, Jobs and manifests in S3 prove, and make it again where it was lost.

They use KUBECONFIG as kubectl does, or run inside the operator's pod:

  kubectl -n export-operator exec deploy/export-operator -- export-operator ledger verify
"""
EXIT_CODES = "Exit codes: 0 there is no difference (any more), 1 there are differences, 2 it could not be found out."


def add_parser(commands: Any) -> None:
    """Add `ledger` to the commands of the operator's program."""
    ledger = commands.add_parser(
        "ledger",
        help="look at the ledger of quotas, check it, make it again",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = ledger.add_subparsers(dest="verb", required=True, metavar="VERB")
    show = verbs.add_parser(
        "show",
        help="who has used how much",
        description="Who has used how much of which limit, and when there is room. Reads the ledger and policies.",
    )
    show.add_argument("--user", help="this user alone, run by run")
    show.add_argument("--namespace", help="this namespace of requests alone, run by run")
    verify = verbs.add_parser(
        "verify",
        help="compare the ledger with requests, Jobs and manifests",
        description="Compare the ledger with what requests, Jobs and the manifests in S3 prove. Changes nothing. A"
        " difference counts only if it is still there at a second look.",
        epilog=EXIT_CODES,
    )
    rebuild = verbs.add_parser(
        "rebuild",
        help="make good what the ledger lacks",
        description="Add to the ledger what requests, Jobs and manifests prove and it lacks. Nothing that is used is"
        " given back. A damaged object is copied into a ConfigMap and made anew. Without --yes it shows what it would"
        " do. It may be done while the operator runs, and while it does not.",
        epilog=EXIT_CODES,
    )
    rebuild.add_argument("--yes", action="store_true", help="do it")
    rebuild.add_argument(
        "--accept-loss",
        action="store_true",
        help="do it although something is lost that nobody can know: it is printed",
    )
    for parser in (show, verify, rebuild):
        add_shared(parser)
    for parser in (verify, rebuild):
        parser.add_argument(
            "--wait",
            type=float,
            default=WAIT_SECONDS,
            metavar="SECONDS",
            help=f"between the two looks (default: {WAIT_SECONDS:g})",
        )


def run(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Do what was asked; the answer is the exit code. Raises `SettingsError`."""
    needed = {f"{PREFIX}RUNNER_IMAGE": "none", **environ, f"{PREFIX}RUN_NAMESPACE": options.run_namespace}
    try:
        return asyncio.run(_run(options, read_settings(needed)))
    except KeyboardInterrupt:
        return INTERRUPTED


async def _run(options: argparse.Namespace, settings: ProcessSettings) -> int:
    try:
        async with Kube.connected(context=options.context) as kube:
            command = _Command(options, settings, kube)
            verbs = {"show": command.show, "verify": command.verify, "rebuild": command.rebuild}
            return await verbs[options.verb]()
    except (ApiError, NoRoomError) as error:
        print(f"export-operator: {error}", file=sys.stderr)
        return UNABLE


class _Command:
    def __init__(self, options: argparse.Namespace, settings: ProcessSettings, kube: Kube) -> None:
        self._options = options
        self._json = options.output == "json"
        self._defaults = settings.decisions.defaults
        self._kube = kube
        self._witnesses = Witnesses(kube, options.run_namespace, settings.watch_namespaces, say)

    async def show(self) -> int:
        catalogue = await self._witnesses.catalogue()
        found = await self._witnesses.ledger()
        given = {"User": self._options.user, "Namespace": self._options.namespace}
        wanted = [Subject(kind, name) for kind, name in given.items() if name]
        show.show(found, catalogue.policies, self._defaults, wanted, now(), as_json=self._json)
        return FINE

    async def verify(self) -> int:
        plan, blind = await self._look_twice()
        if self._json:
            report.as_json(plan, blind)
        else:
            report.verified(plan, blind)
        return DIFFERENT if plan.differences else FINE

    async def rebuild(self) -> int:
        plan, blind = await self._look_twice()
        allowed = self._options.yes and (self._options.accept_loss or not plan.losses)
        if not self._json:
            report.planned(plan, blind, self._kube.server)
        if plan.mendings and not allowed:
            if self._json:
                report.as_json(plan, blind, rebuild=True)
            else:
                report.refused(plan, yes=self._options.yes)
            return DIFFERENT
        copies = {}
        mender = Mender(self._kube, self._options.run_namespace)
        for mending in plan.mendings:
            copies[mending.name] = await mender.mend(mending, now())
            if not self._json:
                report.done(mending, copies[mending.name])
        if self._json:
            report.as_json(plan, blind, copies, rebuild=True)
        return FINE if all(each.mended for each in plan.differences) else DIFFERENT

    async def _look_twice(self) -> tuple[Plan, tuple[str, ...]]:
        plan, blind = await self._look()
        if plan.differences:
            await asyncio.sleep(self._options.wait)
            again, blind = await self._look()
            plan = ledger_rebuild.lasting(plan, again)
        return plan, blind

    async def _look(self) -> tuple[Plan, tuple[str, ...]]:
        catalogue = await self._witnesses.catalogue()
        found = await self._witnesses.ledger()
        evidence = await self._witnesses.evidence(catalogue, now())

        def windows(entry: Entry) -> frozenset[Subject]:
            rules, request = policy.select(catalogue.policies, request_of(entry)), request_of(entry)
            return frozenset(limit.subject for limit in policy.window_limits(rules, request, self._defaults))

        return ledger_rebuild.plan(found, evidence, windows, now()), evidence.blind


def say(text: str) -> None:
    """What takes time is told beside the answer."""
    print(text, file=sys.stderr)
