"""S3's errors as named failures.

Codes: docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html; those of full stores are MinIO's
(cmd/api-errors.go), Ceph's (src/rgw/rgw_common.cc) and RFC 4918's (HTTP 507). Those of STS, which turns a web identity
into credentials: docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html.
Which may pass: those that botocore's own standard retry mode takes for transient or throttling
(botocore/retries/standard.py), any 5xx but 501 and 507, every break of a connection, and requests that were garbled.
Texts of S3 are not passed on: they may hold keys of the account. Its codes are.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from botocore import exceptions

from export_contract import environment
from export_contract.failures import Failure
from export_runner.errors import ExportError

_AUTHENTICATION = frozenset(
    {
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "ExpiredToken",
        "InvalidToken",
        "TokenRefreshRequired",
        "InvalidClientTokenId",
        "UnrecognizedClientException",
        "NotSignedUp",
        "AuthorizationHeaderMalformed",
        "AuthFailure",
        "XAdminUserNotFound",  # versitygw for InvalidAccessKeyId
    }
)
_ACCESS = frozenset(
    {
        "AccessDenied",
        "AllAccessDisabled",
        "AccountProblem",
        "InvalidObjectState",
        "403",
        "Forbidden",
        "KMS.DisabledException",
    }
)
CONFLICT = frozenset({"ConditionalRequestConflict"})
"""Another conditional call was under way."""
_TRANSIENT = frozenset(
    {
        "InternalError",
        "ServiceUnavailable",
        "SlowDown",
        "SlowDownRead",
        "SlowDownWrite",
        "RequestTimeout",
        "RequestTimeoutException",
        "RequestTimeTooSkewed",
        "OperationAborted",
        *CONFLICT,
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "RequestLimitExceeded",
        "BandwidthLimitExceeded",
        "PriorRequestNotComplete",
        "BadDigest",  # damaged on its way; the bytes are sent again
        "XAmzContentSHA256Mismatch",
        "XAmzContentChecksumMismatch",
        "IncompleteBody",
        "IDPCommunicationError",  # STS could not ask who issued the token
    }
)
_GARBLED = "parsing the HTTP request"
"""Of the text of a `BadRequest`: what came in was no request of ours any more. It is made anew, on a new connection."""
_FULL = frozenset(
    {
        "QuotaExceeded",  # Ceph, versitygw: HTTP 403, but no right is missing
        "XMinioAdminBucketQuotaExceeded",
        "XMinioStorageFull",
        "InsufficientStorage",
    }
)
_TOO_LARGE = frozenset({"EntityTooLarge", "MaxMessageLengthExceeded"})
_NEVER = frozenset({501, 507})
"""Of 5xx, what another try does not change: not implemented, insufficient storage."""
NOT_READABLE = frozenset({"AccessDenied", "403", "Forbidden"})
"""Without s3:ListBucket S3 answers so for a key that is absent; whether writing is allowed, the upload finds out."""
ABSENT = frozenset({"NoSuchKey", "404", "NotFound"})
NO_UPLOAD = frozenset({"NoSuchUpload"})
REPLACED = frozenset({"PreconditionFailed", "412"})
"""What is there is another version than the one that a conditional call named."""
INVALID_PART = frozenset({"InvalidPart", "InvalidPartOrder"})


_UNREADABLE = (FileNotFoundError, PermissionError, IsADirectoryError)
"""What botocore lets through when it reads the token of a web identity."""


class S3Error(ExportError):
    """An answer of S3, with its code, for those who can go on from it."""

    def __init__(self, failure: Failure, message: str, *, transient: bool, code: str) -> None:
        super().__init__(failure, message, transient=transient)
        self.code = code


def code_of(error: ExportError) -> str:
    """The code of S3's answer, also of the last one when it was asked several times; "" when there was none."""
    answer = error if isinstance(error, S3Error) else error.__cause__
    return answer.code if isinstance(answer, S3Error) else ""


