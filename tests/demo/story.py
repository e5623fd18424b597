"""The demo from its first line to its last."""

import time
from datetime import UTC, datetime

from tests.cluster.problem import Problem
from tests.demo import download, proof, report, stage
from tests.demo.follow import Followed, Logs, follow
from tests.demo.stage import ALICE, TEAM, Clock
from tests.platform.api import Api, Json
from tests.platform.database import database
from tests.platform.storage import storage
from tests.platform.tenants import UserKubectl

REQUEST = """\
apiVersion: export-operator.io/v1alpha1
kind: ExportRequest
metadata:
  name: {name}
spec:
  source:
    name: app-db        # made by the platform team; a tenant sees neither host nor password
    dataset: users
  destination:
    name: exports-bucket
    keyPrefix: compliance/2026
  output:
    format: CSV
    compression: Gzip
"""
WAIT_SECONDS = 180.0


def run() -> int:
    clock = Clock()
    platform, alice = stage.build(clock)
    with database(platform.services) as postgres, storage(platform.services) as s3:
        with clock.step("data and tenants"):
            stage.furnish(platform, s3, postgres)
        name = f"users-{datetime.now(UTC):%Y%m%d-%H%M%S}"
        with clock.step("export"):
            followed = _export(UserKubectl(platform.cluster, TEAM, ALICE), alice, platform.api, name)
        request = followed.request
        result = _delivered(request)
        with clock.step("link"):
            link = download.link(alice, TEAM, name)
        with clock.step("check"):
            checks = [*proof.check(result, s3, postgres), download.check(link, s3, result)]
        report.delivered(request)
        report.checks(checks)
        report.times(clock, followed, result.get("timings") or {})
        report.quota(request)
        report.next_steps(request, link)
    if wrong := [each.claim for each in checks if not each.holds]:
        raise Problem(f"what was delivered is not what was promised: {'; '.join(wrong)}")
    return 0


def _export(kubectl: UserKubectl, alice: Api, platform: Api, name: str) -> Followed:
    """Apply the request as the tenant and follow it; its seconds begin with the apply."""
    manifest = REQUEST.format(name=name)
    report.asking(manifest)
    began = time.monotonic()
    kubectl.run("apply", "-f", "-", stdin=manifest)
    return follow(lambda: alice.get("ExportRequest", name, TEAM), began, WAIT_SECONDS, Logs(platform).latest)


def _delivered(request: Json) -> Json:
    status, name = request.get("status") or {}, request["metadata"]["name"]
    if status.get("phase") == "Succeeded":
        result: Json = status["result"]
        return result
    look = (
        f"kubectl -n {TEAM} describe exportrequest {name}; kubectl -n export-runs get jobs,pods;"
        " kubectl -n export-operator logs --prefix --selector app.kubernetes.io/component=operator"
    )
    if not status:
        raise Problem(f"the operator has not looked at the request within {WAIT_SECONDS:.0f} s. See: {look}")
    told = f"{status.get('reason')}: {status.get('message')}"
    if status.get("phase") in {"Queued", "Pending", "Running"}:
        raise Problem(f"the export is still {status['phase']} after {WAIT_SECONDS:.0f} s ({told}). See: {look}")
    raise Problem(f"the export ended as {status.get('phase')} ({told}). See: {look}")
