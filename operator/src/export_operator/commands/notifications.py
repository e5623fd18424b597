"""`export-operator notifications list | resend`: what waits for channels, what was given up, and sending that again."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from typing import Any

from export_operator.adapters.kube import ApiError, Kube, path_of
from export_operator.adapters.outbox import OutboxStore
from export_operator.commands.options import INTERRUPTED, add_shared
from export_operator.commands.text import counted, plain, table
from export_operator.domain import times
from export_operator.domain.model import ANNOTATION_RESEND, GROUP, VERSION
from export_operator.domain.outbox import Dead, Outbox
from export_operator.domain.resend import Wish, chosen

DONE, LEFT, UNABLE = 0, 1, 2

LIST = """\
What the channels of ExportPolicies have delivered, what waits for them, and the last hundred notifications that were
given up: refused three times, or taken by nobody for three days.
"""
DESCRIPTION = f"""\
{LIST}Once the receiver is mended, have those sent again.

They use KUBECONFIG as kubectl does, or run inside the operator's pod, where `list` is allowed:

  kubectl -n export-operator exec deploy/export-operator -- export-operator notifications list
"""
RESEND = f"""\
Sends again what the channels of a policy have given up, under the ids that it had. It annotates the ExportPolicy with
{ANNOTATION_RESEND}, which needs get and patch on exportpolicies; the operator reads it within
15 seconds. What is given up after that is not sent again until somebody asks anew.

Not sent again is what was for a channel that the policy does not have any more, and what an older release gave up,
which did not keep it.
"""
EPILOG = "exit codes: 0 done, 1 some of it is not sent again: the output says which, 2 it could not be done"


def add_parser(commands: Any) -> None:
    """Add `notifications` to the commands of the operator's program."""
    parser = commands.add_parser(
        "notifications",
        help="what waits for channels, what was given up, and sending that again",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    listed = verbs.add_parser("list", help="what waits and what was given up", description=LIST)
    listed.add_argument("--policy", default="", help="of this ExportPolicy alone")
    resend = verbs.add_parser(
        "resend",
        help="send again what was given up",
        description=RESEND,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    resend.add_argument("policy", metavar="POLICY", help="the ExportPolicy whose channels gave up")
    resend.add_argument(
        "--channel", action="append", default=[], metavar="NAME", help="of this channel alone; may be given again"
    )
    resend.add_argument("--dry-run", action="store_true", help="say what would be sent again, and change nothing")
    for each in (listed, resend):
        add_shared(each)


def run(options: argparse.Namespace) -> int:
    """Do what was asked; the answer is the exit code."""
    try:
        return asyncio.run(_run(options))
    except ApiError as error:
        print(plain(f"export-operator notifications: {error}"), file=sys.stderr)
        return UNABLE
    except KeyboardInterrupt:
        return INTERRUPTED


async def _run(options: argparse.Namespace) -> int:
    async with Kube.connected(context=options.context) as kube:
        outbox = (await OutboxStore(kube, options.run_namespace).load()).value or Outbox()
        if options.verb == "list":
            return show(outbox, options.policy, as_json=options.output == "json")
        return await resend(kube, outbox, options)


def show(outbox: Outbox, policy: str, *, as_json: bool) -> int:
    """Print channels and what was given up, of a policy or of all."""
    tallies = {key: tally for key, tally in outbox.tallies().items() if not policy or key.startswith(f"{policy}/")}
    dead = chosen(outbox.dead, policy) if policy else list(outbox.dead)
    if as_json:
        channels = [
            {
                "channel": key,
                **tally.counts,
                "waiting": tally.waiting,
                "waitingSince": None if tally.oldest is None else times.render(tally.oldest),
            }
            for key, tally in sorted(tallies.items())
        ]
        print(json.dumps({"channels": channels, "givenUp": list(map(_plain, dead))}, indent=2))
        return DONE
    if not tallies and not dead:
        print("No channel has told anything yet.")
        return DONE
    rows = [
        (
            key,
            *(f"{tally.counts[result]:,}" for result in ("delivered", "failed", "dead")),
            f"{tally.waiting:,}",
            "-" if tally.oldest is None else times.render(tally.oldest),
        )
        for key, tally in sorted(tallies.items())
    ]
    print(*table(("CHANNEL", "DELIVERED", "FAILED", "GIVEN UP", "WAITING", "SINCE"), rows), sep="\n")
    if dead:
        print("", *_table(dead), sep="\n")
    return DONE


async def resend(kube: Kube, outbox: Outbox, options: argparse.Namespace) -> int:
    """Have it sent again. Raises `ApiError`."""
    path = path_of(GROUP, VERSION, "exportpolicies", options.policy)
    policy = await kube.get(path)
    there = {each["name"] for each in (policy["spec"].get("notifications") or {}).get("channels") or ()}
    found = chosen(outbox.dead, options.policy, options.channel)
    able = [each for each in found if each.notification is not None and each.channel.split("/", 1)[1] in there]
    if able and not options.dry_run:
        wish = Wish(max(filter(None, (times.parse(each.time) for each in able))), tuple(options.channel))
        await kube.patch(path, {"metadata": {"annotations": {ANNOTATION_RESEND: wish.render()}}})
    left = [each for each in found if each not in able]
    if options.output == "json":
        told = {"dryRun": options.dry_run, "resent": list(map(_plain, able)), "left": list(map(_plain, left))}
        print(json.dumps(told, indent=2))
    elif not found:
        print("Nothing was given up.")
    else:
        print(*_table(found), sep="\n")
        done = "would be sent again" if options.dry_run else "will be sent again within 15 seconds"
        print(f"\n{counted(len(able), 'notification')} {done}{f'; {len(left)} cannot be' if left else ''}.")
        for each in left:
            why = "an older release did not keep it" if each.notification is None else "its channel is gone"
            print(plain(f"  {each.id} for {each.channel}: {why}"))
    return LEFT if left else DONE


def _table(dead: Sequence[Dead]) -> list[str]:
    rows = [
        (each.time, each.channel, "-" if each.notification is None else each.notification.event, each.request, each.why)
        for each in dead
    ]
    return table(("TIME", "CHANNEL", "EVENT", "REQUEST", "WHY"), rows)


def _plain(dead: Dead) -> dict[str, str]:
    event = "" if dead.notification is None else str(dead.notification.event)
    facts = {"time": dead.time, "channel": dead.channel, "id": dead.id, "event": event}
    return facts | {"request": dead.request, "why": dead.why}
