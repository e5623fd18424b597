"""What the exporter says, line by line: each call has one fact, without row values and secrets."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import TextIO

from export_contract import environment
from export_contract.logs import FORMATS, About, Line
from export_contract.runspec import RunSpec

Say = Callable[..., None]
"""Takes the fact, and perhaps a level of Python's logging."""


def about(spec: RunSpec) -> About:
    """The request and the run of a spec."""
    return About(f"{spec.run.namespace}/{spec.run.name}", spec.run.id)


def lines(concerning: About, variables: Mapping[str, str] | None = None, out: TextIO | None = None) -> Say:
    """What writes lines about a run to `out`, which is standard error unless it is given, in the form of
    `environment.LOG_FORMAT`; without that variable, facts alone, as a person at a terminal wants them. Losing `out`
    ends nothing."""
    chosen = (os.environ if variables is None else variables).get(environment.LOG_FORMAT, "")
    render = FORMATS.get(chosen)

    def say(text: str, level: str = "WARNING") -> None:
        if render is not None:
            line = Line(time=datetime.now(UTC), level=level, logger="export_runner", message=text, about=concerning)
            text = render(line)
        with suppress(OSError, ValueError):
            print(text, file=out or sys.stderr, flush=True)

    return say
