"""`export-operator redrive`: run failed requests anew, singly or many at a bounded rate, by the caller's own rights."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from export_contract.failures import FailureClass
from export_operator.adapters.cluster import request_path
from export_operator.adapters.kube import ApiError, Kube, path_of
from export_operator.adapters.login import Login, LoginError, read_login
from export_operator.clock import now
from export_operator.commands.options import INTERRUPTED
from export_operator.commands.text import GREEN, RED, YELLOW, counted, painted, plain, table
from export_operator.domain import redrive, times
from export_operator.domain.model import GROUP, VERSION, Key
from export_operator.domain.redrive import Letter

DONE, LEFT, UNABLE = 0, 1, 2
RATE = 30.0

DESCRIPTION = """\
Run failed requests anew, once what broke is mended: each gets a spec.runID that it has not had. The new run counts
against its requester's quota like any other, waits its turn, and begins at the first row.

Name requests, or choose them by class, reason, source or destination; --all takes every failed request of the
namespaces. The oldest failure comes first. Try it with --dry-run: the API server is asked, and nothing is changed.
"""
EPILOG = """\
examples:
  export-operator redrive team-a/users-2026-11
  export-operator redrive --all-namespaces --class Source --source app-db --dry-run
  export-operator redrive --all-namespaces --destination exports --rate 10
  kubectl config view --raw --minify --flatten |
    kubectl -n export-operator exec -i deploy/export-operator -- \\
      export-operator redrive --credentials - --namespace team-a --class Destination

whose rights:
  Yours. A request is run anew by its requester, or by whoever has the verb act-as on
  requesters.export-operator.io/<requester> in its namespace; you need get, list and patch on exportrequests besides.
  Outside a cluster they come from KUBECONFIG, as with kubectl. In the operator's pod give them with --credentials: the
  operator itself may run nobody's request anew.

exit codes:
  0 all that was chosen runs anew (or would), 1 some of it does not: the output says which and why, 2 nothing could be
  done
"""


def add_parser(commands: Any) -> None:
    """Add `redrive` to the commands of the operator's program."""
    parser = commands.add_parser(
        "redrive",
        help="run failed requests anew, singly or in bulk, at a bounded rate",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="a request, as NAME or NAMESPACE/NAME")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("-n", "--namespace", default="", help="of the requests")
    where.add_argument("-A", "--all-namespaces", action="store_true", help="requests of every namespace")
    parser.add_argument(
        "--class", dest="failure_class", default="", choices=[str(each) for each in FailureClass], help="of the failure"
    )
    parser.add_argument("--reason", default="", help="of the failure, such as SourceUnavailable")
    parser.add_argument("--source", default="", help="the ExportSource that was to be read")
    parser.add_argument("--destination", default="", help="the ExportDestination that was to be written")
    parser.add_argument("--all", action="store_true", help="every failed request of the namespaces")
    parser.add_argument(
        "--rate", type=_rate, default=RATE, metavar="N", help=f"requests a minute at most (default: {RATE:g})"
    )
    parser.add_argument("--limit", type=_limit, default=None, metavar="N", help="requests at most (default: all)")
    parser.add_argument("--dry-run", action="store_true", help="say what would run anew, and change nothing")
    parser.add_argument(
        "--credentials",
        default="",
        metavar="FILE",
        help="your kubeconfig, or a bearer token of yours; - reads it from standard input",
    )
    parser.add_argument("--context", default="", help="context of the kubeconfig (default: its current one)")
    parser.add_argument("-o", "--output", choices=["text", "json"], default="text", help="text (default) or json")


def _rate(text: str) -> float:
    value = float(text)
    if not 0 < value <= 6000:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and at most 6000")
    return value


