"""The policies that attest who asks, and what the operator says of them."""

import re
from datetime import UTC, datetime, timedelta

from tests.cluster.kubectl import Kubectl
from tests.platform.names import NAMESPACE, OPERATOR
from tests.platform.waiting import until

CHECK, GUARD, STAMP = (f"{name}.export-operator.io" for name in ("check-identity", "guard-status", "stamp-identity"))
VALIDATING, MUTATING = "ValidatingAdmissionPolicyBinding", "MutatingAdmissionPolicyBinding"
SECONDS = 30.0


def gauge(operator: Kubectl) -> int:
    """`export_operator_identity_enforced`, as Prometheus reads it from the leader; -1 while there is none."""
    pods = operator.output("get", "pods", "--selector", OPERATOR, "-o", "name").split()
    for pod in pods:
        name = pod.removeprefix("pod/")
        place = f"/api/v1/namespaces/{NAMESPACE}/pods/{name}:8080/proxy/metrics"
        found = re.search(
            r"^export_operator_identity_enforced (\d)",
            operator.run("get", "--raw", place, check=False).stdout,
            re.MULTILINE,
        )
        if found:
            return int(found[1])
    return -1


def until_believed(operator: Kubectl) -> None:
    """Until the policies are in force, and a moment longer: what was created within the same second is doubted."""
    until("the policies are in force", lambda: gauge(operator) == 1, SECONDS)
    now = datetime.now(UTC)
    until("that is three seconds ago", lambda: datetime.now(UTC) - now > timedelta(seconds=3), SECONDS)
