"""What went to the fallback comes to S3 when it is back, to the byte, and can be fetched from wherever it is."""

import dataclasses
import hashlib
import subprocess
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from export_contract.failures import FAILURES, Failure
from export_contract.report import Redelivered
from export_contract.runspec import RunSpec
from tests.integration.exporter.runner import BUCKET, Exporter, Finished
from tests.integration.exporter.spare import PASSWORD, ROLE, SCHEMA, Spare
from tests.services import host

pytestmark = pytest.mark.integration

KINDS = ("moved", "kept", "damaged", "fetched", "bucket")


@dataclasses.dataclass(frozen=True)
class Back:
    """Exports that went to the fallback, and the S3 server that is back."""

    exporter: Exporter
    specs: dict[str, RunSpec]
    done: dict[str, Finished]

    def command(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
        return self.exporter.command(*arguments, **environment)

    def file(self, kind: str) -> str:
        path = self.exporter.directory / f"{kind}.json"
        path.write_text(self.specs[kind].to_json())
        return str(path)

    def told(self, kind: str) -> tuple[int, str]:
        delivered = self.done[kind].outcome.delivered
        assert delivered is not None, self.done[kind].said
        return delivered.bytes, delivered.sha256

    def in_s3(self, kind: str) -> tuple[int, str]:
        data = self.exporter.read(self.specs[kind].destination.key)
        return len(data), hashlib.sha256(data).hexdigest()


@pytest.fixture(scope="module")
def back(postgres: host.PostgresServer, spare: Spare, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Back]:
    with host.s3_server() as s3:
        s3.create_bucket(BUCKET)
        s3.kill()
        own = Exporter(postgres, s3, tmp_path_factory.mktemp("back"), dict(spare.environment))
        specs = {
            kind: (spare.in_bucket if kind == "bucket" else spare.in_database)(own.spec(("id", "email")))
            for kind in KINDS
        }
        running = {kind: own.start(spec) for kind, spec in specs.items()}
        done = {kind: each.finish() for kind, each in running.items()}
        s3.start()
        yield Back(own, specs, done)


def test_redelivered_artifacts_are_in_s3_to_the_byte_with_a_manifest_that_says_so_and_once(
    back: Back, spare: Spare
) -> None:
    spec = back.specs["moved"]
    command = ("redeliver", "--from", spare.uri(spec), "--run", spec.run.id)
    told = [back.exporter.directory / f"told-{number}" for number in range(2)]
    with ThreadPoolExecutor() as pool:
        both = list(pool.map(lambda at: back.command(*command, EXPORT_TERMINATION_LOG=str(at)), told))
    said = [Redelivered.from_json(each.read_text()).moved for each in told]
    assert sum((Counter(each) for each in said), Counter()) == {spec.destination.name: 1}
    assert [each.returncode for each in both] == [0, 0], both
    assert b"redelivered to s3://" in b"".join(each.stdout for each in both)
    assert back.in_s3("moved") == back.told("moved")
    manifest = back.exporter.manifest(spec)
    assert (manifest.used_fallback, manifest.redelivered_at != "", manifest.rows) == (False, True, 100_000)
    assert (spare.count("export_artifact_parts", spec), spare.count("export_artifacts", spec)) == (0, 1)
    again = back.command(*command)
    assert (again.returncode, b"was redelivered before" in again.stdout) == (0, True)
    late = back.exporter.run(spec).outcome.delivered
    assert late is not None
    assert (late.uri, late.used_fallback) == (f"s3://{BUCKET}/{spec.destination.key}", False)


def test_a_dry_run_moves_nothing_and_keep_leaves_the_bytes(back: Back, spare: Spare) -> None:
    spec = back.specs["kept"]
    dry = back.command("redeliver", "--spec", back.file("kept"), "--dry-run")
    assert f"s3://{BUCKET}/{spec.destination.key}".encode() in dry.stdout
    assert back.exporter.keys(spec) == []
    done = back.command("redeliver", "--spec", back.file("kept"), "--keep")
    assert done.returncode == 0, done
    assert back.in_s3("kept") == back.told("kept")
    assert spare.count("export_artifact_parts", spec) > 0


def test_an_artifact_with_a_changed_byte_gets_no_manifest_and_no_file(back: Back, spare: Spare, tmp_path: Path) -> None:
    spec = back.specs["damaged"]
    spare.postgres.psql(
        f"UPDATE {SCHEMA}.export_artifact_parts SET data = set_byte(data, 1000, 255 - get_byte(data, 1000))"
        f" WHERE run = '{spec.run.id}' AND number = 1 AND piece = 1"
    )
    code = FAILURES[Failure.ARTIFACT_DAMAGED].exit_code
    done = back.command("redeliver", "--spec", back.file("damaged"))
    assert (done.returncode, back.exporter.leaves_nothing(spec)) == (code, True), done
    got = back.command("fetch", spare.uri(spec), "--to", str(tmp_path / "users.csv"))
    assert (got.returncode, list(tmp_path.iterdir())) == (code, [])
    # and with a CRC that was changed along
    spare.postgres.psql(f"UPDATE {SCHEMA}.export_artifact_parts SET crc32 = 0, data = '' WHERE run = '{spec.run.id}'")
    assert back.command("fetch", spare.uri(spec), "--to", str(tmp_path / "users.csv")).returncode == code


def test_an_export_is_fetched_from_wherever_it_is_and_no_file_is_overwritten(
    back: Back, spare: Spare, tmp_path: Path
) -> None:
    spec, file = back.specs["fetched"], tmp_path / "users.csv"
    by_uri = back.command("fetch", spare.uri(spec), "--to", "-")
    assert (len(by_uri.stdout), hashlib.sha256(by_uri.stdout).hexdigest()) == back.told("fetched"), by_uri.stderr
    by_spec = back.command("fetch", "--spec", back.file("fetched"), "--to", str(file))
    assert (by_spec.returncode, file.read_bytes() == by_uri.stdout) == (0, True), by_spec.stderr
    again = back.command("fetch", "--spec", back.file("fetched"), "--to", str(file))
    assert (again.returncode, b"--force" in again.stderr) == (2, True)
    forced = back.command("fetch", "--spec", back.file("fetched"), "--to", str(file), "--force")
    assert forced.returncode == 0
    usual = back.exporter.spec(("id", "email"))
    assert back.exporter.run(usual).code == 0
    s3 = ("--endpoint", back.exporter.s3.endpoint, "--path-style")
    from_s3 = back.command("fetch", f"s3://{BUCKET}/{usual.destination.key}", "--to", "-", *s3)
    assert from_s3.stdout == by_uri.stdout, from_s3.stderr
    said = b"".join(each.stderr for each in (by_uri, by_spec, again, forced, from_s3)).decode()
    assert [each for each in (PASSWORD, back.exporter.s3.secret_key) if each in said] == []


def test_what_is_not_there_is_said_to_be_missing(back: Back, spare: Spare) -> None:
    nothing = dataclasses.replace(back.specs["kept"], run=dataclasses.replace(back.specs["kept"].run, id="f" * 20))
    done = back.command("fetch", spare.uri(nothing), "--to", "-")
    assert (done.returncode, done.stdout) == (FAILURES[Failure.ARTIFACT_NOT_FOUND].exit_code, b"")


def test_what_went_to_the_second_bucket_is_moved_and_leaves_it(back: Back, spare: Spare) -> None:
    spec = back.specs["bucket"]
    fetched = back.command("fetch", "--spec", back.file("bucket"), "--to", "-")
    assert (len(fetched.stdout), hashlib.sha256(fetched.stdout).hexdigest()) == back.told("bucket"), fetched.stderr
    done = back.command("redeliver", "--spec", back.file("bucket"))
    assert done.returncode == 0, done
    assert back.in_s3("bucket") == back.told("bucket")
    assert not (spare.s3.data / "spare" / "away" / spec.run.id / "users.out").exists()
    again = back.command("redeliver", "--spec", back.file("bucket"))
    assert (again.returncode, b"was redelivered before" in again.stdout) == (0, True)


def test_a_role_with_the_documented_rights_alone_can_write_and_redeliver(back: Back, spare: Spare) -> None:
    sql = back.command("artifact-tables", "--schema", "by_hand").stdout.decode()
    grants = "SELECT, INSERT, UPDATE, DELETE ON by_hand.export_artifacts, by_hand.export_artifact_parts"
    spare.postgres.psql(
        f"CREATE SCHEMA by_hand; {sql} CREATE ROLE least LOGIN PASSWORD 'least';"
        f" GRANT USAGE ON SCHEMA by_hand TO least; GRANT {grants} TO least"
    )
    least = {"EXPORT_FALLBACK_PGUSER": "least", "EXPORT_FALLBACK_PGPASSWORD": "least"}
    place = dataclasses.replace(spare.place, schema="by_hand")
    spec = spare.in_database(back.exporter.spec(("id",)), database=place)
    away = dataclasses.replace(spec, destination=dataclasses.replace(spec.destination, endpoint="http://127.0.0.1:1"))
    done = back.exporter.run(away, **least)
    assert done.code == 0, done.said
    spare.postgres.psql(
        "UPDATE by_hand.export_artifacts SET destination = jsonb_set(destination, '{endpoint}',"
        f" to_jsonb('{back.exporter.s3.endpoint}'::text))"
    )
    uri = f"postgresql://{place.host}:{place.port}/{place.database}/by_hand.export_artifacts"
    moved = back.command("redeliver", "--from", uri, "--all", **least)
    assert (moved.returncode, b"redelivered to s3://" in moved.stdout) == (0, True), moved
    assert len(back.exporter.keys(spec)) == 2


def test_a_fallback_in_a_schema_of_any_name_takes_an_export_and_gives_it_back(back: Back, spare: Spare) -> None:
    schema = "odd %s \"{}\" 'schema'"
    spare.postgres.psql(
        f'CREATE SCHEMA "{schema.replace(chr(34), chr(34) * 2)}" AUTHORIZATION {ROLE}',
    )
    spec = spare.in_database(back.exporter.spec(("id",)), database=dataclasses.replace(spare.place, schema=schema))
    plain = spec.destination.endpoint
    no_tls = dataclasses.replace(spec.destination, endpoint=plain.replace("http:", "https:"))
    done = back.exporter.run(dataclasses.replace(spec, destination=no_tls))
    assert done.code == 0, done.said
    assert done.outcome.delivered is not None
    uri = done.outcome.delivered.uri
    fetched = back.command("fetch", uri, "--to", "-")
    assert hashlib.sha256(fetched.stdout).hexdigest() == done.outcome.delivered.sha256, fetched.stderr
    listed = back.command("redeliver", "--from", uri.rpartition("/")[0], "--dry-run")
    assert (listed.returncode, spec.run.id.encode() in listed.stdout) == (0, True), listed.stderr
    again = back.exporter.run(spec)
    assert again.outcome.delivered == done.outcome.delivered
