"""Environment variables of an export pod. Credentials have the names that libpq and the AWS SDK users know."""

RUN_SPEC = "EXPORT_RUN_SPEC"
"""The RunSpec as JSON, when no `--spec` is given."""

PG_USER = "PGUSER"
PG_PASSWORD = "PGPASSWORD"  # noqa: S105 - a variable's name
PG_SSL_ROOT_CERT = "PGSSLROOTCERT"
"""Path of the CA bundle for sslMode VerifyCA and VerifyFull."""

AWS_ACCESS_KEY_ID = "AWS_ACCESS_KEY_ID"
AWS_SECRET_ACCESS_KEY = "AWS_SECRET_ACCESS_KEY"  # noqa: S105 - a variable's name
AWS_SESSION_TOKEN = "AWS_SESSION_TOKEN"  # noqa: S105 - a variable's name
AWS_CA_BUNDLE = "AWS_CA_BUNDLE"

TERMINATION_LOG = "EXPORT_TERMINATION_LOG"
"""Path the outcome is written to (the container's `terminationMessagePath`); unset: the outcome goes to stdout only."""

HEARTBEAT_FILE = "EXPORT_HEARTBEAT_FILE"
"""Path touched while the pipeline moves; the liveness probe reads its age."""
