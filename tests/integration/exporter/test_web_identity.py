"""Credentials of a web identity: got for a projected token, and renewed under a run. STS is a stand-in."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from export_contract.failures import Failure
from export_contract.runspec import RunSpec
from tests.integration.exporter.runner import Exporter
from tests.integration.exporter.test_credentials import slow
from tests.services.recorder import Recorder, recorder
from tests.services.sts import SecurityTokens

pytestmark = pytest.mark.integration

ROLE = "arn:aws:iam::123456789012:role/exports"
LIFE = 3
"""Seconds that a session lasts: less than the run, so that its first ones expire under it."""


@pytest.fixture
def tokens(exporter: Exporter) -> SecurityTokens:
    return SecurityTokens(exporter.s3, LIFE)


@pytest.fixture
def sts(tokens: SecurityTokens) -> Iterator[Recorder]:
    with recorder(answer=tokens.answer) as made:
        yield made


@pytest.fixture
def wire(exporter: Exporter, tokens: SecurityTokens) -> Iterator[Recorder]:
    with recorder(exporter.s3.port, answer=tokens.admit, sign=tokens.sign) as made:
        yield made


@pytest.fixture
def identified(exporter: Exporter, sts: Recorder) -> Exporter:
    """As EKS makes a pod whose service account is annotated with a role: no key anywhere."""
    (exporter.directory / "token").write_text("first-token")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        del exporter.environment[name]
    exporter.environment |= {
        "AWS_ROLE_ARN": ROLE,
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(exporter.directory / "token"),
        "AWS_ENDPOINT_URL_STS": sts.endpoint,
    }
    return exporter


def through(spec: RunSpec, wire: Recorder) -> RunSpec:
    return replace(spec, destination=replace(spec.destination, endpoint=wire.endpoint))


def test_a_run_outlives_its_sessions_and_each_renewal_reads_the_token_anew(
    identified: Exporter, tokens: SecurityTokens, wire: Recorder
) -> None:
    running = identified.start(through(slow(identified), wire))
    running.until(lambda: any(each.bytes > 1_000_000 for each in running.progress()), "bytes")
    (identified.directory / "token").write_text("second-token")
    done = running.finish()
    assert done.code == 0, done.said
    shown = [asked["WebIdentityToken"] for asked in tokens.seen]
    assert (set(shown), shown) == ({"first-token", "second-token"}, sorted(shown))
    assert {asked["RoleArn"] for asked in tokens.seen} == {ROLE}
    first, last = (tokens.sessions[wire.calls[at].headers["x-amz-security-token"]] for at in (0, -1))
    assert (last - first).seconds > LIFE  # the first ones had expired before the end
    assert not any(secret in done.said for secret in ("first-token", "second-token", "session-"))


@pytest.mark.parametrize("code", ["InvalidIdentityToken", "ExpiredTokenException", "AccessDenied"])
def test_a_token_that_sts_refuses_ends_the_run_at_once_and_is_not_shown(
    identified: Exporter, tokens: SecurityTokens, code: str
) -> None:
    tokens.refused, tokens.code = "first-token", code
    done = identified.run(identified.spec(("id",)))
    assert (done.reason, f"STS answers AssumeRoleWithWebIdentity with {code}" in done.message) == (
        Failure.DESTINATION_AUTHENTICATION_FAILED,
        True,
    )
    assert "first-token" not in done.said
    assert "is tried again" not in done.said


@pytest.mark.parametrize("missing", ["AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE"])
def test_a_web_identity_that_lacks_a_half_is_named_at_once(identified: Exporter, missing: str) -> None:
    if missing == "AWS_ROLE_ARN":
        del identified.environment[missing]
    else:
        (identified.directory / "token").unlink()
    done = identified.run(identified.spec(("id",)))
    assert (done.reason, missing in done.message) == (Failure.DESTINATION_AUTHENTICATION_FAILED, True)
    assert "is tried again" not in done.said
