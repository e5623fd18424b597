"""What `export-runner` does besides `run`: look after exports that went to the fallback, and fetch any."""

from __future__ import annotations

import argparse
import os
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from export_contract import environment
from export_contract.codec import ContractError
from export_contract.failures import Failure
from export_contract.logs import About
from export_contract.names import export_uri
from export_contract.report import Redelivered
from export_contract.runspec import RunSpec, SSLMode
from export_runner import log
from export_runner.clock import Deadline, Stop
from export_runner.errors import ExportError, Stopped, internal
from export_runner.report import size
from export_runner.retry import Retrier

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from export_runner.redeliver import Beat, Moved

DEADLINE = 24 * 3600.0
"""Seconds: nobody waits for these commands but a person or a Job, who have their own patience."""
NOBODY = About()
USAGE = 2
"""Exit code for what argparse would refuse."""

_REDELIVER = f"""\
examples:
  export-runner redeliver --spec spec.json                    # the run of this spec, out of its fallback
  export-runner redeliver --from postgresql://db:5432/spare/exports.export_artifacts --dry-run
  export-runner redeliver --from postgresql://db:5432/spare/exports.export_artifacts --all
  export-runner redeliver --from postgresql://db:5432/spare/exports.export_artifacts --run 0123456789abcdef0123

Each export is verified on its way: what is not to the byte what its manifest says stays where it is. The manifest comes
last and says usedFallback: false and redeliveredAt. Run it twice or in parallel as you like: what was moved is not
moved again. Without --keep the bytes leave the fallback; the artifact's row stays, with the time.

credentials: those of `run` for S3; for the fallback
  {environment.FALLBACK_PG_USER}, {environment.FALLBACK_PG_PASSWORD}, or
  {environment.FALLBACK_AWS_ACCESS_KEY_ID}, {environment.FALLBACK_AWS_SECRET_ACCESS_KEY}
exit codes: 0 when nothing is left to do, else that of the first failure (see export-runner --help)."""

_FETCH = f"""\
examples:
  export-runner fetch --spec spec.json --to users.csv.gz      # from S3, or from the fallback when it is not there
  export-runner fetch s3://exports/team-a/users/0123456789abcdef0123/users.csv.gz --to users.csv.gz
  export-runner fetch postgresql://db:5432/spare/exports.export_artifacts/0123456789abcdef0123 --to - | zcat | head

The bytes are verified against the SHA-256 of the manifest. A file appears only when it is whole and right; on standard
output the exit code says so at the end.

credentials: as for `run`; for a postgresql:// URI
  {environment.FALLBACK_PG_USER} and {environment.FALLBACK_PG_PASSWORD}
exit codes: 0 fetched and verified, 2 the file exists or cannot be written, else as in export-runner --help."""


_UNDO = f"""\
examples:
  export-runner undo --spec spec.json                # uploads, checkpoint, and objects without a manifest
  export-runner undo --spec spec.json --objects      # the export as well, also in its fallback

Only when nothing works at the run any more. Only what the exporter itself has named goes. Run it twice as you like.

credentials: those of `run` for S3, and for the fallback (see redeliver)
{environment.RUN_SPEC} is read when no --spec is given
exit codes: 0 when nothing is left, else as in export-runner --help."""


