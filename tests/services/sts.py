"""A stand-in for AWS's Security Token Service, and for an S3 server that knows its sessions: none runs here.

STS answers AssumeRoleWithWebIdentity in the form of its reference, and refuses a token that it is told to refuse. It
verifies no signature of a token, no issuer and no policy. Before the S3 server, which takes no session tokens, stands
a recorder that lets in who shows a session's key and token, and signs each request anew with the server's own key.
docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html
"""

import datetime as dt
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.services.host import S3Server
from tests.services.recorder import Answer, Call

_SIGNATURE = {"authorization", "x-amz-security-token", "x-amz-date", "x-amz-content-sha256", "expect", "connection"}
_ANSWER = """\
<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>{access}</AccessKeyId>
<SecretAccessKey>{secret}</SecretAccessKey><SessionToken>{session}</SessionToken><Expiration>{expires}</Expiration>
</Credentials><AssumedRoleUser><Arn>arn:aws:sts::123456789012:assumed-role/exports/session</Arn>
<AssumedRoleId>AROA:session</AssumedRoleId></AssumedRoleUser></AssumeRoleWithWebIdentityResult>
</AssumeRoleWithWebIdentityResponse>"""
_REFUSAL = """\
<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type><Code>{code}</Code>
<Message>{message}</Message></Error></ErrorResponse>"""


@dataclass
class SecurityTokens:
    """Hand `answer` to the recorder that is STS, `admit` and `sign` to the one before the S3 server."""

    s3: S3Server
    seconds: int
    """How long a session lasts."""
    refused: str = ""
    """The token that is refused, with this code."""
    code: str = "InvalidIdentityToken"
    seen: list[dict[str, str]] = field(default_factory=list)
    """What was asked, in order."""
    sessions: dict[str, dt.datetime] = field(default_factory=dict)
    """Session tokens, and when each expires."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, call: Call) -> Answer:
        asked = {name: values[0] for name, values in parse_qs(call.body.decode()).items()}
        with self._lock:
            self.seen.append(asked)
            token = asked["WebIdentityToken"]
            if token == self.refused:
                return Answer(400, _REFUSAL.format(code=self.code, message=f"Not valid: {token}").encode())
            session = f"session-{len(self.sessions)}"
            now = dt.datetime.now(dt.UTC).replace(microsecond=0)
            expires = self.sessions[session] = now + dt.timedelta(seconds=self.seconds)
        text = _ANSWER.format(
            access=f"ASIA-{session}",
            secret=f"secret-of-{session}",
            session=session,
            expires=expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
        )
        return Answer(200, text.encode())

    def admit(self, call: Call) -> Answer | None:
        """Refuses who shows no session, or one that had expired when the request was signed."""
        session = call.headers.get("x-amz-security-token", "")
        signed = dt.datetime.strptime(call.headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=dt.UTC)
        if f"Credential=ASIA-{session}/" not in call.headers["authorization"] or session not in self.sessions:
            return Answer.error(403, "InvalidAccessKeyId", "no such session")
        return Answer.error(400, "ExpiredToken", session) if signed > self.sessions[session] else None

    def sign(self, call: Call) -> Mapping[str, str]:
        """The request's headers, signed by the S3 server's own key."""
        place = f"{self.s3.host}:{self.s3.port}"
        theirs = {name: value for name, value in call.headers.items() if name not in _SIGNATURE} | {"host": place}
        request = AWSRequest(call.method, f"http://{place}{call.target}", headers=theirs, data=call.body)
        S3SigV4Auth(Credentials(self.s3.access_key, self.s3.secret_key), "s3", self.s3.region).add_auth(request)
        return dict(request.headers.items())