def from_botocore(error: Exception, operation: str, bucket: str) -> S3Error:
    """The failure for an error of botocore in `operation`."""
    if isinstance(error, exceptions.ClientError):
        return _answered(error, operation, bucket)
    if isinstance(error, (exceptions.NoCredentialsError, exceptions.PartialCredentialsError)):
        return S3Error(
            Failure.DESTINATION_AUTHENTICATION_FAILED,
            "No S3 credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or files of these names in"
            f" {environment.S3_CREDENTIALS_DIR}, or use a web identity.",
            transient=False,
            code="NoCredentials",
        )
    if isinstance(error, (exceptions.CredentialRetrievalError, exceptions.InvalidConfigError, *_UNREADABLE)):
        return S3Error(
            Failure.DESTINATION_AUTHENTICATION_FAILED,
            f"The S3 credentials of the web identity cannot be had ({type(error).__name__}): AWS_ROLE_ARN must name a"
            " role, and AWS_WEB_IDENTITY_TOKEN_FILE a file that may be read.",
            transient=False,
            code="NoCredentials",
        )
    if isinstance(error, (exceptions.ParamValidationError, exceptions.UnknownRegionError, ValueError)):
        return S3Error(
            Failure.DESTINATION_REFUSED,
            f"{operation}: the destination's bucket, region or endpoint is not well formed ({type(error).__name__}).",
            transient=False,
            code="Invalid",
        )
    # SSLError is a ConnectionError of botocore: a certificate that is not trusted today will not be in 4 s.
    if isinstance(error, exceptions.SSLError):
        return S3Error(
            Failure.DESTINATION_UNAVAILABLE,
            f"The TLS certificate of {_server(error)} is not trusted or names another host ({operation}): give the"
            f" certificate of its CA by {environment.AWS_CA_BUNDLE}, and an endpoint that the certificate names.",
            transient=False,
            code="Connection",
        )
    return S3Error(
        Failure.DESTINATION_UNAVAILABLE,
        f"{_server(error)} cannot be reached ({operation}: {type(error).__name__}).",
        transient=True,
        code="Connection",
    )


def _server(error: Exception) -> str:
    url = getattr(error, "kwargs", {}).get("endpoint_url")
    host = urlsplit(str(url or "")).hostname or ""
    return "STS" if host.startswith("sts.") else "S3"


def cut_off(operation: str) -> S3Error:
    """Something came, but not all that an answer consists of, or damaged."""
    return S3Error(
        Failure.DESTINATION_UNAVAILABLE,
        f"The answer of S3 was cut off or damaged on its way ({operation}).",
        transient=True,
        code="CutOff",
    )


def _answered(error: exceptions.ClientError, operation: str, bucket: str) -> S3Error:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    failure, transient = _classified(code, status, str(error.response.get("Error", {}).get("Message", "")))
    if error.operation_name.startswith("AssumeRole"):
        return S3Error(
            Failure.DESTINATION_UNAVAILABLE if transient else Failure.DESTINATION_AUTHENTICATION_FAILED,
            f"STS answers {error.operation_name} with {code or 'no code'} (HTTP {status}): the role's trust policy must"
            " name the issuer, the audience and the subject of the pod's token.",
            transient=transient,
            code=code,
        )
    subject = (
        f" on bucket {bucket!r}" if failure in {Failure.BUCKET_NOT_FOUND, Failure.DESTINATION_ACCESS_DENIED} else ""
    )
    return S3Error(
        failure,
        f"S3 answers {operation}{subject} with {code or 'no code'} (HTTP {status}).{_advice(code, status)}",
        transient=transient,
        code=code,
    )


def _advice(code: str, status: int) -> str:
    if code in _FULL or status == 507:
        return " The store or the bucket's quota is full: free space there, or raise the quota."
    if code in _TOO_LARGE:
        return " The store takes no object or part of this size: export less, compress, or write several objects."
    return ""


def _classified(code: str, status: int, text: str) -> tuple[Failure, bool]:
    if code == "NoSuchBucket":
        return Failure.BUCKET_NOT_FOUND, False
    if code in _AUTHENTICATION:
        return Failure.DESTINATION_AUTHENTICATION_FAILED, False
    if code in _ACCESS:
        return Failure.DESTINATION_ACCESS_DENIED, False
    if code in _FULL or code in _TOO_LARGE or status in _NEVER:
        return Failure.DESTINATION_REFUSED, False
    garbled = code == "BadRequest" and _GARBLED in text
    if garbled or code in _TRANSIENT or status >= 500 or status == 429:
        return Failure.DESTINATION_UNAVAILABLE, True
    if status == 403:
        return Failure.DESTINATION_ACCESS_DENIED, False
    return Failure.DESTINATION_REFUSED, False
