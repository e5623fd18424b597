"""Asking the cluster's API server, from the standard library alone: quicker than a kubectl for each question."""

import http.client
import json
import ssl
from typing import Any
from urllib.parse import quote

from tests.cluster.local.settings import Settings


class Client:
    """The administrator's view of the API server. A server that does not answer is the empty answer."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def _context(self) -> ssl.SSLContext:
        pki = self._settings.directory / "pki"
        context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
        return context

    def get(self, path: str, address: tuple[str, int] | None = None, timeout: float = 5) -> bytes | None:
        """The body of a 200 answer, or None."""
        host, port = address or (self._settings.node_ip, 6443)
        try:
            connection = http.client.HTTPSConnection(host, port, timeout=timeout, context=self._context())
            try:
                connection.request("GET", quote(path, safe="/?=&"))
                response = connection.getresponse()
                body = response.read()
            finally:
                connection.close()
        except (OSError, http.client.HTTPException):
            return None
        return body if response.status == 200 else None

    def ready(self) -> bool:
        return self.get("/readyz") == b"ok"

    def served(self) -> bool:
        """Does the API server answer at its Service's address? Then kube-proxy has written its rules."""
        return self.get("/readyz", (self._settings.api_ip, 443), timeout=0.5) == b"ok"

    def object(self, path: str) -> dict[str, Any]:
        body = self.get(path)
        found: dict[str, Any] = json.loads(body) if body else {}
        return found

    def node(self) -> dict[str, Any]:
        return self.object(f"/api/v1/nodes/{self._settings.node_name}")

    def node_ready(self) -> bool:
        conditions = self.node().get("status", {}).get("conditions", [])
        return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)

    def has_default_account(self) -> bool:
        return bool(self.object("/api/v1/namespaces/default/serviceaccounts/default"))


def http_ok(port: int, path: str) -> bool:
    """Does a plain server on the loopback device answer 200?"""
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        try:
            connection.request("GET", path)
            return connection.getresponse().status == 200
        finally:
            connection.close()
    except (OSError, http.client.HTTPException):
        return False
