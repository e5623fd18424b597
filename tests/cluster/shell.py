"""Running other programs, with an error that shows what they said."""

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.cluster.problem import Problem

Args = Sequence[str | Path]


class CommandFailed(Problem):
    """A program that we ran ended badly; the text holds the end of what it printed."""

    def __init__(self, args: Args, code: int, output: str) -> None:
        self.code = code
        self.output = output
        said = "\n".join("    " + each for each in output.strip().splitlines()[-25:])
        super().__init__(f"this command ended with code {code}:\n    {show(args)}\n{said}".rstrip())


def show(args: Args) -> str:
    return shlex.join(str(each) for each in args)


def environment(extra: Mapping[str, str] | None) -> dict[str, str]:
    return {**os.environ, **(extra or {})}


def run(
    args: Args,
    *,
    check: bool = True,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str = "",
    timeout: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end. `env` is added to our own environment. Output is captured, not shown."""
    try:
        done = subprocess.run(
            [str(each) for each in args],
            check=False,
            cwd=cwd,
            env=environment(env),
            input=stdin,
            text=True,
            errors="replace",
            capture_output=True,
            timeout=timeout,
        )
    except FileNotFoundError as error:
        raise Problem(f"{args[0]} is not installed (needed for: {show(args)})") from error
    except subprocess.TimeoutExpired as error:
        raise Problem(f"this command did not end within {timeout} s: {show(args)}") from error
    if check and done.returncode:
        raise CommandFailed(args, done.returncode, done.stdout + done.stderr)
    return done


def output(args: Args, *, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
    """What the program wrote to standard output, stripped."""
    return run(args, cwd=cwd, env=env).stdout.strip()


def answers(args: Args, *, timeout: float = 10) -> bool:
    """Does this command succeed? A missing program, or one that hangs, does not."""
    try:
        return run(args, check=False, timeout=timeout).returncode == 0
    except Problem:
        return False
