"""Random faults, round after round, and what must hold after each of them whatever struck.

A round is one run: some attempts that are struck, as a Job's pods would be, and a last one that is left in peace. What
strikes, when and for how long follows from the seed; how it falls in with the run's own timing does not.

After each attempt:
- what is visible are whole objects, to the byte; a manifest is there only beside all of them, and tells of them
  exactly;
- the process has ended within its deadline (and its fallback's) and some grace, by a kill or with a reason of the
  table, and no bug;
- exit code 0 means that objects and manifest are there, or in the fallback, if the outcome says so;
- an upload is left only for a next attempt: by a process that was killed or could not reach S3, or as its checkpoint
  says.
After the last: the run is delivered, and neither upload, checkpoint nor session is left.
"""

import csv
import dataclasses
import hashlib
import json
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from random import Random

from export_contract.failures import FAILURES, Failure
from export_contract.report import Outcome
from export_contract.runspec import Compression, Format, Layout, Limits, RunSpec
from export_runner.checkpoint import Checkpoint
from tests.integration.exporter import readers
from tests.integration.exporter.blows import PACE, SIZE, UNHEARD, Blow, Round, Weather, strike_all
from tests.integration.exporter.exporting import unpacked
from tests.integration.exporter.runner import BUCKET, Exporter, Running, with_limits
from tests.integration.exporter.spare import Spare
from tests.integration.exporter.strikes import GRACE, no_sessions
from tests.services.proxies import Toxiproxy, corrupter

ROWS = 4_000
TABLE = (
    "CREATE TABLE public.stormy (x int PRIMARY KEY, y text NOT NULL);"
    "INSERT INTO public.stormy SELECT n, (SELECT string_agg(md5(n::text || i), 'é') FROM generate_series(1, 120) AS i)"
    f" FROM generate_series(1, {ROWS}) AS n ORDER BY md5(n::text); ANALYZE public.stormy"
)
"""Sixteen megabytes that compress to half, stored in another order than that of the key."""
DEADLINE = 20
OBJECT_BYTES = 6 * 1024 * 1024
"""Two or three objects of all rows."""
Form = tuple[tuple[Format, Compression], Layout, bool]
"""What decides the bytes of a round's objects: format, layout, and whether they are in the order of the key."""


