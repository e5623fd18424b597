"""The API server, by plain documents. One object serves many threads; what a person would type goes through kubectl."""

import json
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import urllib3
from kubernetes import client, config

Json = dict[str, Any]

TIMEOUT_SECONDS = 30.0
EXPORTS = "apis/export-operator.io/v1alpha1"
ADMISSION = "apis/admissionregistration.k8s.io/v1"
KUEUE = "apis/kueue.x-k8s.io/v1beta2"
RBAC = "apis/rbac.authorization.k8s.io/v1"
KINDS: Mapping[str, tuple[str, str]] = {
    "ExportRequest": (EXPORTS, "exportrequests"),
    "ExportSource": (EXPORTS, "exportsources"),
    "ExportDestination": (EXPORTS, "exportdestinations"),
    "ExportPolicy": (EXPORTS, "exportpolicies"),
    "ExportUsage": (EXPORTS, "exportusages"),
    "ScheduledExport": (EXPORTS, "scheduledexports"),
    "ExportDownload": (EXPORTS, "exportdownloads"),
    "Job": ("apis/batch/v1", "jobs"),
    "Workload": (KUEUE, "workloads"),
    "ClusterQueue": (KUEUE, "clusterqueues"),
    "LocalQueue": (KUEUE, "localqueues"),
    "ResourceFlavor": (KUEUE, "resourceflavors"),
    "Node": ("api/v1", "nodes"),
    "ResourceQuota": ("api/v1", "resourcequotas"),
    "PriorityClass": ("apis/scheduling.k8s.io/v1", "priorityclasses"),
    "Lease": ("apis/coordination.k8s.io/v1", "leases"),
    "Deployment": ("apis/apps/v1", "deployments"),
    "Pod": ("api/v1", "pods"),
    "Secret": ("api/v1", "secrets"),
    "Service": ("api/v1", "services"),
    "Event": ("api/v1", "events"),
    "Namespace": ("api/v1", "namespaces"),
    "ConfigMap": ("api/v1", "configmaps"),
    "ServiceAccount": ("api/v1", "serviceaccounts"),
    "ValidatingAdmissionPolicyBinding": (ADMISSION, "validatingadmissionpolicybindings"),
    "MutatingAdmissionPolicy": (ADMISSION, "mutatingadmissionpolicies"),
    "MutatingAdmissionPolicyBinding": (ADMISSION, "mutatingadmissionpolicybindings"),
    "Role": (RBAC, "roles"),
    "RoleBinding": (RBAC, "rolebindings"),
    "ClusterRoleBinding": (RBAC, "clusterrolebindings"),
}


class ApiError(Exception):
    """The API server refused; the text is its own."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message


class Api:
    """Calls as the administrator of a kubeconfig or, by impersonation, as a user with groups: RBAC and admission see
    that user."""

    def __init__(self, kubeconfig: Path, user: str = "", groups: tuple[str, ...] = ()) -> None:
        found = client.Configuration()
        config.load_kube_config(str(kubeconfig), client_configuration=found)
        address = urlsplit(found.host)
        trust = ssl.create_default_context(cafile=found.ssl_ca_cert)
        if found.cert_file:
            trust.load_cert_chain(found.cert_file, found.key_file)
        self._pool = urllib3.HTTPSConnectionPool(
            str(address.hostname), address.port or 443, timeout=TIMEOUT_SECONDS, maxsize=16, ssl_context=trust
        )
        self._headers = {"Accept": "application/json"}
        if token := next(iter(found.api_key.values()), ""):
            self._headers["Authorization"] = token if " " in token else f"Bearer {token}"
        self._user, self._groups = user, groups

    def as_user(self, user: str, *groups: str) -> "Api":
        """The same cluster as somebody else sees it."""
        other = object.__new__(Api)
        other.__dict__.update(self.__dict__)
        other._user, other._groups = user, ("system:authenticated", *groups)
        return other

    def get(self, kind: str, name: str, namespace: str = "") -> Json:
        return self.call("GET", path(kind, name, namespace))

    def find(self, kind: str, name: str, namespace: str = "") -> Json | None:
        try:
            return self.get(kind, name, namespace)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def items(self, kind: str, namespace: str = "", selector: str = "") -> list[Json]:
        query = "?" + urlencode({"labelSelector": selector}) if selector else ""
        found: list[Json] = self.call("GET", path(kind, "", namespace) + query)["items"]
        return found

    def create(self, document: Json) -> Json:
        return self.call("POST", path(document["kind"], "", _namespace(document)), document)

    def apply(self, document: Json, manager: str = "platform-team") -> Json:
        """Server-side apply."""
        place = path(document["kind"], document["metadata"]["name"], _namespace(document))
        return self.call(
            "PATCH", f"{place}?fieldManager={manager}&force=true", document, "application/apply-patch+yaml"
        )

    def patch(self, kind: str, name: str, namespace: str, change: Json) -> Json:
        return self.call("PATCH", path(kind, name, namespace), change, "application/merge-patch+json")

    def delete(self, kind: str, name: str, namespace: str = "", grace: int | None = None) -> None:
        """Gone, or going; what is not there is gone."""
        options: Json = {"propagationPolicy": "Background"}
        if grace is not None:
            options["gracePeriodSeconds"] = grace
        try:
            self.call("DELETE", path(kind, name, namespace), options)
        except ApiError as error:
            if error.status != 404:
                raise

    def log(self, pod: str, namespace: str, lines: int = 40) -> str:
        """The end of a pod's log; what the server says when there is none."""
        try:
            return self._send("GET", f"{path('Pod', pod, namespace)}/log?tailLines={lines}").decode(errors="replace")
        except ApiError as error:
            return str(error)

    def call(self, method: str, where: str, body: Json | None = None, form: str = "application/json") -> Json:
        found: Json = json.loads(self._send(method, where, body, form))
        return found

    def _send(self, method: str, where: str, body: Json | None = None, form: str = "application/json") -> bytes:
        headers = urllib3.HTTPHeaderDict(self._headers)
        if self._user:
            headers.add("Impersonate-User", self._user)
        for group in self._groups:
            headers.add("Impersonate-Group", group)
        if body is not None:
            headers.add("Content-Type", form)
        given = None if body is None else json.dumps(body).encode()
        answer = self._pool.urlopen(method, where, body=given, headers=headers, redirect=False)
        if answer.status >= 400:
            raise _refused(answer.status, answer.data)
        return answer.data


def path(kind: str, name: str = "", namespace: str = "") -> str:
    group, plural = KINDS[kind]
    middle = f"/namespaces/{quote(namespace)}" if namespace else ""
    return f"/{group}{middle}/{plural}" + (f"/{quote(name)}" if name else "")


def _namespace(document: Json) -> str:
    return str(document["metadata"].get("namespace", ""))


def _refused(status: int, data: bytes) -> ApiError:
    try:
        told = json.loads(data)
        return ApiError(status, told.get("reason", ""), told.get("message", ""))
    except (ValueError, AttributeError):
        return ApiError(status, "", data.decode(errors="replace")[:500])