def _limit(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return value


def run(options: argparse.Namespace, given: TextIO) -> int:
    """Do what was asked; the answer is the exit code. `given` is where credentials are read from for `-`."""
    try:
        keys = _keys(options)
        login = _login(options, given)
        return asyncio.run(_run(options, keys, login))
    except _UsageError as error:
        print(f"export-operator redrive: {error}", file=sys.stderr)
        return UNABLE
    except ApiError as error:
        print(plain(f"export-operator redrive: {error}"), file=sys.stderr)
        return UNABLE
    except KeyboardInterrupt:
        print("\nInterrupted: what was told of runs anew, the rest is as it was. Say the same again to go on.")
        return INTERRUPTED


class _UsageError(Exception):
    """The message says what to give instead."""


def _keys(options: argparse.Namespace) -> list[Key]:
    """The requests that were named. Raises `_UsageError` when it is not clear what was meant."""
    chosen = any((options.failure_class, options.reason, options.source, options.destination, options.all))
    if options.names and chosen:
        raise _UsageError("name requests or choose them by what failed, not both")
    if not options.names and not chosen:
        raise _UsageError(
            "nothing is chosen: name requests, or choose them by --class, --reason, --source or --destination; --all"
            " takes every failed one"
        )
    keys = []
    for text in options.names:
        namespace, slash, name = text.rpartition("/")
        if not slash and not options.namespace:
            raise _UsageError(f"of which namespace is {text!r}? Write NAMESPACE/{text}, or give --namespace")
        keys.append(Key(namespace or options.namespace, name))
    if not keys and not options.namespace and not options.all_namespaces:
        raise _UsageError("in which namespaces? Give --namespace or --all-namespaces")
    return keys


def _login(options: argparse.Namespace, given: TextIO) -> Login | None:
    if not options.credentials:
        if os.environ.get("KUBERNETES_SERVICE_HOST"):
            raise _UsageError(
                "in a pod it needs your own credentials, since its service account may run nobody's request anew:\n"
                "  kubectl config view --raw --minify --flatten | kubectl exec -i … -- export-operator redrive"
                " --credentials - …"
            )
        return None
    try:
        text = given.read() if options.credentials == "-" else Path(options.credentials).read_text(encoding="utf-8")
        return read_login(text, options.context)
    except (LoginError, OSError, UnicodeDecodeError) as error:
        raise _UsageError(f"--credentials: {error}") from error


async def _run(options: argparse.Namespace, keys: Sequence[Key], login: Login | None) -> int:
    async with Kube.connected(context=options.context, login=login) as kube:
        letters = await _letters(kube, options, keys)
        desk = Redriver(kube, redrive.new_run_id(now()), 60 / options.rate, dry_run=options.dry_run)
        if options.output == "json":
            return await _as_json(desk, letters)
        return await _as_text(desk, letters)


async def _letters(kube: Kube, options: argparse.Namespace, keys: Sequence[Key]) -> list[Letter]:
    """What was chosen, the oldest failure first."""
    if keys:
        documents = [await kube.get(request_path(key)) for key in keys]
    else:
        path = path_of(GROUP, VERSION, "exportrequests", namespace=options.namespace)
        wanted = redrive.wanted(
            failure_class=options.failure_class,
            reason=options.reason,
            source=options.source,
            destination=options.destination,
        )
        documents = await _failed(kube, path, wanted)
    letters = sorted(map(redrive.read_letter, documents), key=lambda letter: (letter.failed, letter.key))
    return letters[: options.limit]


async def _failed(kube: Kube, path: str, wanted: Mapping[str, str]) -> list[dict[str, Any]]:
    """Requests whose fields have the values that are wanted: as the API server selects them or, where it cannot
    (Kubernetes 1.30), from among all."""
    try:
        documents, _ = await kube.list(path, fieldSelector=redrive.selector(wanted))
    except ApiError as error:
        if error.status != 400:
            raise
        everything, _ = await kube.list(path)
        return [each for each in everything if redrive.matches(each, wanted)]
    return documents


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a letter: Redriven, WouldRedrive; or Skipped, Changed, Refused, Unknown (the API server gave no
    answer) with the reason in `message`."""

    letter: Letter
    word: str
    message: str = ""

    @property
    def well(self) -> bool:
        return self.word in {"Redriven", "WouldRedrive"}


class Redriver:
    """Asks for the new runs, one after the other, `pause` seconds apart."""

    def __init__(
        self,
        kube: Kube,
        run_id: str,
        pause: float,
        *,
        dry_run: bool,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.run_id = run_id
        self.dry_run = dry_run
        self._kube = kube
        self._pause = pause
        self._sleep = sleep

    async def all(self, letters: Sequence[Letter]) -> AsyncIterator[Outcome]:
        """Of each what became of it, as soon as it is known. It ends with the first that the API server gives no answer
        for: who says the same again goes on there."""
        asked = False
        for letter in letters:
            if letter.obstacle:
                yield Outcome(letter, "Skipped", letter.obstacle)
                continue
            if asked and not self.dry_run:
                await self._sleep(self._pause)
            asked = True
            outcome = await self._one(letter)
            yield outcome
            if outcome.word == "Unknown":
                return

    async def _one(self, letter: Letter) -> Outcome:
        path, change = request_path(letter.key), redrive.change(letter, self.run_id)
        try:
            if self.dry_run:
                await self._kube.dry_run("patch", path, change)
                return Outcome(letter, "WouldRedrive")
            await self._kube.patch(path, change)
        except ApiError as error:
            if error.conflict or error.not_found:
                return Outcome(letter, "Changed", "it was changed or deleted meanwhile, and is left alone")
            refused = 400 <= error.status < 500 and error.status != 429
            return Outcome(letter, "Refused" if refused else "Unknown", error.message or error.reason)
        return Outcome(letter, "Redriven")


async def _as_text(desk: Redriver, letters: Sequence[Letter]) -> int:
    if not letters:
        print("No failed request was found.")
        return DONE
    rows = [
        (
            str(each.key),
            each.reason or "-",
            each.failure_class or "-",
            each.source,
            each.destination or "-",
            times.render(each.failed),
            each.requester,
        )
        for each in letters
    ]
    head, *lines = table(("REQUEST", "REASON", "CLASS", "SOURCE", "DESTINATION", "FAILED", "REQUESTER"), rows)
    print(f"{'':14}{head}")
    outcomes = []
    told = iter(lines)
    async for each in desk.all(letters):
        outcomes.append(each)
        word = "would redrive" if each.word == "WouldRedrive" else each.word.lower()
        colour = GREEN if each.well else RED if each.word in {"Refused", "Unknown"} else YELLOW
        print(f"{painted(f'{word:13}', colour)} {next(told)}", flush=True)
        if each.message:
            print(plain(f"{'':14}{each.message}"), flush=True)
    well = sum(each.well for each in outcomes)
    left = len(letters) - well
    done = "would run anew" if desk.dry_run else f"asked to run anew, as spec.runID {desk.run_id}"
    print(f"{counted(well, 'request')} {done}{f'; {left} left as before' if left else ''}.")
    return LEFT if left else DONE


async def _as_json(desk: Redriver, letters: Sequence[Letter]) -> int:
    outcomes = [each async for each in desk.all(letters)]
    document = {
        "runID": desk.run_id,
        "dryRun": desk.dry_run,
        "requests": [
            {
                "namespace": each.letter.key.namespace,
                "name": each.letter.key.name,
                "requester": each.letter.requester,
                "reason": each.letter.reason,
                "class": each.letter.failure_class,
                "source": each.letter.source,
                "destination": each.letter.destination,
                "failed": times.render(each.letter.failed),
                "outcome": each.word,
                "message": each.message,
            }
            for each in outcomes
        ],
    }
    print(json.dumps(document, indent=2))
    return DONE if len(letters) == sum(each.well for each in outcomes) else LEFT
