"""Runs `export-runner` as its users do: a process, a spec, credentials in the environment."""

import dataclasses
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import botocore.session
from botocore.config import Config

from export_contract.manifest import Manifest
from export_contract.report import Outcome, Progress
from export_contract.runspec import Compression, Destination, Format, Limits, Output, Relation, Run, RunSpec, Source
from tests.services.data import COLUMNS
from tests.services.host import PostgresServer, S3Server

BUCKET = "exports"
COMMAND = [sys.executable, "-m", "export_runner", "run", "--spec"]
PATIENCE = 120.0  # seconds; nothing here takes so long


@dataclass(frozen=True)
class Finished:
    """What a run left: exit code, outcome, progress, everything that it said."""

    code: int
    outcome: Outcome
    progress: list[Progress]
    said: str
    seconds: float

    @property
    def reason(self) -> str:
        return self.outcome.failure.reason if self.outcome.failure else ""

    @property
    def message(self) -> str:
        return self.outcome.failure.message if self.outcome.failure else ""


class Running:
    """A run under way. Its lines are collected as they come."""

    def __init__(
        self, spec: RunSpec, directory: Path, environment: Mapping[str, str], prefix: Sequence[str] = ()
    ) -> None:
        """`prefix` goes before the command line."""
        self._log = directory / f"termination-{spec.run.id}"
        file = directory / f"spec-{spec.run.id}.json"
        file.write_text(spec.to_json())
        self._begun = time.monotonic()
        variables = {"PATH": os.environ["PATH"], "EXPORT_TERMINATION_LOG": str(self._log), **environment}
        self.process = subprocess.Popen(
            [*prefix, *COMMAND, str(file)], env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.lines: list[str] = []
        self.errors: list[str] = []
        self._threads = [
            threading.Thread(target=self._collect, args=pair, daemon=True)
            for pair in ((self.process.stdout, self.lines), (self.process.stderr, self.errors))
        ]
        for thread in self._threads:
            thread.start()

    @staticmethod
    def _collect(stream: Any, lines: list[str]) -> None:
        with stream:
            lines.extend(iter(stream.readline, ""))

    def progress(self) -> list[Progress]:
        return [each for each in map(Progress.from_line, list(self.lines)) if each]

    def until(self, condition: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end, f"waited in vain for {what}"
            assert self.process.poll() is None, f"the run ended before {what}: {self.lines[-1:]} {self.errors}"
            time.sleep(0.01)

    def until_rows(self, rows: int) -> None:
        """Until the progress tells of more than so many."""
        self.until(lambda: any(each.rows > rows for each in self.progress()), f"{rows} rows")

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def ends_within(self, seconds: float) -> bool:
        """Waits at most so long; has it ended?"""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
        return self.process.returncode is not None

    def end(self) -> None:
        """Waits for the process, whatever it says."""
        self.process.wait(PATIENCE)
        for thread in self._threads:
            thread.join(PATIENCE)

    def finish(self) -> Finished:
        self.end()
        said = "".join(self.lines + self.errors)
        outcome = Outcome.from_json(self.lines[-1])
        assert Outcome.from_json(self._log.read_bytes()) == outcome
        return Finished(self.process.returncode, outcome, self.progress(), said, time.monotonic() - self._begun)


@dataclass
class Exporter:
    """Makes specs for the servers and runs them."""

    postgres: PostgresServer
    s3: S3Server
    directory: Path
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.environment = {
            "PGUSER": self.postgres.reader,
            "PGPASSWORD": self.postgres.reader_password,
            "AWS_ACCESS_KEY_ID": self.s3.access_key,
            "AWS_SECRET_ACCESS_KEY": self.s3.secret_key,
            **self.environment,
        }

    def spec(
        self,
        columns: tuple[str, ...] = COLUMNS,
        *,
        table: str | None = "users",
        output: tuple[Format, Compression] = ("CSV", "None"),
        limits: Limits | None = None,
        bucket: str = BUCKET,
        **source: Any,
    ) -> RunSpec:
        run = secrets.token_hex(10)
        return RunSpec(
            run=Run(id=run, namespace="team-a", name="users", uid=secrets.token_hex(8)),
            source=Source(
                name="app-db",
                dataset="users",
                columns=columns,
                **{
                    "host": self.postgres.host,
                    "port": self.postgres.port,
                    "database": "app",
                    "relation": Relation(schema="public", table=table) if table else None,
                    **source,
                },
            ),
            destination=Destination(
                name="exports",
                bucket=bucket,
                key=f"team-a/{run}/users.out",
                manifest_key=f"team-a/{run}/manifest.json",
                endpoint=self.s3.endpoint,
                path_style=True,
            ),
            output=Output(format=output[0], compression=output[1]),
            limits=limits or Limits(),
        )

    def start(self, spec: RunSpec, *prefix: str, **environment: str) -> Running:
        return Running(spec, self.directory, self.environment | environment, prefix)

    def run(self, spec: RunSpec, **environment: str) -> Finished:
        return self.start(spec, **environment).finish()

    def command(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
        """Another command than `run`."""
        command = [sys.executable, "-m", "export_runner", *arguments]
        return subprocess.run(
            command, env=self.environment | environment, capture_output=True, timeout=PATIENCE, check=False
        )

    def client(self) -> Any:
        session = botocore.session.get_session()
        return session.create_client(
            "s3",
            region_name=self.s3.region,
            endpoint_url=self.s3.endpoint,
            aws_access_key_id=self.s3.access_key,
            aws_secret_access_key=self.s3.secret_key,
            verify=self.environment.get("AWS_CA_BUNDLE"),
            config=Config(s3={"addressing_style": "path"}),
        )

    def read(self, key: str) -> bytes:
        body: bytes = self.client().get_object(Bucket=BUCKET, Key=key)["Body"].read()
        return body

    def manifest(self, spec: RunSpec) -> Manifest:
        return Manifest.from_json(self.read(spec.destination.manifest_key))

    def keys(self, spec: RunSpec) -> list[str]:
        """What is visible of the run."""
        listed = self.client().list_objects_v2(Bucket=BUCKET, Prefix=f"team-a/{spec.run.id}/")
        return sorted(each["Key"].rpartition("/")[2] for each in listed.get("Contents", []))

    def uploads(self, spec: RunSpec) -> list[str]:
        """Multipart uploads that the run left."""
        folder = spec.destination.key.rpartition("/")[0]
        listed = self.client().list_multipart_uploads(Bucket=BUCKET, Prefix=f"{folder}/")
        return [each["UploadId"] for each in listed.get("Uploads", [])]

    def leaves_nothing(self, spec: RunSpec) -> bool:
        return not self.keys(spec) and not self.uploads(spec)


def with_limits(spec: RunSpec, **limits: Any) -> RunSpec:
    return dataclasses.replace(spec, limits=dataclasses.replace(spec.limits, **limits))


def json_lines(data: bytes) -> list[Any]:
    return [json.loads(line) for line in data.splitlines()]
