"""Which of the operator's pods leads."""

from tests.platform.api import Api, Json
from tests.platform.names import NAMESPACE
from tests.platform.waiting import until

LEASE = "export-operator"


def term(api: Api) -> str:
    """Of whoever holds the Lease, another one for each process, though its pod be the same; "" when nobody does."""
    found = api.find("Lease", LEASE, NAMESPACE) or {"spec": {}}
    return str(found["spec"].get("holderIdentity") or "")


def holder(api: Api) -> str:
    """The name of the pod that holds the Lease; "" when nobody does."""
    return term(api).partition("_")[0]


def leader(api: Api, other_than: str = "") -> Json:
    """The pod that leads, as soon as one does that is ready, and not the one of that name."""

    def look() -> Json | None:
        name = holder(api)
        pod = api.find("Pod", name, NAMESPACE) if name not in ("", other_than) else None
        if pod is None or "deletionTimestamp" in pod["metadata"]:
            return None
        conditions = {each["type"]: each["status"] for each in pod["status"].get("conditions") or []}
        return pod if conditions.get("Ready") == "True" else None

    return until("an operator that leads", look, 120)
