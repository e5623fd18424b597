"""Who is measured, and how each is started. Adding one is a line in `CONTESTANTS`."""

import dataclasses
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Literal

from export_contract.report import Outcome
from export_contract.runspec import Format, Limits, Resume
from tests.bench import machine, peers
from tests.bench.measure import Command
from tests.bench.tables import Table
from tests.cluster.paths import REPOSITORY
from tests.integration.exporter.runner import BUCKET, Exporter
from tests.services import host

Kind = Literal["bare", "shipped", "peer"]
REFERENCE = "psql-csv"
"""Every ratio is to this one, in the same run."""
REFERENCE_RUNS = 4
"""In a round: runs of one command differ by a fifth, and what they say of this one goes into every ratio."""
CLOSE_RUNS = 3
"""In a round: of what stands so close to its goal that five runs do not tell on which side."""
CURSOR = "cursor-csv"
LONG_SECONDS = 3600
"""The run deadline while measuring: none of them is about it."""
LARGE_BLOCK = 32 * 1024 * 1024
TEXT_TYPES: Mapping[str, tuple[str, ...]] = {
    "adbc": ("numeric", "jsonb", "text[]"),
    "connectorx": ("jsonb", "text[]"),
    "cursor": ("text[]",),
}
"""What is read as text because the library, or what polars or the csv module writes of it, has no place for it. By
the beginning of the type's name."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a contestant works: servers, a directory, and a table with its columns' types."""

    exporter: Exporter
    postgres: host.PostgresServer
    directory: Path
    table: Table
    types: Mapping[str, str]

    @property
    def out(self) -> Path:
        return self.directory / "out"

    def libpq(self) -> dict[str, str]:
        """A client's variables."""
        return {**self.postgres.client(), "PGTZ": "UTC"}

    def psql(self, statement: str) -> Command:
        """psql, which says it to the server and nothing else."""
        return Command([host.binaries() / "psql", "-X", "-q", "-c", statement], self.libpq())


@dataclass(frozen=True, slots=True)
class Contestant:
    """`form` is the file's format as the contestant names it. `ordered` reads by key without a checkpoint."""

    name: str
    title: str
    kind: Kind
    form: str
    connections: int = 1
    library: str = ""
    resume: Resume = "Never"
    ordered: bool = False
    block_bytes: int = Limits().block_bytes
    tells_null: bool = True
    """False: NULL and the empty text look the same in its output, and are compared so."""
    a_round: int = 1
    """How often it is run in a round."""

    @property
    def spare(self) -> bool:
        """May it run less often where it is slow? No goal looks at its wall time, or but a coarse one."""
        return self.library in {"adbc", "connectorx", "cursor"} or self.form == "JSON"

    @property
    def needs_peers(self) -> bool:
        return self.library not in {"", "psql"}

    def command(self, place: Place) -> Command:
        """Makes ready what the process reads, and tells how to start it."""
        if self.library == "psql":
            return self._psql(place)
        return self._peer(place) if self.library else self._ours(place)

    def _psql(self, place: Place) -> Command:
        options = "FORMAT csv, HEADER" if self.form == "CSV" else "FORMAT binary"
        return place.psql(f"\\copy {place.table.name} TO '{place.out}' ({options})")

    def _peer(self, place: Place) -> Command:
        casts = TEXT_TYPES.get(self.library, ())
        columns = ", ".join(
            f"{name}::text AS {name}" if place.types[name].startswith(casts) else name for name in place.table.columns
        )
        arguments: list[str | Path] = [
            self.library,
            self.form,
            str(self.connections),
            place.table.name,
            columns,
            place.out,
        ]
        threads = {"POLARS_MAX_THREADS": "2", "HOME": str(place.directory)}
        return Command([peers.python(), peers.SCRIPT, *arguments], place.libpq() | threads)

    def _ours(self, place: Place) -> Command:
        spec = place.exporter.spec(
            place.table.columns,
            table=place.table.name,
            output=(_form(self.form), "None"),
            limits=Limits(run_deadline_seconds=LONG_SECONDS, block_bytes=self.block_bytes),
            connections=self.connections,
            key=(place.table.key,) if self.resume != "Never" else (),
            order_by=(place.table.key,) if self.ordered else (),
            allow_privileged_role=True,  # the benchmark's server has no other
        )
        checkpoint = "" if self.resume == "Never" else f".export-operator/{spec.run.id}/checkpoint.json"
        destination = dataclasses.replace(spec.destination, checkpoint_key=checkpoint)
        spec = dataclasses.replace(spec, resume=self.resume, destination=destination)
        file = place.directory / "spec.json"
        file.write_text(spec.to_json())
        variables = {**machine.exporter_environment(), **place.exporter.environment, "PYTHONPATH": str(REPOSITORY)}
        if self.kind == "bare":
            return Command([sys.executable, "-m", "tests.bench.bare", file, place.out], variables)
        expected = place.exporter.s3.data / BUCKET / checkpoint if checkpoint else None
        return Command(
            [sys.executable, "-m", "export_runner.start", "run", "--spec", file], variables, expected=expected
        )

    def collect(self, place: Place, said: str) -> tuple[Path, dict[str, float]]:
        """The output as a file, and the seconds by step where the contestant tells them. What is in S3 is read from
        there, and its hash is the manifest's. Raises ValueError when it is not."""
        if self.library:
            return place.out, {}
        if self.kind == "bare":
            seconds: dict[str, float] = json.loads(said)["seconds"]
            return place.out, seconds
        outcome = Outcome.from_json(said.splitlines()[-1])
        if outcome.delivered is None:
            raise ValueError(f"the export failed: {outcome.failure}")
        _download(place, outcome)
        return place.out, dict(outcome.timings)


