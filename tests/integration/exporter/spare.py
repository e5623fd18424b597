"""Where exports go while S3 is away: a second bucket, and a database on a server of its own."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from export_contract.names import artifact_uri
from export_contract.runspec import Fallback, FallbackBucket, FallbackDatabase, RunSpec
from tests.integration.exporter.runner import Exporter, Finished
from tests.services.host import PostgresServer, S3Server

SPARE = "spare"
SCHEMA = "artifacts"
ROLE, PASSWORD = "artifact_writer", "planted-fallback-password"


@dataclass(frozen=True)
class Spare:
    """The fallback's servers, as a spec and the environment name them."""

    postgres: PostgresServer
    s3: S3Server

    @property
    def place(self) -> FallbackDatabase:
        return FallbackDatabase(
            host=self.postgres.host, port=self.postgres.port, database=self.postgres.database, schema=SCHEMA
        )

    @property
    def environment(self) -> dict[str, str]:
        return {
            "EXPORT_FALLBACK_PGUSER": ROLE,
            "EXPORT_FALLBACK_PGPASSWORD": PASSWORD,
            "EXPORT_FALLBACK_AWS_ACCESS_KEY_ID": self.s3.access_key,
            "EXPORT_FALLBACK_AWS_SECRET_ACCESS_KEY": self.s3.secret_key,
        }

    def in_database(self, spec: RunSpec, **changes: object) -> RunSpec:
        return _with(spec, Fallback(name="spare", database=self.place), changes)

    def in_bucket(self, spec: RunSpec, **changes: object) -> RunSpec:
        bucket = FallbackBucket(
            bucket=SPARE,
            key=f"away/{spec.run.id}/users.out",
            manifest_key=f"away/{spec.run.id}/manifest.json",
            endpoint=self.s3.endpoint,
            path_style=True,
        )
        return _with(spec, Fallback(name="spare", bucket=bucket), changes)

    def prepare(self) -> None:
        """A schema that the role may create tables in, and a bucket."""
        self.postgres.psql(
            f"CREATE ROLE {ROLE} LOGIN PASSWORD '{PASSWORD}'; CREATE SCHEMA {SCHEMA} AUTHORIZATION {ROLE}"
        )
        self.s3.create_bucket(SPARE)

    def uri(self, spec: RunSpec) -> str:
        return artifact_uri(self.place, spec.run.id)

    def data(self, spec: RunSpec) -> bytes:
        """The artifact's bytes, put together by SQL alone."""
        text = self.postgres.psql(
            "SELECT encode(string_agg(data, ''::bytea ORDER BY object, number, piece), 'hex')"
            f" FROM {SCHEMA}.export_artifact_parts JOIN {SCHEMA}.export_artifacts USING (run, attempt)"
            f" WHERE run = '{spec.run.id}'"
        )
        return bytes.fromhex(text)

    def object(self, spec: RunSpec) -> bytes:
        """What the second bucket has."""
        (found,) = self.objects(spec)
        return found

    def objects(self, spec: RunSpec) -> list[bytes]:
        """The same of an export of several."""
        folder = self.s3.data / SPARE / "away" / spec.run.id
        return [file.read_bytes() for file in sorted(folder.glob("users*.out"))]

    def row(self, spec: RunSpec) -> dict[str, Any]:
        """The artifact's row."""
        table = f"{SCHEMA}.export_artifacts"
        row: dict[str, Any] = json.loads(
            self.postgres.psql(f"SELECT to_json(a) FROM {table} AS a WHERE run = '{spec.run.id}'")
        )
        return row

    def largest(self) -> int:
        """Bytes of the largest piece."""
        return int(self.postgres.psql(f"SELECT max(octet_length(data)) FROM {SCHEMA}.export_artifact_parts"))

    def count(self, table: str, spec: RunSpec) -> int:
        return int(self.postgres.psql(f"SELECT count(*) FROM {SCHEMA}.{table} WHERE run = '{spec.run.id}'"))


def _with(spec: RunSpec, fallback: Fallback, changes: dict[str, object]) -> RunSpec:
    patient = dataclasses.replace(
        spec.limits, run_deadline_seconds=300
    )  # what is tested is not how fast this machine is
    changed = dataclasses.replace(fallback, **{"deadline_seconds": 300, **changes})  # type: ignore[arg-type]
    return dataclasses.replace(
        spec, limits=patient, destination=dataclasses.replace(spec.destination, fallback=changed)
    )


def holds(done: Finished, data: bytes) -> bool:
    """Is this what the run says that it delivered?"""
    told = done.outcome.delivered
    return told is not None and (told.bytes, told.sha256) == (len(data), hashlib.sha256(data).hexdigest())


def on(exporter: Exporter, spare: Spare, s3: S3Server | None = None) -> Exporter:
    """The exporter with the fallback's credentials, and perhaps another S3 server."""
    return Exporter(exporter.postgres, s3 or exporter.s3, exporter.directory, dict(spare.environment))
