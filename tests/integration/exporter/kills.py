"""Kills an export again and again at random moments, and measures what each kill cost.

What a kill costs is what the next process does again: its own start, and the rows that the killed one had read and no
checkpoint counts. PostgreSQL tells how many it had given (pg_stat_progress_copy), S3 which parts it had taken.
"""

import random
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg

from export_contract.runspec import RunSpec
from export_runner.checkpoint import START, Checkpoint, Listed, Mark
from export_runner.sinks.upload import decoded
from tests.integration.exporter.resuming import checkpoint, sent
from tests.integration.exporter.runner import BUCKET, Exporter

ROWS = 400_000
TABLE = f"""
CREATE TABLE long_table (id bigint PRIMARY KEY, filler text NOT NULL);
INSERT INTO long_table
SELECT n, pg_catalog.repeat(pg_catalog.md5(n::text), 32) FROM pg_catalog.generate_series(1, {ROWS}) AS n;
ANALYZE long_table
"""
"""About 414 MB, and 79 parts of 5 MiB: the fastest machine does not come to its end in twenty goes."""

_GIVEN = """
SELECT c.tuples_processed FROM pg_stat_progress_copy AS c JOIN pg_stat_activity AS a USING (pid)
WHERE a.application_name = 'export-runner' ORDER BY a.backend_start DESC LIMIT 1
"""
LOOK_SECONDS = 0.003
ROW_BYTES = 5 + 2 + 4 + 8 + 4 + 1024
"""Of a row of the table in COPY BINARY, with its message's head."""


@dataclass(frozen=True)
class Kill:
    """One SIGKILL, `after` so many seconds of its process. `parts` and `rows` are those that the next process goes on
    behind, `parts_again` what this one had stored beyond that, `rows_again` what PostgreSQL had given beyond that, of
    which about `rows_on_the_way` still were in the sockets. `first_row` is when the process got its first row, in
    seconds from its start; None when it did not live to."""

    after: float
    parts: int
    rows: int
    parts_again: int
    rows_again: int
    rows_on_the_way: int
    first_row: float | None


class Killer:
    """Draws the moments from `seed`: while a process starts, or soon after the checkpoint counts one part more."""

    def __init__(self, exporter: Exporter, spec: RunSpec, seed: int) -> None:
        self._exporter = exporter
        self._spec = spec
        self._chance = random.Random(seed)
        self._server = psycopg.connect(exporter.postgres.dsn, autocommit=True)

    def close(self) -> None:
        self._server.close()

    def kill(self) -> Kill:
        """Starts a process and kills it."""
        before = self._listed()
        start, moves = self._reached(before), self._chance.choice((False, True, True))
        pause = self._chance.uniform(0, 0.05 if moves else 0.8)
        begun, first = time.monotonic(), None
        due = None if moves else begun + pause
        running = self._exporter.start(self._spec)
        while due is None or time.monotonic() < due:
            assert not running.ends_within(LOOK_SECONDS), "the export ended before it was killed"
            if first is None and self._given():
                first = time.monotonic() - begun
            if due is None and sent(self._exporter, self._spec) > start.parts:
                due = time.monotonic() + pause
        queued, given = self._queued(), self._given()
        running.signal(signal.SIGKILL)
        after = time.monotonic() - begun
        running.end()
        listed = self._listed()
        mark = self._reached(listed)
        stored = [number for number, part in listed.items() if number > mark.parts and before.get(number) != part]
        again = max(0, start.rows + given - mark.rows)
        return Kill(after, mark.parts, mark.rows, len(stored), again, queued // ROW_BYTES, first)

    def _given(self) -> int:
        found = self._server.execute(_GIVEN).fetchone()
        return int(found[0]) if found else 0

    def _queued(self) -> int:
        """Bytes in the sockets of all connections to PostgreSQL, at both ends: proc_net_tcp in the kernel's docs."""
        port = f":{int(self._exporter.postgres.port):04X}"
        lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        queues = [each[4] for each in lines if port in (each[1][-5:], each[2][-5:])]
        return sum(int(size, 16) for each in queues for size in each.split(":"))

    def _reached(self, listed: Mapping[int, tuple[Listed, str]]) -> Mark:
        """What the next process goes on behind, while none is at work."""
        found = checkpoint(self._exporter, self._spec)
        if not found:
            return START
        reached = Checkpoint.from_json(found).reached({number: part for number, (part, _) in listed.items()})
        assert reached is not None, "what a checkpoint counts is there"
        return reached.mark

    def _listed(self) -> dict[int, tuple[Listed, str]]:
        """Parts that S3 has, and when each was stored: a part that is sent again may be the same."""
        found = checkpoint(self._exporter, self._spec)
        if not found:
            return {}
        client, key = self._exporter.client(), self._spec.destination.key
        listed = client.list_parts(Bucket=BUCKET, Key=key, UploadId=Checkpoint.from_json(found).upload_id)
        return {
            each["PartNumber"]: (
                Listed(each["ETag"], each["Size"], decoded(each["ChecksumCRC32"])),
                str(each["LastModified"]),
            )
            for each in listed.get("Parts", [])
        }


def table(kills: Sequence[Kill], rows_per_part: float) -> str:
    """For people, in Markdown."""
    lines = [
        "| kill | after | parts counted | parts sent again | rows read again | as parts | first row |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {number} | {kill.after:.2f} s | {kill.parts} | {kill.parts_again} | {kill.rows_again:,} |"
        f" {kill.rows_again / rows_per_part:.1f} | {f'{kill.first_row:.2f} s' if kill.first_row else ''} |"
        for number, kill in enumerate(kills, 1)
    ]
    return "\n".join(lines)