class Storm:
    """The servers, and what each form of the export is when nothing strikes."""

    def __init__(self, exporter: Exporter, proxies: Toxiproxy, spare: Spare) -> None:
        self._exporter = Exporter(exporter.postgres, exporter.s3, exporter.directory, dict(spare.environment))
        self._proxies = proxies
        self._spare = spare
        self._whole: dict[Form, list[bytes]] = {}
        exporter.postgres.psql(TABLE)

    def pass_over(self, drawn: Round, dice: Random) -> list[str]:
        """One round; what came of each attempt. Fails, with all that was said, where something does not hold."""
        whole = self._undisturbed(drawn, kept=drawn.kept)
        # The fallback takes the rows as they come.
        away = self._undisturbed(drawn, kept=False) if drawn.fallback else []
        told: list[str] = []
        with ExitStack() as stack:
            weather, postgres_port, s3_port = stack.enter_context(self._weather(dice))
            spec = self._spec(drawn, postgres_port, s3_port, kept=drawn.kept)
            asleep: list[Running] = []
            for blows in drawn.blows:
                weather.calm()
                running = stack.enter_context(self._attempt(spec))
                strike_all(weather, running, blows, {"from PostgreSQL": SIZE, "to S3": sum(map(len, whole))})
                weather.calm()
                if any(blow.name == "exporter-asleep" for blow in blows) and running.process.poll() is None:
                    asleep.append(running)
                    told.append("Asleep")
                    continue
                told.append(self._ended(running, spec, whole, away, blows))
                if told[-1].startswith("Delivered"):
                    break
            last = stack.enter_context(self._attempt(spec))
            told.append(self._ended(last, spec, whole, away))
            for sleeper in asleep:
                sleeper.signal(signal.SIGCONT)
                told.append(self._ended(sleeper, spec, whole, away, late=True))
            assert no_sessions(self._exporter.postgres)
        return told

    @contextmanager
    def _attempt(self, spec: RunSpec) -> Iterator[Running]:
        """A process that is gone afterwards, even when it sleeps and a test failed."""
        running = self._exporter.start(spec)
        try:
            yield running
        finally:
            running.process.kill()
            running.end()

    def _ended(
        self,
        running: Running,
        spec: RunSpec,
        whole: list[bytes],
        away: list[bytes],
        blows: tuple[Blow, ...] = (),
        *,
        late: bool = False,
    ) -> str:
        """Waits for the end of an attempt; what came of it, when all that must hold does."""
        running.process.wait(DEADLINE * (2 if away else 1) + GRACE)
        running.end()
        said = "".join(running.lines + running.errors)
        code = running.process.returncode
        names = {blow.name for blow in blows}
        assert code >= 0 or "exporter-killed" in names, said
        outcome = Outcome.from_json(running.lines[-1]) if code >= 0 else None
        failure = FAILURES[Failure(outcome.failure.reason)] if outcome and outcome.failure else None
        spared = bool(outcome and outcome.delivered and outcome.delivered.used_fallback)
        found = _Found(self._exporter, spec)
        heard = not names & UNHEARD
        goes_on = failure is not None and failure.retryable
        holds = {
            "what is visible is whole": found.are_of(whole),
            "the manifest tells of it": found.tells_of(whole) if found.told is not None else code != 0 or spared,
            "the fallback has it": not spared or self._away(spec) == b"".join(away),
            "the exit code is the failure's": code == (failure.exit_code if failure else min(code, 0)),
            "an upload is a checkpoint's": not heard or set(found.uploads) <= {found.kept},
            "a checkpoint is for another attempt": not heard or not found.kept or goes_on,
            "it is no bug": failure is None or failure.reason != Failure.INTERNAL_ERROR,
            "it is delivered": bool(blows) or late or code == 0,
        }
        broken = [name for name, true in holds.items() if not true]
        assert not broken, f"not so: {'; '.join(broken)}\n{said}"
        if outcome and outcome.failure:
            return f"{outcome.failure.reason} ({outcome.failure.message})"
        return "Killed" if code else "Delivered to the fallback" if spared else "Delivered"

    def _undisturbed(self, drawn: Round, *, kept: bool) -> list[bytes]:
        """The objects, in order."""
        form = (drawn.form, drawn.layout, kept)
        if form not in self._whole:
            calm = self._spec(drawn, self._exporter.postgres.port, self._exporter.s3.port, kept=kept)
            done = self._exporter.run(calm)
            assert done.code == 0, done.said
            self._whole[form] = [self._exporter.read(each.key) for each in self._exporter.manifest(calm).objects]
            assert sorted(row for data in self._whole[form] for row in _rows(drawn.form, data)) == self._held()
        return self._whole[form]

    def _held(self) -> list[tuple[int, str]]:
        """The rows, as PostgreSQL itself tells them."""
        lines = self._exporter.postgres.psql("COPY (SELECT x, y FROM public.stormy ORDER BY x) TO STDOUT").splitlines()
        return [(int(x), y) for x, y in (line.split("\t") for line in lines)]

    def _away(self, spec: RunSpec) -> bytes:
        """What the fallback has, one object behind the other."""
        assert spec.destination.fallback is not None
        return self._spare.data(spec) if spec.destination.fallback.database else b"".join(self._spare.objects(spec))

    def _spec(self, drawn: Round, postgres_port: int, s3_port: int, *, kept: bool) -> RunSpec:
        limits = Limits(block_rows=200, part_bytes=5 * 1024 * 1024, object_bytes=OBJECT_BYTES)
        made = self._exporter.spec(
            ("x", "y"), table="stormy", output=drawn.form, limits=limits, port=postgres_port, ssl_mode="Require"
        )
        if drawn.fallback:
            into = self._spare.in_bucket if drawn.fallback == "bucket" else self._spare.in_database
            made = into(made, deadline_seconds=DEADLINE)
        target = dataclasses.replace(made.destination, endpoint=f"http://127.0.0.1:{s3_port}")
        if kept:
            target = dataclasses.replace(target, checkpoint_key=f".export-operator/{made.run.id}/checkpoint.json")
        output = dataclasses.replace(made.output, layout=drawn.layout)
        made = dataclasses.replace(made, destination=target, output=output, resume="Always" if kept else "Auto")
        return with_limits(made, run_deadline_seconds=DEADLINE)

    @contextmanager
    def _weather(self, dice: Random) -> Iterator[tuple[Weather, int, int]]:
        """Links and corrupters to both servers, and the ports to use."""
        with ExitStack() as stack:
            # A link of its own: Toxiproxy takes a toxic away only when what it holds back could be passed on.
            paced = [
                stack.enter_context(self._proxies.to(port))
                for port in (self._exporter.postgres.port, self._exporter.s3.port)
            ]
            paced[0].add("bandwidth", rate=PACE)
            paced[1].add("bandwidth", "upstream", rate=PACE)
            to_postgres, to_s3 = (stack.enter_context(self._proxies.to(link.port)) for link in paced)
            rows = stack.enter_context(corrupter(to_postgres.port, "downstream"))
            answers = stack.enter_context(corrupter(to_s3.port, "downstream"))
            parts = stack.enter_context(corrupter(answers.port, "upstream"))
            yield Weather(self._exporter, dice, to_postgres, to_s3, rows, parts, answers), rows.port, parts.port


