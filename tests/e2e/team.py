"""A tenant of the tests: a namespace, a person who may edit it, and what one asks about that person's requests."""

from dataclasses import dataclass, field
from typing import Any

from tests.cluster.kubectl import Kubectl
from tests.e2e.furniture import DESTINATION, SOURCE
from tests.platform.api import Api, Json
from tests.platform.names import API_VERSION, LABEL_REQUEST_UID, RUN_NAMESPACE
from tests.platform.storage import Storage
from tests.platform.waiting import TooLong, until

ENDS = ("Succeeded", "PartiallySucceeded", "Failed", "Rejected", "Cancelled", "Expired")
SECONDS = 60.0
"""For a small export, other work on the machine included."""


@dataclass(frozen=True)
class Team:
    """`admin` is the platform team; `api` and `kubectl` are the tenant's."""

    namespace: str
    user: str
    admin: Api
    api: Api
    kubectl: Kubectl
    declares: bool = False
    """Requests name their requester, for the cluster does not."""
    asked: dict[str, str] = field(default_factory=dict)
    """UIDs of the requests that were created here, by name."""

    def request(self, name: str, dataset: str = "few", **spec: Any) -> Json:
        """An ExportRequest that is fine, unless `spec` makes it otherwise."""
        whole = {
            "source": {"name": SOURCE, "dataset": dataset},
            "destination": {"name": DESTINATION},
            "output": {"format": "CSV"},
            **self.signature(),
            **spec,
        }
        metadata = {"name": name, "namespace": self.namespace}
        return {"apiVersion": API_VERSION, "kind": "ExportRequest", "metadata": metadata, "spec": whole}

    def signature(self, user: str = "") -> Json:
        """What a spec has of who asks, the team's own user unless another is given: nothing where the cluster says."""
        return {"requester": {"username": user or self.user}} if self.declares else {}

    def ask(self, name: str, dataset: str = "few", **spec: Any) -> Json:
        """Create it, as the tenant."""
        made = self.api.create(self.request(name, dataset, **spec))
        self.asked[name] = made["metadata"]["uid"]
        return made

    def get(self, name: str) -> Json:
        return self.api.get("ExportRequest", name, self.namespace)

    def status(self, name: str) -> Json:
        return dict(self.get(name).get("status") or {})

    def patch(self, name: str, **spec: Any) -> Json:
        return self.api.patch("ExportRequest", name, self.namespace, {"spec": spec})

    def delete(self, name: str) -> None:
        self.api.delete("ExportRequest", name, self.namespace)

    def until(
        self, name: str, *phases: str, seconds: float = SECONDS, reason: str = "", run_id: str | None = None
    ) -> Json:
        """Its status, as soon as its phase is one of these (and its reason that one, and it is of that run). Any other
        end is told at once."""

        def look() -> Json | None:
            status = self.status(name)
            phase = status.get("phase")
            if run_id is not None and status.get("runID") != run_id:
                return None
            if phase in phases and reason in ("", status.get("reason")):
                return status
            if phase in ENDS:
                told = f"{phase}, {status.get('reason')}: {status.get('message')}"
                raise AssertionError(f"{name} ended as {told}; awaited was {' or '.join(phases)} {reason}")
            return None

        try:
            return until(f"{name} {' or '.join(phases)} {reason}".rstrip(), look, seconds)
        except TooLong as error:
            raise AssertionError(f"{error}; its status: {self.status(name)}") from None

    def ended(self, name: str, seconds: float = SECONDS) -> Json:
        return self.until(name, *ENDS, seconds=seconds)

    def succeeded(self, name: str, seconds: float = SECONDS, run_id: str | None = None) -> Json:
        """Its `status.result`."""
        result: Json = self.until(name, "Succeeded", seconds=seconds, run_id=run_id)["result"]
        return result

    def jobs(self, name: str) -> list[Json]:
        """Jobs of every run of the request."""
        return self.admin.items("Job", RUN_NAMESPACE, f"{LABEL_REQUEST_UID}={self.asked[name]}")

    def pods(self, name: str) -> list[Json]:
        return self.admin.items("Pod", RUN_NAMESPACE, f"{LABEL_REQUEST_UID}={self.asked[name]}")

    def running_pod(self, name: str, seconds: float = SECONDS) -> Json:
        """The pod of the request whose container runs, as soon as there is one."""

        def look() -> Json | None:
            for pod in self.pods(name):
                states = [each.get("state") or {} for each in (pod.get("status") or {}).get("containerStatuses") or []]
                if states and "running" in states[0] and "deletionTimestamp" not in pod["metadata"]:
                    return pod
            return None

        return until(f"a running pod of {name}", look, seconds)

    def events(self, name: str) -> list[Json]:
        """Events of the request, as the tenant may read them."""
        uid = self.asked[name]
        return [
            event
            for event in self.api.items("Event", self.namespace)
            if (event.get("involvedObject") or {}).get("uid") == uid
        ]


def exit_code(team: Team, name: str, pod: Json, seconds: float = 30) -> int:
    """How the container of a pod ended."""

    def look() -> tuple[int] | None:
        for each in team.pods(name):
            if each["metadata"]["uid"] == pod["metadata"]["uid"]:
                ended = each["status"]["containerStatuses"][0]["state"].get("terminated")
                return (int(ended["exitCode"]),) if ended else None
        return (-1,)

    return until(f"the end of {name}'s pod", look, seconds)[0]


def one_object(storage: Storage, result: Json) -> None:
    """What a run leaves in its folder: one object, one manifest, and no unfinished upload."""
    bucket, _, key = result["uri"].removeprefix("s3://").partition("/")
    folder = key.rpartition("/")[0] + "/"
    assert storage.keys(bucket, folder) == sorted([key, f"{folder}manifest.json"])
    assert storage.uploads(bucket, folder) == []
