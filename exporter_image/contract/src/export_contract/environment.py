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

FALLBACK_AWS_ACCESS_KEY_ID = "EXPORT_FALLBACK_AWS_ACCESS_KEY_ID"
FALLBACK_AWS_SECRET_ACCESS_KEY = "EXPORT_FALLBACK_AWS_SECRET_ACCESS_KEY"  # noqa: S105 - a variable's name
FALLBACK_AWS_SESSION_TOKEN = "EXPORT_FALLBACK_AWS_SESSION_TOKEN"  # noqa: S105 - a variable's name
FALLBACK_PG_USER = "EXPORT_FALLBACK_PGUSER"
FALLBACK_PG_PASSWORD = "EXPORT_FALLBACK_PGPASSWORD"  # noqa: S105 - a variable's name
FALLBACK_PG_SSL_ROOT_CERT = "EXPORT_FALLBACK_PGSSLROOTCERT"

MASK_KEY = "EXPORT_MASK_KEY"
"""The key of masks of kind Hash: any text of at least 16 bytes."""

S3_CREDENTIALS_DIR = "EXPORT_S3_CREDENTIALS_DIR"
"""A mounted Secret with files named as the AWS variables; read again when they change, so that a long run survives a
rotation. Comes before the variables."""
PG_CREDENTIALS_DIR = "EXPORT_PG_CREDENTIALS_DIR"
"""Likewise, with files `username` and `password`; each new connection reads them."""

TERMINATION_LOG = "EXPORT_TERMINATION_LOG"
"""Path the outcome is written to (the container's `terminationMessagePath`); unset: the outcome goes to stdout only."""

HEARTBEAT_FILE = "EXPORT_HEARTBEAT_FILE"
"""Path touched while the pipeline moves; the liveness probe reads its age."""

LOG_FORMAT = "EXPORT_LOG_FORMAT"
"""`text` or `json`: the form of log lines (`logs`)."""