def _rows(form: tuple[Format, Compression], data: bytes) -> list[tuple[int, str]]:
    """What another reader finds in an object."""
    if form[0] in {"Parquet", "ArrowStream"}:
        found = [(row["x"], row["y"]) for row in readers.table(form[0], data).to_pylist()]
    elif form[0] == "CSV":
        found = [(row["x"], row["y"]) for row in csv.DictReader(unpacked(data, form[1]).decode().splitlines())]
    else:
        text = unpacked(data, form[1]).decode()
        documents = json.loads(text) if form[0] == "JSON" else map(json.loads, text.splitlines())
        found = [(row["x"], row["y"]) for row in documents]
    return [(int(x), y) for x, y in found]


class _Found:
    """What stands in S3 after an attempt. `kept` is the upload that a checkpoint names; empty without a checkpoint."""

    def __init__(self, exporter: Exporter, spec: RunSpec) -> None:
        folder = spec.destination.key.rpartition("/")[0]
        keys = exporter.keys(spec)
        self._objects = {name: exporter.read(f"{folder}/{name}") for name in keys if name != "manifest.json"}
        self.told = exporter.manifest(spec) if "manifest.json" in keys else None
        self.uploads = exporter.uploads(spec)
        self.kept = ""
        if spec.destination.checkpoint_key:
            with suppress(FileNotFoundError):
                text = (exporter.s3.data / BUCKET / spec.destination.checkpoint_key).read_text()
                self.kept = Checkpoint.from_json(text).upload_id

    def are_of(self, whole: list[bytes]) -> bool:
        """Is each object that is visible the one of its number?"""
        numbers = {name: int(name.removesuffix(".out").partition("-")[2] or 1) for name in self._objects}
        return all(whole[number - 1 : number] == [self._objects[name]] for name, number in numbers.items())

    def tells_of(self, whole: list[bytes]) -> bool:
        """Is the manifest that of all objects, which are there?"""
        assert self.told is not None
        told = [(each.bytes, each.sha256) for each in self.told.objects]
        return (self.told.rows, self.told.complete, len(self._objects), told) == (
            *(ROWS, True, len(whole)),
            [(len(data), hashlib.sha256(data).hexdigest()) for data in whole],
        )
