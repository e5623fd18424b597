"""What `--help` and `example-spec` show."""

from __future__ import annotations

import json
import textwrap

from export_contract import environment
from export_contract.codec import encode
from export_contract.failures import FAILURES
from export_contract.runspec import Destination, Output, Parameter, Run, RunSpec, Source

EXAMPLE = RunSpec(
    run=Run(id="0123456789abcdef0123", namespace="team-a", name="users", uid="00000000-0000-0000-0000-000000000000"),
    source=Source(
        name="app-db",
        dataset="recent-users",
        host="127.0.0.1",
        database="app",
        columns=("id", "email", "created_at"),
        query="SELECT id, email, created_at FROM public.users WHERE created_at >= {since}",
        parameters=(Parameter(name="since", type="date", value="2026-01-01"),),
        order_by=("id",),
    ),
    destination=Destination(
        name="exports",
        bucket="exports",
        key="team-a/users/0123456789abcdef0123/users.csv.gz",
        manifest_key="team-a/users/0123456789abcdef0123/manifest.json",
        endpoint="http://127.0.0.1:7070",
        path_style=True,
    ),
    output=Output(format="CSV", compression="Gzip"),
)


def spec_text() -> str:
    """A run spec with every field."""
    return json.dumps(encode(EXAMPLE), indent=2, ensure_ascii=False)


def epilog() -> str:
    """Steps, variables and exit codes."""
    codes = "\n".join(
        f"  {kind.exit_code}  {kind.reason}{' (another try may help)' if kind.retryable else ''}"
        for kind in sorted(FAILURES.values(), key=lambda kind: kind.exit_code)
    )
    return (
        textwrap.dedent(
            """\
        Try it:
          export-runner example-spec > spec.json     # then edit host, database, columns, bucket, endpoint
          export {user}=… {password}=… {key}=… {secret}=…
          export-runner run --spec spec.json

        Credentials, from the environment only:
          {user}, {password}     PostgreSQL; {ca} names the CA file for sslMode VerifyCA and VerifyFull
          {key}, {secret}, {token}     S3; without them as the AWS SDKs
              find them (web identity, instance role); {bundle} names the CA file
          {fallback_user}, {fallback_key} and so on    the fallback; see: export-runner redeliver --help
        Other variables:
          {spec}    the run spec, when there is no --spec
          {log}    a file for the outcome; {heartbeat}    a file to touch while the run moves

        Without a terminal stdout has one JSON line a second, the last one is the outcome. What is delivered is named
        in a manifest beside the object; a run whose manifest is there is not done again.

        Exit codes: 0 delivered, and
        """
        ).format(
            user=environment.PG_USER,
            password=environment.PG_PASSWORD,
            ca=environment.PG_SSL_ROOT_CERT,
            key=environment.AWS_ACCESS_KEY_ID,
            secret=environment.AWS_SECRET_ACCESS_KEY,
            token=environment.AWS_SESSION_TOKEN,
            bundle=environment.AWS_CA_BUNDLE,
            fallback_user=environment.FALLBACK_PG_USER,
            fallback_key=environment.FALLBACK_AWS_ACCESS_KEY_ID,
            spec=environment.RUN_SPEC,
            log=environment.TERMINATION_LOG,
            heartbeat=environment.HEARTBEAT_FILE,
        )
        + codes
    )
