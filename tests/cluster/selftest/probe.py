"""Runs inside a pod, given to its Python as text: tells what the pod can reach, one line of JSON a finding."""

import http.client
import json
import os
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
NAMESPACE = (ACCOUNT / "namespace").read_text()


def api(path: str) -> str:
    """What the API server answers to this pod's own account, over its Service."""
    token = (ACCOUNT / "token").read_text()
    context = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    connection = http.client.HTTPSConnection("kubernetes.default.svc", timeout=5, context=context)
    connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
    return str(connection.getresponse().status)


def service() -> str:
    """Another pod, over a Service with a cluster address: it may still be starting."""
    for _ in range(40):
        try:
            connection = http.client.HTTPConnection(f"server.{NAMESPACE}.svc", timeout=2)
            connection.request("GET", "/")
            return str(connection.getresponse().status)
        except OSError:
            time.sleep(0.25)
    return "no answer"


def read_only() -> str:
    try:
        Path("/written").touch()
    except OSError as error:
        return os.strerror(error.errno or 0)
    return "writable"


FINDINGS: dict[str, Callable[[], str]] = {
    "dns": lambda: socket.gethostbyname("kubernetes.default.svc.cluster.local"),
    "allowed": lambda: api(f"/api/v1/namespaces/{NAMESPACE}/pods"),
    "forbidden": lambda: api(f"/api/v1/namespaces/{NAMESPACE}/secrets"),
    "service": service,
    "user": lambda: str(os.getuid()),
    "root": read_only,
}

for name, find in FINDINGS.items():
    try:
        found = find()
    except OSError as error:
        found = f"{type(error).__name__}: {error}"
    print(json.dumps({"name": name, "found": found}), flush=True)
