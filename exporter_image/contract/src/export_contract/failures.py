"""Every way a run can fail: reason, class, exit code, and whether another attempt may help.

Exit codes stay clear of those that shells and kernels use (126–165, 255). A permanent one ends the Job at once
(`podFailurePolicy`); after a retryable one Kubernetes starts another pod.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class FailureClass(StrEnum):
    """Who can mend it. Quota: nobody need, it is enough to wait until others have ended."""

    USER = "User"
    QUOTA = "Quota"
    SOURCE = "Source"
    DESTINATION = "Destination"
    INFRASTRUCTURE = "Infrastructure"
    DEADLINE = "Deadline"


@dataclass(frozen=True, slots=True)
class FailureKind:
    """`retryable` says that the same run may succeed in another pod without anybody changing anything."""

    reason: str
    failure_class: FailureClass
    exit_code: int
    retryable: bool
    advice: str


class Failure(StrEnum):
    """Reasons as they stand in status, Events and metrics."""

    INVALID_RUN_SPEC = "InvalidRunSpec"
    INVALID_PARAMETER = "InvalidParameter"
    DATASET_INVALID = "DatasetInvalid"
    SOURCE_AUTHENTICATION_FAILED = "SourceAuthenticationFailed"
    SOURCE_ACCESS_DENIED = "SourceAccessDenied"
    SOURCE_ROLE_TOO_PRIVILEGED = "SourceRoleTooPrivileged"
    SOURCE_NOT_FOUND = "SourceDatabaseNotFound"
    SOURCE_UNAVAILABLE = "SourceUnavailable"
    SOURCE_QUERY_FAILED = "SourceQueryFailed"
    VALUE_NOT_REPRESENTABLE = "ValueNotRepresentable"
    VALUE_TOO_LARGE = "ValueTooLarge"
    DESTINATION_AUTHENTICATION_FAILED = "DestinationAuthenticationFailed"
    DESTINATION_ACCESS_DENIED = "DestinationAccessDenied"
    BUCKET_NOT_FOUND = "BucketNotFound"
    DESTINATION_UNAVAILABLE = "DestinationUnavailable"
    DESTINATION_REFUSED = "DestinationRefused"
    ARTIFACT_DAMAGED = "ArtifactDamaged"
    ARTIFACT_NOT_FOUND = "ArtifactNotFound"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    ROW_LIMIT_EXCEEDED = "RowLimitExceeded"
    BYTE_LIMIT_EXCEEDED = "ByteLimitExceeded"
    OUT_OF_MEMORY = "OutOfMemory"
    INTERRUPTED = "Interrupted"
    INTERNAL_ERROR = "InternalError"


def _table() -> dict[Failure, FailureKind]:
    f, c = Failure, FailureClass
    rows = [
        (
            f.INVALID_RUN_SPEC,
            c.INFRASTRUCTURE,
            64,
            False,
            "Operator and exporter disagree: check that both images are of one release.",
        ),
        (
            f.INVALID_PARAMETER,
            c.USER,
            65,
            False,
            "Correct the value in spec.source.parameters and create a new request.",
        ),
        (
            f.DATASET_INVALID,
            c.SOURCE,
            66,
            False,
            "The platform team must mend the dataset in the ExportSource; then set a new spec.runID.",
        ),
        (
            f.SOURCE_AUTHENTICATION_FAILED,
            c.SOURCE,
            67,
            False,
            "The platform team must renew the source's credentials; then set a new spec.runID.",
        ),
        (
            f.SOURCE_ACCESS_DENIED,
            c.SOURCE,
            68,
            False,
            "The platform team must grant SELECT to the export role; then set a new spec.runID.",
        ),
        (
            f.SOURCE_NOT_FOUND,
            c.SOURCE,
            69,
            False,
            "The platform team must correct host or database of the ExportSource; then set a new spec.runID.",
        ),
        (
            f.SOURCE_QUERY_FAILED,
            c.SOURCE,
            70,
            False,
            "PostgreSQL refused the query; the platform team must mend the dataset; then set a new spec.runID.",
        ),
        (
            f.VALUE_NOT_REPRESENTABLE,
            c.USER,
            71,
            False,
            "Choose another format (CSV holds every value) or leave the named column out.",
        ),
        (
            f.VALUE_TOO_LARGE,
            c.USER,
            72,
            False,
            "Leave the named column out, or ask the platform team to raise maxValueBytes.",
        ),
        (
            f.DESTINATION_AUTHENTICATION_FAILED,
            c.DESTINATION,
            73,
            False,
            "The platform team must renew the destination's credentials; then set a new spec.runID.",
        ),
        (
            f.DESTINATION_ACCESS_DENIED,
            c.DESTINATION,
            74,
            False,
            "The platform team must allow writing under the destination's prefix; then set a new spec.runID.",
        ),
        (
            f.BUCKET_NOT_FOUND,
            c.DESTINATION,
            75,
            False,
            "The platform team must create the bucket or correct the ExportDestination; then set a new spec.runID.",
        ),
        (f.DESTINATION_REFUSED, c.DESTINATION, 76, False, "S3 refused the object; the message says why."),
        (
            f.DEADLINE_EXCEEDED,
            c.DEADLINE,
            77,
            False,
            "Raise spec.runDeadlineSeconds, export fewer rows or columns, or use onDeadline: Partial.",
        ),
        (
            f.ROW_LIMIT_EXCEEDED,
            c.USER,
            78,
            False,
            "Export fewer rows, or ask the platform team to raise maxRows in your policy.",
        ),
        (
            f.BYTE_LIMIT_EXCEEDED,
            c.USER,
            79,
            False,
            "Export less, compress, or ask the platform team to raise maxBytes in your policy.",
        ),
        (
            f.SOURCE_UNAVAILABLE,
            c.SOURCE,
            80,
            True,
            "PostgreSQL could not be reached; set a new spec.runID when it is back.",
        ),
        (
            f.DESTINATION_UNAVAILABLE,
            c.DESTINATION,
            81,
            True,
            "S3 could not be reached; set a new spec.runID when it is back.",
        ),
        (f.INTERRUPTED, c.INFRASTRUCTURE, 82, True, "The pod was asked to stop; set a new spec.runID to run again."),
        (
            f.OUT_OF_MEMORY,
            c.INFRASTRUCTURE,
            83,
            False,
            "Ask the platform team to raise the memory limit of export pods.",
        ),
        (
            f.ARTIFACT_DAMAGED,
            c.DESTINATION,
            86,
            False,
            "What is stored is not what was exported: set a new spec.runID, and look for who changed it.",
        ),
        (
            f.ARTIFACT_NOT_FOUND,
            c.DESTINATION,
            87,
            False,
            "Check the URI or the run; what was redelivered is in S3, where the run's spec says.",
        ),
        (f.INTERNAL_ERROR, c.INFRASTRUCTURE, 84, True, "This is a bug of the exporter: report it with the pod's log."),
        (
            f.SOURCE_ROLE_TOO_PRIVILEGED,
            c.SOURCE,
            85,
            False,
            "The platform team must give the source a role that may read and nothing else; then set a new spec.runID.",
        ),
    ]
    return {
        reason: FailureKind(str(reason), kind, code, retryable, advice)
        for reason, kind, code, retryable, advice in rows
    }


FAILURES: dict[Failure, FailureKind] = _table()
PERMANENT_EXIT_CODES: tuple[int, ...] = tuple(
    sorted(kind.exit_code for kind in FAILURES.values() if not kind.retryable)
)


def by_exit_code(code: int) -> FailureKind | None:
    """The kind of failure that an exporter's exit code stands for; None for a code it never uses."""
    return next((kind for kind in FAILURES.values() if kind.exit_code == code), None)