def add(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the commands. Each sets `function`, which gives the exit code."""
    _add_redeliver(commands)
    _add_fetch(commands)
    undo = commands.add_parser(
        "undo",
        help="remove what a run has left",
        description="Removes what a run has left in its places.",
        epilog=_UNDO,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    undo.add_argument("--spec", metavar="FILE", help=f"the run's spec; default: ${environment.RUN_SPEC}")
    undo.add_argument("--objects", action="store_true", help="remove what was delivered, too")
    undo.set_defaults(function=_undo)
    tables = commands.add_parser(
        "artifact-tables",
        help="print the SQL of the fallback's tables",
        description="Prints the SQL that creates the fallback's tables, for whoever may create them.",
    )
    tables.add_argument("--schema", default="public", help="where they are; default: %(default)s")
    tables.set_defaults(function=_tables)


def _add_redeliver(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "redeliver",
        help="move exports out of the fallback to S3",
        description="Moves exports that went to the fallback to S3, where they were meant to go.",
        epilog=_REDELIVER,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    place = parser.add_mutually_exclusive_group()
    place.add_argument(
        "--spec",
        metavar="FILE",
        help=f"a run spec: its run, or with --all its fallback database's all; default: ${environment.RUN_SPEC}",
    )
    place.add_argument(
        "--from", dest="origin", metavar="URI", help="postgresql://HOST:PORT/DATABASE/SCHEMA.export_artifacts"
    )
    parser.add_argument("--run", action="append", default=[], metavar="ID", help="this run; may be given again")
    parser.add_argument("--all", action="store_true", help="everything that waits in the fallback's database")
    parser.add_argument("--keep", action="store_true", help="leave the bytes in the fallback as well")
    parser.add_argument("--dry-run", action="store_true", help="say what would be moved")
    _add_ssl_mode(parser)
    parser.set_defaults(function=_redeliver)


def _add_fetch(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "fetch",
        help="get one export, verified",
        description="Gets one export from S3 or from the fallback, verified.",
        epilog=_FETCH,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("uri", nargs="?", metavar="URI", help="of the object or the artifact, as the result names it")
    place.add_argument("--spec", metavar="FILE", help="the run spec whose export it is")
    parser.add_argument("--to", required=True, metavar="FILE", help="where to; '-' is standard output")
    parser.add_argument("--force", action="store_true", help="replace a file that is there")
    parser.add_argument("--object", type=int, metavar="N", help="which object, of an export of several; from 1")
    parser.add_argument("--endpoint", default="", metavar="URL", help="of an s3:// URI; default: AWS")
    parser.add_argument("--region", default="us-east-1", help="of an s3:// URI; default: %(default)s")
    parser.add_argument("--path-style", action="store_true", help="of an s3:// URI: the bucket stands in the path")
    _add_ssl_mode(parser)
    parser.set_defaults(function=_fetch)


def _add_ssl_mode(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--ssl-mode", choices=get_args(SSLMode), default="Prefer", help="of a postgresql:// URI; default: %(default)s"
    )


def _tables(options: argparse.Namespace) -> int:
    from export_runner.sinks.tables import script

    print(script(options.schema).as_string(None), end="")
    return 0


def _undo(options: argparse.Namespace) -> int:
    return _guarded(lambda: _undo_run(options))


def _undo_run(options: argparse.Namespace) -> int:
    from export_runner.undo import undo

    spec = _spec(options.spec)
    concerning = log.about(spec)
    tell = log.lines(concerning, out=sys.stdout)
    try:
        for removed in undo(spec, _retrier(spec), objects=options.objects):
            tell(f"removed {removed}", "INFO")
    except ExportError as error:
        _say(error, concerning)
        return error.kind.exit_code
    return 0


def _redeliver(options: argparse.Namespace) -> int:
    return _guarded(lambda: _redeliver_all(options))


def _redeliver_all(options: argparse.Namespace) -> int:
    from export_runner import redeliver
    from export_runner.fetch import parse_artifact
    from export_runner.sinks.database import Database

    retrier, beat = _retrier(), _progress()
    spec = None if options.origin else _spec(options.spec)
    runs: list[str] = options.run
    if spec is not None and spec.destination.fallback is None:
        raise ContractError("the run spec's destination has no fallback")
    if spec is not None and spec.destination.fallback and spec.destination.fallback.bucket:
        if runs or options.all:
            raise ContractError("--run and --all are for a fallback database; of a bucket, give each run's --spec")
        if options.dry_run:
            to = export_uri(spec.destination.bucket, spec.destination.key, spec.output.layout)
            print(f"{spec.run.id} would go to {to}")
            return 0
        return _each([spec.run.id], lambda _run: redeliver.from_bucket(spec, retrier, keep=options.keep, beat=beat))
    if spec is not None:
        assert spec.destination.fallback is not None
        assert spec.destination.fallback.database is not None
        target = spec.destination.fallback.database
        runs = runs or ([] if options.all else [spec.run.id])
    else:
        target, named = parse_artifact(options.origin, options.ssl_mode)
        runs = runs or ([named] if named else [])
        if not (runs or options.all or options.dry_run):
            raise ContractError("which? Give --run, --all, or --dry-run to see what is there")
    database = Database(target, retrier)
    there = redeliver.waiting(database) if options.dry_run or not runs else []
    if options.dry_run:
        for each in there:
            if not runs or each.run in runs:
                print(f"{each.run} of {each.created_at}: {each.rows:,} rows, {size(each.bytes)} would go to {each.to}")
        return 0
    runs = runs or [each.run for each in there]
    return _each(runs, lambda run: redeliver.from_database(database, run, retrier, keep=options.keep, beat=beat))


def _each(runs: list[str], move: Callable[[str], Moved]) -> int:
    """Goes on after a failure; the exit code is that of the first. A pod says at its end what it has moved."""
    code, moved = 0, Counter[str]()
    try:
        for run in runs:
            try:
                done = move(run)
            except ExportError as error:
                _say(error, About(run=run))
                code = code or error.kind.exit_code
            else:
                log.lines(About(run=run), out=sys.stdout)(f"{run} {done.words}", "INFO")
                moved.update([done.destination] if done.destination else [])
    finally:
        if told := os.environ.get(environment.TERMINATION_LOG):
            with suppress(OSError):
                Path(told).write_text(Redelivered(moved=dict(moved)).to_json(), encoding="utf-8")
    return code


def _fetch(options: argparse.Namespace) -> int:
    return _guarded(lambda: _fetch_one(options))


def _fetch_one(options: argparse.Namespace) -> int:
    from export_runner import fetch

    to = Path(options.to)
    if options.to != "-" and to.exists() and not options.force:
        raise ContractError(f"--to {options.to}: the file exists; give --force to replace it")
    retrier, beat = _retrier(), _progress()
    if options.spec is not None:
        stored, number = fetch.by_spec(_spec(options.spec), retrier), 0
    else:
        stored, number = fetch.by_uri(
            options.uri,
            retrier,
            endpoint=options.endpoint,
            region=options.region,
            path_style=options.path_style,
            ssl_mode=options.ssl_mode,
        )
    number = options.object or number
    if not number and len(stored.manifest.objects) > 1:
        raise ContractError(f"the export has {len(stored.manifest.objects)} objects: give --object 1 and so on")
    number = number or 1
    if options.to == "-":
        fetch.copy(stored, number, sys.stdout.buffer, beat=beat)
        return 0
    count = fetch.save(stored, number, to, beat=beat)
    print(
        f"{options.to}: {size(count)}, SHA-256 {stored.manifest.objects[number - 1].sha256} verified", file=sys.stderr
    )
    return 0


def _guarded(function: Callable[[], int]) -> int:
    """The exit code, and what went wrong on standard error: without traceback, secret or row value."""
    try:
        return function()
    except ExportError as error:
        _say(error)
        return error.kind.exit_code
    except (ContractError, OSError, UnicodeDecodeError) as error:
        print(f"export-runner: {error}", file=sys.stderr)
        return USAGE
    except (Stopped, KeyboardInterrupt):
        return ExportError(Failure.INTERRUPTED, "").kind.exit_code
    except Exception as error:
        failure = internal(error)
        _say(failure)
        return failure.kind.exit_code


def _say(error: ExportError, concerning: About = NOBODY) -> None:
    text = f"{concerning.run} {error.failure}: {error.message} {error.kind.advice}".strip()
    whole = environment.LOG_FORMAT in os.environ  # a line of the log; a person reads lines of a screen
    log.lines(concerning)(text if whole else "\n".join(textwrap.wrap(text, 120)), "ERROR")


def spec_text(file: str | None) -> str:
    """What a run spec's file says; '-' is standard input, None the environment. Raises OSError, UnicodeDecodeError,
    `ContractError`."""
    if file is not None:
        return sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    if environment.RUN_SPEC in os.environ:
        return os.environ[environment.RUN_SPEC]
    raise ContractError(f"neither --spec nor {environment.RUN_SPEC} is given; try: export-runner example-spec")


def _spec(file: str | None) -> RunSpec:
    """Raises OSError, UnicodeDecodeError, `ContractError`."""
    return RunSpec.from_json(spec_text(file))


def _retrier(spec: RunSpec | None = None) -> Retrier:
    return Retrier(Deadline(DEADLINE), Stop(), note=log.lines(log.about(spec) if spec else NOBODY))


def _progress() -> Beat:
    """On a terminal, a line that is written over ten times a second at most; else nothing."""
    if not sys.stderr.isatty():
        return lambda _run, _done, _all: None
    shown = 0.0

    def beat(run: str, done: int, whole: int) -> None:
        nonlocal shown
        if done < whole and time.monotonic() - shown < 0.1:
            return
        shown = time.monotonic()
        share = done / whole if whole else 1.0
        text = f"{run} {share:4.0%}  {size(done)} of {size(whole)}"
        print(f"\r\x1b[2K{text}", end="\r\x1b[2K" if done >= whole else "", file=sys.stderr, flush=True)

    return beat
