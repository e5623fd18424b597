"""What the operator does to objects: write a status, create, stop and delete Jobs, emit Events, read logs."""

from __future__ import annotations

import base64
import hashlib
import logging
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from export_contract.report import Progress
from export_operator.adapters.kube import STRATEGIC_PATCH, ApiError, Kube, path_of
from export_operator.domain import identity, model, times
from export_operator.domain.actions import Emit
from export_operator.domain.model import GROUP, VERSION, Job, Key, Pod, Request, Stamped
from export_operator.domain.notices import Notice, parse_notice

log = logging.getLogger(__name__)

EVENT_MESSAGE = 1024  # characters that the API server takes
MAX_SAID = 1000  # Events remembered, to count those that are said again
LOG_LINES, LOG_BYTES = 5, 4096
TAIL_LINES, TAIL_BYTES = 40, 16384  # of a failed attempt, lines of progress among them


class Cluster:
    """Named calls on the API server. All raise `ApiError`."""

    def __init__(self, kube: Kube, run_namespace: str) -> None:
        self._kube = kube
        self.run_namespace = run_namespace
        self.jobs_path = path_of("batch", "v1", "jobs", namespace=run_namespace)
        self.pods_path = path_of("", "v1", "pods", namespace=run_namespace)
        self._said: dict[str, tuple[int, str]] = {}
        """Events of this process, by path: how often each was said, and its last words."""

    async def request(self, key: Key) -> dict[str, Any] | None:
        """The request as the API server has it now; None when it is gone or is going, with its namespace perhaps."""
        try:
            found = await self._kube.find(request_path(key))
        except ApiError as error:
            # With a namespace that is served by name goes the Role in it, so what is asked there is refused.
            if error.status == 403 and await self.namespace_missing(key.namespace):
                return None
            raise
        return None if found is None or model.going(found) else found

    async def find(self, path: str) -> dict[str, Any] | None:
        """An object of ours as the API server has it now."""
        return await self._kube.find(path)

    async def make_request(self, manifest: Mapping[str, Any], *, trial: bool) -> dict[str, Any]:
        """Create it, or find what has its name. A `trial` keeps nothing."""
        metadata = manifest["metadata"]
        path = path_of(GROUP, VERSION, "exportrequests", namespace=metadata["namespace"])
        try:
            if trial:
                return await self._kube.dry_run("create", path, manifest)
            return await self._kube.create(path, manifest)
        except ApiError as error:
            if not error.exists:
                raise
        return await self._kube.get(f"{path}/{metadata['name']}")

    async def cancel_request(self, request: Request) -> None:
        """Set `spec.cancel`; a request that is gone or another is success."""
        try:
            await self._kube.patch(
                request_path(request.key), {"metadata": {"uid": request.uid}, "spec": {"cancel": True}}
            )
        except ApiError as error:
            if not (error.not_found or error.conflict):
                raise

    async def delete_request(self, request: Request) -> None:
        """Delete the request, if it still is as it was seen."""
        await self.delete(request_path(request.key), request)

    async def write_status(self, path: str, document: Mapping[str, Any], status: Mapping[str, Any]) -> dict[str, Any]:
        """Replace the status of the object at `path`, if it still is the `document` that the status was decided on."""
        return await self._kube.replace(f"{path}/status", {**document, "status": dict(status)})

    async def job(self, name: str) -> dict[str, Any] | None:
        """The Job as the API server has it now."""
        try:
            return await self._kube.find(f"{self.jobs_path}/{name}")
        except ApiError as error:
            # With the run namespace goes the Role in it, so what is asked there is refused.
            if error.status == 403 and await self.namespace_missing():
                return None
            raise

    async def secret(self, name: str) -> dict[str, bytes] | None:
        """What is in a Secret of the run namespace; None when it does not exist."""
        found = await self.secret_object(name)
        return None if found is None else secret_data(found)

    async def secret_object(self, name: str) -> dict[str, Any] | None:
        """The Secret itself."""
        return await self._kube.find(path_of("", "v1", "secrets", name, namespace=self.run_namespace))

    async def create_secret(self, manifest: Mapping[str, Any]) -> str:
        """The name that it got."""
        path = path_of("", "v1", "secrets", namespace=manifest["metadata"]["namespace"])
        return str((await self._kube.create(path, manifest))["metadata"]["name"])

    async def delete(self, path: str, seen: Stamped) -> None:
        """Delete the object at `path`, if it still is as it was seen, and what belongs to it."""
        await self._kube.delete(path, uid=seen.uid, resource_version=seen.resource_version)

    async def pods_of(self, run: str) -> list[dict[str, Any]]:
        items, _ = await self._kube.list(self.pods_path, labelSelector=f"{model.LABEL_RUN}={run}")
        return items

    async def notices(self, uid: str) -> tuple[Notice, ...]:
        """Kubernetes' Events about a Job or pod of the run namespace."""
        path = path_of("", "v1", "events", namespace=self.run_namespace)
        items, _ = await self._kube.list(path, fieldSelector=f"involvedObject.uid={uid}")
        return tuple(map(parse_notice, items))

    async def silent(self, node: str) -> bool:
        """The node does not answer, or is gone."""
        found = await self._kube.find(path_of("", "v1", "nodes", node))
        conditions = ((found or {}).get("status") or {}).get("conditions") or ()
        return not any(item.get("type") == "Ready" and item.get("status") == "True" for item in conditions)

    async def lose_pod(self, pod: Pod, now: datetime) -> None:
        """Tell Kubernetes that a pod is over whose node will not say so. The Job controller makes another only when the
        phase is Failed (podReplacementPolicy), as the garbage collector does for a node that is gone."""
        text = f"node {pod.node!r} does not answer, and the pod had to end by {times.render(pod.gone_by or now)}"
        disrupted = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "DeletionByPodGC",
            "message": text,
            "lastTransitionTime": times.render(now),
        }
        status: dict[str, Any] = {"phase": "Failed", "reason": "NodeLost", "message": text}
        if not pod.disruption:  # so that it does not count against the attempts (podFailurePolicy)
            status["conditions"] = [disrupted]
        path = f"{self.pods_path}/{pod.name}"
        try:
            body = {"metadata": {"uid": pod.uid}, "status": status}
            await self._kube.patch(f"{path}/status", body, content_type=STRATEGIC_PATCH)
        except ApiError as error:
            if not error.not_found:
                raise
            return
        await self._kube.delete(path, uid=pod.uid, grace=0)

    async def namespace_missing(self, name: str = "") -> bool:
        """The namespace, or the run namespace if none is named, is gone or is going."""
        found = await self._kube.find(path_of("", "v1", "namespaces", name or self.run_namespace))
        return found is None or model.going(found)

    async def create_job(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """Create it, or find that it was created before."""
        try:
            return await self._kube.create(self.jobs_path, manifest)
        except ApiError as error:
            if not error.exists:
                raise
        found = await self._kube.get(f"{self.jobs_path}/{manifest['metadata']['name']}")
        ours, theirs = manifest["metadata"]["labels"], found["metadata"].get("labels") or {}
        if any(theirs.get(label) != ours.get(label) for label in (model.LABEL_RUN, model.LABEL_REQUEST_UID)):
            raise ApiError(409, "NameTaken", f"Job {manifest['metadata']['name']} exists and is not this run's")
        return found

    async def stop_job(self, job: Job, reason: str, message: str) -> dict[str, Any]:
        """Let the Job controller end the Job now: its deadline is brought forward, and the reason stands on it."""
        annotations = {model.ANNOTATION_STOP_REASON: reason, model.ANNOTATION_STOP_MESSAGE: message}
        spec: dict[str, Any] = {"activeDeadlineSeconds": 1}
        if job.suspended and not job.queue:
            spec["suspend"] = False  # a suspended Job has no deadline
        return await self._patch_job(job, {"metadata": {"annotations": annotations}, "spec": spec})

    async def suspend_job(self, job: Job, *, suspend: bool) -> dict[str, Any]:
        """Suspend it, whatever became of it since; or let it go on, if it still is as it was seen: it may have ended
        for everybody else."""
        fence = {} if suspend else {"metadata": {"resourceVersion": job.resource_version}}
        return await self._patch_job(job, {**fence, "spec": {"suspend": suspend}})

    async def note_undone(self, job: Job) -> None:
        """Write on a Job that stays that nothing else is left of its run."""
        await self._patch_job(job, {"metadata": {"annotations": {model.ANNOTATION_UNDONE: "true"}}})

    async def delete_job(self, job: Job, *, unchanged: bool = False) -> None:
        """Delete this very Job; `unchanged`: only if it still is as it was seen, else that is a conflict."""
        path, version = f"{self.jobs_path}/{job.name}", job.resource_version if unchanged else ""
        if not await self._kube.delete(path, uid=job.uid, resource_version=version) and unchanged:
            raise ApiError(409, "Conflict", f"Job {job.name} has changed meanwhile")

    async def delete_pod(self, pod: Pod) -> None:
        await self._kube.delete(f"{self.pods_path}/{pod.name}", uid=pod.uid)

    async def emit(self, request: Request, event: Emit, now: datetime) -> None:
        """An Event named after run and reason: what is said again stands once, with its last words and how often they
        were others, as Kubernetes counts. A Warning is named after its words too: each stands for itself. Events
        inform; nothing waits for them."""
        about = {
            "kind": "ExportRequest",
            "namespace": request.key.namespace,
            "name": request.key.name,
            "uid": request.uid,
        }
        await self._event(about, event, now)

    async def tell(self, document: Mapping[str, Any], event: Emit, now: datetime) -> None:
        """An Event on any object of ours; on one of the platform team in the namespace that Kubernetes keeps for such:
        default."""
        metadata = document["metadata"]
        about = {"kind": document["kind"], "name": metadata["name"], "uid": metadata["uid"]}
        if namespace := metadata.get("namespace"):
            about["namespace"] = namespace
        await self._event(about, event, now)

    async def allows(self, review: Mapping[str, Any]) -> bool:
        """The API server's answer to a SubjectAccessReview (see `identity.review`)."""
        answer = await self._kube.create(path_of("authorization.k8s.io", "v1", "subjectaccessreviews"), review)
        return bool((answer.get("status") or {}).get("allowed"))

    async def granted(self, username: str, groups: Collection[str], requester: str, namespace: str) -> set[str]:
        """Those of the verbs by which one speaks for `requester` that `username` has (see `identity.acts_as`)."""
        verbs = (identity.ACT_AS, identity.BY_WILDCARD)
        return {
            verb for verb in verbs if await self.allows(identity.review(verb, username, groups, requester, namespace))
        }

    async def _event(self, about: Mapping[str, str], event: Emit, now: datetime) -> None:
        counted = about["kind"] == "ExportRequest" and event.kind == "Normal"
        named_after = f"{event.run}/{event.reason}" + ("" if counted else f"/{event.message}")
        name = f"{about['name']}.{hashlib.sha256(named_after.encode()).hexdigest()[:10]}"
        namespace = about.get("namespace") or "default"
        path = path_of("", "v1", "events", namespace=namespace)
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": namespace},
            "involvedObject": {"apiVersion": model.API_VERSION, **about},
            "type": event.kind,
            "reason": event.reason,
            "message": event.message[:EVENT_MESSAGE],
            "source": {"component": model.MANAGED_BY},
            "firstTimestamp": times.render(now),
            "lastTimestamp": times.render(now),
            "count": 1,
        }
        try:
            await self._say(path, body, again=counted)
        except ApiError as error:
            log.warning("%s: Event %s was not written: %s", about["name"], event.reason, error)

    async def _say(self, path: str, body: dict[str, Any], *, again: bool) -> None:
        """Create the Event. One that is there stays as it is, or has these words from now on (`again`); how often they
        were others is known to who has said it first. Raises `ApiError`."""
        place, message = f"{path}/{body['metadata']['name']}", str(body["message"])
        try:
            await self._kube.create(path, body)
            count = 1
        except ApiError as error:
            if not error.exists:
                raise
            count, words = self._said.get(place, (0, ""))
            if not again or words == message:
                return
            count += bool(count)
            change = {"message": message, "lastTimestamp": body["lastTimestamp"]}
            await self._kube.patch(place, change | ({"count": count} if count else {}))
        self._said[place] = (count, message)
        for known in list(self._said)[:-MAX_SAID]:
            del self._said[known]

    async def progress(self, pod: str) -> Progress | None:
        """The newest progress line among the last lines of the pod's log."""
        text = await self._kube.text(f"{self.pods_path}/{pod}/log", tailLines=LOG_LINES, limitBytes=LOG_BYTES)
        lines = (Progress.from_line(line) for line in reversed(text.splitlines()))
        return next((progress for progress in lines if progress is not None), None)

    async def log_tail(self, pod: str) -> str:
        """The last lines of the pod's log; empty when nobody has them any more: nothing waits for them."""
        try:
            return await self._kube.text(f"{self.pods_path}/{pod}/log", tailLines=TAIL_LINES, limitBytes=TAIL_BYTES)
        except ApiError as error:
            log.debug("log of pod %s: %s", pod, error)
            return ""

    async def _patch_job(self, job: Job, body: Mapping[str, Any]) -> dict[str, Any]:
        merged = {**body, "metadata": {**(body.get("metadata") or {}), "uid": job.uid}}
        return await self._kube.patch(f"{self.jobs_path}/{job.name}", merged)


def secret_data(secret: Mapping[str, Any]) -> dict[str, bytes]:
    """What is in a Secret."""
    return {key: base64.b64decode(value) for key, value in (secret.get("data") or {}).items()}


def request_path(key: Key) -> str:
    return path_of(GROUP, VERSION, "exportrequests", key.name, namespace=key.namespace)
