"""The table export_jobs, what keeps it append-only, and how long it is kept."""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLE = """
CREATE TABLE export_history.export_jobs (
    run text PRIMARY KEY,
    request_uid text NOT NULL,
    namespace text NOT NULL,
    request text NOT NULL,
    run_id text NOT NULL DEFAULT '',
    requester text NOT NULL DEFAULT '',
    submitted_by text,
    schedule text,
    policy text,
    source text,
    dataset text,
    columns text[],
    parameters_sha256 text,
    digest text,
    destination text,
    format text,
    compression text,
    layout text,
    phase text NOT NULL,
    reason text NOT NULL DEFAULT '',
    failure_class text,
    exit_code integer,
    attempts integer,
    rows bigint,
    bytes bigint,
    objects integer,
    sha256 text,
    complete boolean,
    used_fallback boolean,
    uri text,
    manifest_uri text,
    expires_at timestamptz,
    consistency text,
    snapshot_at timestamptz,
    adopted_run text,
    requested_at timestamptz,
    queued_at timestamptz,
    started_at timestamptz,
    completed_at timestamptz NOT NULL,
    timings jsonb,
    told_by text NOT NULL,
    recorded_at timestamptz NOT NULL,
    recorded_by text NOT NULL
)
"""

COMMENTS = {
    "run": "the run: 20 hex digits that follow from request_uid and run_id; Job and objects are named by it",
    "request_uid": "UID of the ExportRequest",
    "namespace": "of the ExportRequest",
    "request": "name of the ExportRequest",
    "run_id": "its spec.runID; empty for its first run",
    "requester": "whom the run counts against: on behalf of whom it ran",
    "submitted_by": "who made the request, as the API server attested; unknown where identity.mode is Declared",
    "schedule": "the ScheduledExport that made the request",
    "policy": "the ExportPolicy that applied",
    "source": "the ExportSource",
    "dataset": "the dataset of it",
    "columns": "the columns delivered, in order",
    "parameters_sha256": "SHA-256 of the parameters as JSON, names in order, no spaces",
    "digest": "SHA-256 of all that was asked: source, destination and output",
    "destination": "the ExportDestination",
    "phase": "Succeeded, PartiallySucceeded, Failed, Rejected or Cancelled",
    "reason": "why it ended so: docs/operations/reasons.md",
    "failure_class": "User, Quota, Source, Destination, Infrastructure or Deadline",
    "attempts": "pods that it took",
    "rows": "delivered",
    "bytes": "delivered, as stored",
    "objects": "in which it was delivered",
    "sha256": "of the object; that of several is in their manifest",
    "complete": "false: cut at the run deadline",
    "used_fallback": "delivered to the destination's fallback",
    "uri": "where it was delivered",
    "expires_at": "when the objects are deleted, as known at the end",
    "snapshot_at": "of which moment the rows are",
    "adopted_run": "nothing ran: the result of this earlier run was taken over, which has its own row",
    "requested_at": "when the request was made; unknown for a run that a new runID asked for",
    "queued_at": "when it began to wait",
    "started_at": "when its Job was made",
    "completed_at": "when it ended",
    "timings": "seconds of the attempt that delivered, by step",
    "told_by": "request, or job: the request was deleted, or wanted another run, before it could tell",
    "recorded_at": "when this row was written, by the server's clock",
    "recorded_by": "the login that wrote this row",
}

INDEXES = (
    "CREATE INDEX ON export_history.export_jobs (completed_at)",
    "CREATE INDEX ON export_history.export_jobs (requester, completed_at)",
    "CREATE INDEX ON export_history.export_jobs (source, dataset, completed_at)",
    "CREATE INDEX ON export_history.export_jobs USING gin (columns)",
)

RETENTION = (
    """
    CREATE TABLE export_history.retention (
        single boolean PRIMARY KEY DEFAULT true CHECK (single),
        keep interval CHECK (keep > interval '0')
    )
    """,
    "INSERT INTO export_history.retention DEFAULT VALUES",
    "COMMENT ON TABLE export_history.retention IS 'How long rows are kept; NULL: for ever. Set by history migrate.'",
)

GUARD = (
    """
    CREATE FUNCTION export_history.stamp() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
    BEGIN
        NEW.recorded_at := now();
        NEW.recorded_by := session_user;
        RETURN NEW;
    END $$
    """,
    # Not even the owner changes a row, short of taking the triggers away: an accident is no reason to lose a trail.
    """
    CREATE FUNCTION export_history.guard() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
    BEGIN
        IF TG_OP = 'DELETE' THEN
            IF OLD.completed_at < now() - (SELECT keep FROM export_history.retention) THEN
                RETURN OLD;
            END IF;
        END IF;
        RAISE EXCEPTION 'export_jobs is append-only: % is refused', TG_OP
            USING ERRCODE = 'insufficient_privilege',
                  HINT = 'Rows go by themselves once they are older than export_history.retention says.';
    END $$
    """,
    """
    CREATE TRIGGER stamp BEFORE INSERT ON export_history.export_jobs
    FOR EACH ROW EXECUTE FUNCTION export_history.stamp()
    """,
    """
    CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON export_history.export_jobs
    FOR EACH ROW EXECUTE FUNCTION export_history.guard()
    """,
    """
    CREATE TRIGGER never_emptied BEFORE TRUNCATE ON export_history.export_jobs
    FOR EACH STATEMENT EXECUTE FUNCTION export_history.guard()
    """,
    # ALWAYS: session_replication_role does not switch them off.
    *(
        f"ALTER TABLE export_history.export_jobs ENABLE ALWAYS TRIGGER {name}"
        for name in ("stamp", "append_only", "never_emptied")
    ),
    # With its owner's rights, so that who writes may delete nothing else.
    """
    CREATE FUNCTION export_history.forget(most integer) RETURNS bigint
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
        WITH gone AS (
            DELETE FROM export_history.export_jobs WHERE run IN (
                SELECT run FROM export_history.export_jobs
                WHERE completed_at < now() - (SELECT keep FROM export_history.retention)
                ORDER BY completed_at LIMIT most
            ) RETURNING 1
        ) SELECT count(*) FROM gone
    $$
    """,
    "REVOKE ALL ON FUNCTION export_history.forget(integer) FROM PUBLIC",
)


def upgrade() -> None:
    op.execute(TABLE)
    op.execute(
        "COMMENT ON TABLE export_history.export_jobs IS 'One row for each run of export-operator that has ended'"
    )
    for column, text in COMMENTS.items():
        quoted = text.replace("'", "''")
        op.execute(f"COMMENT ON COLUMN export_history.export_jobs.{column} IS '{quoted}'")
    for statement in (*INDEXES, *RETENTION, *GUARD):
        op.execute(statement)


def downgrade() -> None:
    raise NotImplementedError("the history is not taken away: drop the schema export_history by hand if it shall go")
