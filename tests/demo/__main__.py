"""The command line: `python -m tests.demo [down]`."""

import argparse
import sys
from collections.abc import Sequence

from tests.cluster import say
from tests.cluster.problem import Problem

DESCRIPTION = """\
Finds or makes a Kubernetes cluster, builds the images, installs the chart, starts PostgreSQL and an S3 server,
loads 100,000 users, exports them as a tenant would, and checks what was delivered. Running it again is quick, and
so is going on after Ctrl-C.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.demo", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    verbs.add_parser("run", help="the demo (what happens without a command)")
    verbs.add_parser("down", help="remove everything that the demo installed; the cluster stays")
    command = parser.parse_args(arguments).command or "run"
    try:
        from tests.demo import removal, story  # here, so that Ctrl-C while they are read is answered as any other

        return removal.down() if command == "down" else story.run()
    except Problem as problem:
        say.line(f"{say.paint('31', 'error:')} {problem}")
        return 1
    except KeyboardInterrupt:
        say.line("\ninterrupted; the same command goes on from here")
        return 130


if __name__ == "__main__":
    sys.exit(main())
