"""`docs/operations/faults.md`, from the table of faults.

python -m tests.integration.exporter.fault_page > docs/operations/faults.md
"""

from pathlib import Path

from tests.integration.exporter.faults import FAULTS

PAGE = Path(__file__).parents[3] / "docs" / "operations" / "faults.md"

HEAD = """\
<!-- Rendered by tests/integration/exporter/fault_page.py. Do not edit. -->
# Faults: what comes of each

Each line is a test of the exporter against a real PostgreSQL and a real S3 server, with the fault put between or upon
them while rows flow. After each but those marked otherwise nothing is left behind: no half object, no multipart upload,
no session in PostgreSQL.

| where | fault | what comes of it | what the exporter says |
|---|---|---|---|
"""
TAIL = """
"After another try": each call is tried again after 1, 2 and 4 seconds, within the run's deadline. A lost connection to
PostgreSQL takes its snapshot along.

An answer of S3 that is cut off or damaged counts as lost: the call is made again, and an upload that nobody knows of
since then is aborted.

## Random faults

`make chaos` runs the lines above that take long, and then a storm: for `CHAOS_MINUTES` (5) it exports 16 MB again and
again, in every format, as one object or several, with and without a checkpoint and a fallback, and strikes each run's
attempts with one or two of 21 faults at random moments, for a moment or for longer than the retries take: both
connections reset, cut, stalled, slowed, ended half-way or with a bit flipped; both servers killed; the exporter killed,
stopped, or asleep until another has done its work. Then a last attempt is left in peace. After each attempt what is
visible are whole objects to the byte, or nothing; the manifest is there only with all of them; what the fallback took
is all of it; the process has ended with a reason of [the table](reasons.md), none of them a bug; an upload is left only
where the next attempt will find it. After the last attempt the run is delivered, and nothing else is left.

It prints each round with its seed; `CHAOS_SEED=… CHAOS_ROUND=… make chaos` plays one again. `make test` plays two
rounds of a fixed seed.

## How long a silent peer is waited for

| who | what ends the wait | seconds |
|---|---|---|
| exporter, connecting to PostgreSQL | `connect_timeout`, each try | 5 |
| exporter, PostgreSQL's machine gone | TCP keepalive: idle 10, then 3 probes 5 apart | 25 |
| exporter, bytes to PostgreSQL not acknowledged | `tcp_user_timeout` | 30 |
| exporter, PostgreSQL alive but silent | the run's deadline: a query may rightly think for long | deadline |
| PostgreSQL, exporter's machine gone | the same keepalive and user timeout, set for the session | 25 to 30 |
| PostgreSQL, exporter's connection closed | `client_connection_check_interval` (PostgreSQL 14 or newer) | 2 |
| exporter, waiting for another's lock on the table | `lock_timeout`, each try | 10, or half of the time left |
| exporter, connecting to S3 | connect timeout, each try | 5 |
| exporter, S3 silent | read timeout, each try | 30 |
| exporter, a stage that hangs | the deadline, then the watchdog ends the process | deadline + 10 |

## What cannot be noticed, or not be said

Short of memory, the process seldom lives to tell: at the limit of its container the kernel kills it, which the operator
reports as `OutOfMemory`; where an allocation is refused (`RLIMIT_AS`) a library may end it without a word, which is
`PodCrashed`. The exporter itself says `OutOfMemory` of an allocation that Python sees fail. The upload stays for the
next attempt to abort, as after any kill.

Without TLS, PostgreSQL's protocol has no checksum beyond TCP's: a changed letter is delivered as it came. With
`sslMode: VerifyFull` the connection ends instead. On the way to S3 every part carries a CRC32 and the object is checked
as a whole, with or without TLS.
"""


def page() -> str:
    """The whole page."""
    lines = [
        f"| {fault.where} | {fault.what} | {fault.expected} |"
        f" {' or '.join(f'`{said}`' for said in (fault.says, fault.or_says) if said)} |\n"
        for fault in FAULTS
    ]
    return HEAD + "".join(lines) + TAIL


if __name__ == "__main__":
    print(page(), end="")