def _form(name: str) -> Format:
    forms: dict[str, Format] = {"CSV": "CSV", "NDJSON": "NDJSON", "JSON": "JSON", "Parquet": "Parquet"}
    return forms[name]


def _download(place: Place, outcome: Outcome) -> None:
    import hashlib

    assert outcome.delivered is not None
    client: Any = place.exporter.client()
    key = outcome.delivered.uri.removeprefix(f"s3://{BUCKET}/")
    digest = hashlib.sha256()
    with place.out.open("wb") as file:
        for piece in client.get_object(Bucket=BUCKET, Key=key)["Body"].iter_chunks(8 * 1024 * 1024):
            file.write(piece)
            digest.update(piece)
    if digest.hexdigest() != outcome.delivered.sha256:
        raise ValueError("the object is not what its manifest says")
    for each in (key, outcome.delivered.manifest_uri.removeprefix(f"s3://{BUCKET}/")):
        client.delete_object(Bucket=BUCKET, Key=each)


def _bare(form: str, connections: int) -> Contestant:
    end = "" if connections == 1 else f", {connections} connections"
    return Contestant(f"bare-{form.lower()}-{connections}", f"bare {form}{end}", "bare", form, connections)


def _shipped(form: str, a_round: int = 1) -> Contestant:
    title = f"as shipped, {form}"
    return Contestant(f"shipped-{form.lower()}", title, "shipped", form, resume="Auto", a_round=a_round)


def _duckdb(form: str, threads: int) -> Contestant:
    title = f"DuckDB {form}, {threads} thread{'s' if threads > 1 else ''}"
    return Contestant(f"duckdb-{form.lower()}-{threads}", title, "peer", form, threads, "duckdb")


def _polars(library: str, name: str, form: str) -> Contestant:
    return Contestant(f"{library}-{form.lower()}", f"{name} + polars {form}", "peer", form, library=library)


CONTESTANTS: tuple[Contestant, ...] = (
    Contestant(REFERENCE, "psql \\copy csv", "peer", "CSV", library="psql", a_round=REFERENCE_RUNS),
    Contestant("psql-binary", "psql \\copy binary", "peer", "Binary", library="psql"),
    *(_bare(form, connections) for form in ("CSV", "NDJSON", "Parquet") for connections in (1, 2)),
    _bare("JSON", 1),
    Contestant(
        "bare-parquet-32m",
        "bare Parquet, 32 MiB blocks",
        "bare",
        "Parquet",
        block_bytes=LARGE_BLOCK,
        a_round=CLOSE_RUNS,
    ),
    _shipped("CSV", CLOSE_RUNS),
    _shipped("NDJSON", CLOSE_RUNS),
    _shipped("Parquet"),
    _shipped("JSON"),
    Contestant("ordered-csv", "as shipped CSV, by key", "shipped", "CSV", ordered=True, a_round=CLOSE_RUNS),
    Contestant(
        "checkpoint-csv",
        "as shipped CSV, by key, checkpoints",
        "shipped",
        "CSV",
        resume="Always",
        a_round=CLOSE_RUNS,
    ),
    *(_duckdb(form, threads) for form in ("CSV", "NDJSON", "Parquet") for threads in (1, 2)),
    *(_polars("adbc", "ADBC", form) for form in ("CSV", "Parquet")),
    *(_polars("connectorx", "connectorx", form) for form in ("CSV", "Parquet")),
    Contestant(CURSOR, "cursor and csv module", "peer", "CSV", library="cursor", tells_null=False),
)
BY_NAME: Mapping[str, Contestant] = {each.name: each for each in CONTESTANTS}


def chosen(patterns: Iterable[str], names: Iterable[str]) -> list[Contestant]:
    """Those of `names` that one of the patterns matches; the reference always. Order as in `CONTESTANTS`."""
    wanted, given = set(names), list(patterns)
    return [
        each
        for each in CONTESTANTS
        if each.name in wanted and (each.name == REFERENCE or any(fnmatch(each.name, pattern) for pattern in given))
    ]
