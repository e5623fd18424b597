"""The rights that the platform guide says to give are enough, and no more than they seem: taken from the page."""

import json
import re
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from export_contract.failures import Failure
from export_contract.runspec import Limits, RunSpec
from tests.integration.exporter.runner import Exporter
from tests.services import host

pytestmark = pytest.mark.integration

GUIDE = (Path(__file__).resolve().parents[3] / "docs" / "guide" / "platform.md").read_text(encoding="utf-8")
BUCKET = "company-exports"
WRITER = "writer"
SLOW = "SELECT n AS x, repeat('y', 4000) AS y, pg_sleep(0.001)::text AS z FROM generate_series(1, 3000) AS n"


def documented(language: str, words: str) -> str:
    """The guide's block of code that holds these words."""
    blocks: list[str] = re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)
    (found,) = (block for block in blocks if words in block)
    return found


@pytest.fixture(scope="module")
def guarded() -> Iterator[host.S3Server]:
    """A server with a key that may do what the guide's policy says: here it is a policy of the bucket."""
    policy = json.loads(documented("json", "WriteExports"))
    for statement in policy["Statement"]:
        statement["Principal"] = {"AWS": WRITER}
    with host.s3_server(users=True) as server:
        server.create_bucket(BUCKET)
        client(server, server.access_key, server.secret_key).put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(policy))
        yield server


def client(server: host.S3Server, key: str, secret: str) -> Any:
    return botocore.session.get_session().create_client(
        "s3",
        region_name=server.region,
        endpoint_url=server.endpoint,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        config=Config(s3={"addressing_style": "path"}),
    )


@pytest.fixture
def bound(exporter: Exporter, guarded: host.S3Server) -> Exporter:
    own = Exporter(exporter.postgres, guarded, exporter.directory)
    own.environment |= {"AWS_ACCESS_KEY_ID": WRITER, "AWS_SECRET_ACCESS_KEY": guarded.writer_secret_key}
    return own


def spec_of(exporter: Exporter, prefix: str = "exports") -> RunSpec:
    """With all that needs a right of its own: a checkpoint, tags, several parts."""
    limits = Limits(block_rows=200, block_bytes=1024 * 1024, part_bytes=5 * 1024 * 1024)
    spec = exporter.spec(("x", "y", "z"), table=None, query=SLOW, key=("x",), bucket=BUCKET, limits=limits)
    place = replace(
        spec.destination,
        key=f"{prefix}/{spec.destination.key}",
        manifest_key=f"{prefix}/{spec.destination.manifest_key}",
        checkpoint_key=f"{prefix}/.export-operator/{spec.run.id}/checkpoint.json",
        tags={"owner": "data-platform"},
    )
    return replace(spec, destination=place, resume="Always")


def test_the_documented_policy_is_enough_for_a_run_that_is_killed_and_goes_on(
    bound: Exporter, guarded: host.S3Server
) -> None:
    spec = spec_of(bound)
    checkpoint = guarded.data / BUCKET / spec.destination.checkpoint_key
    running, counts = bound.start(spec), re.compile('"parts":[1-9]')
    running.until(lambda: checkpoint.exists() and counts.search(checkpoint.read_text()) is not None, "a part")
    running.signal(signal.SIGKILL)
    running.end()
    done = bound.run(spec)
    assert done.code == 0, done.said
    assert done.outcome.delivered is not None
    assert (done.outcome.delivered.resumed, checkpoint.exists()) == (1, False)
    assert bound.run(spec).outcome.delivered == done.outcome.delivered


def test_outside_the_prefix_it_allows_nothing(bound: Exporter) -> None:
    done = bound.run(spec_of(bound, "elsewhere"))
    assert done.reason == Failure.DESTINATION_ACCESS_DENIED, done.said


def test_it_allows_to_remove_no_export_and_to_list_none(guarded: host.S3Server) -> None:
    s3 = client(guarded, WRITER, guarded.writer_secret_key)
    s3.put_object(Bucket=BUCKET, Key="exports/team-a/done.csv", Body=b"x")
    with pytest.raises(ClientError, match="AccessDenied"):
        s3.delete_object(Bucket=BUCKET, Key="exports/team-a/done.csv")
    with pytest.raises(ClientError, match="AccessDenied"):
        s3.list_objects_v2(Bucket=BUCKET, Prefix="exports/")
    with pytest.raises(ClientError, match="AccessDenied"):
        s3.get_bucket_policy(Bucket=BUCKET)


def test_the_documented_role_may_read_what_it_was_granted_and_nothing_else(exporter: Exporter) -> None:
    exporter.postgres.psql("CREATE TABLE IF NOT EXISTS public.payroll AS SELECT 1 AS id")
    exporter.postgres.psql(documented("sql", "CREATE ROLE exporter").replace("…", "granted"))
    exporter.environment |= {"PGUSER": "exporter", "PGPASSWORD": "granted"}
    assert exporter.run(exporter.spec(("id",))).code == 0
    assert exporter.run(exporter.spec(("id",), table="payroll")).reason == Failure.SOURCE_ACCESS_DENIED
