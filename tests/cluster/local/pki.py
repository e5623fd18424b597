"""Keys and certificates of the local cluster, made once and kept: openssl does the work, as the standard library
cannot sign a certificate.
"""

import base64
import json
import shutil
from pathlib import Path

from tests.cluster import shell
from tests.cluster.local.settings import Settings
from tests.cluster.paths import PRODUCT

DAYS = "3650"
IDENTITIES = {
    "admin": "/O=system:masters/CN=admin",
    # Not its own narrow role: that needs an account for each controller, and a fresh cluster waits 5 s for them.
    "controller-manager": "/O=system:masters/CN=system:kube-controller-manager",
    "scheduler": "/CN=system:kube-scheduler",
    "kube-proxy": "/CN=system:kube-proxy",
    "coredns": "/CN=system:coredns",
}
"""Who talks to the API server, and as whom."""


def _key(path: Path, *, request: list[str]) -> None:
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    shell.run(["openssl", "req", *curve, "-keyout", path, *request])


def _signed(pki: Path, name: str, subject: str, names: str = "") -> None:
    """A key and its certificate, good for serving and for calling."""
    request, extensions = pki / f"{name}.csr", pki / f"{name}.ext"
    _key(pki / f"{name}.key", request=["-new", "-subj", subject, "-out", str(request)])
    lines = [
        "basicConstraints=critical,CA:FALSE",
        "keyUsage=critical,digitalSignature",
        "extendedKeyUsage=serverAuth,clientAuth",
        "subjectKeyIdentifier=hash",
        "authorityKeyIdentifier=keyid",
    ]
    extensions.write_text("\n".join([*lines, *([f"subjectAltName={names}"] if names else [])]) + "\n")
    authority: list[str | Path] = ["-CA", pki / "ca.crt", "-CAkey", pki / "ca.key", "-CAcreateserial"]
    certificate: list[str | Path] = ["-out", pki / f"{name}.crt", "-days", DAYS, "-extfile", extensions]
    shell.run(["openssl", "x509", "-req", "-in", request, *authority, *certificate])
    request.unlink()
    extensions.unlink()


def _encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def kubeconfig(settings: Settings, pki: Path, name: str) -> str:
    """A kubeconfig that carries its keys with it. JSON is YAML too."""
    cluster = {"server": settings.api_url, "certificate-authority-data": _encoded(pki / "ca.crt")}
    user = {
        "client-certificate-data": _encoded(pki / f"{name}.crt"),
        "client-key-data": _encoded(pki / f"{name}.key"),
    }
    context = {"cluster": PRODUCT, "user": name}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": PRODUCT,
        "clusters": [{"name": PRODUCT, "cluster": cluster}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": PRODUCT, "context": context}],
    }
    return json.dumps(document, indent=2) + "\n"


def make(settings: Settings) -> None:
    """Have all keys, certificates and kubeconfigs."""
    pki, done = settings.directory / "pki", settings.directory / "pki" / f"made-for-{settings.node_ip}"
    if done.exists():
        return
    shutil.rmtree(pki, ignore_errors=True)
    pki.mkdir(parents=True, mode=0o700)
    authority = ["-x509", "-days", DAYS, "-subj", f"/CN={settings.name}", "-out", str(pki / "ca.crt")]
    _key(pki / "ca.key", request=[*authority, "-addext", "keyUsage=critical,keyCertSign,cRLSign"])
    shell.run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", pki / "sa.key"])
    shell.run(["openssl", "ec", "-in", pki / "sa.key", "-pubout", "-out", pki / "sa.pub"])
    service = "kubernetes.default.svc"
    known = ["localhost", "kubernetes", "kubernetes.default", service, f"{service}.cluster.local"]
    addresses = ["127.0.0.1", settings.node_ip, settings.api_ip]
    alternatives = ",".join([*(f"DNS:{each}" for each in known), *(f"IP:{each}" for each in addresses)])
    _signed(pki, "apiserver", "/CN=kube-apiserver", alternatives)
    _signed(pki, "kubelet-client", "/O=system:masters/CN=kube-apiserver-kubelet-client")
    directory = settings.kubeconfig.parent
    directory.mkdir(exist_ok=True, mode=0o700)
    for name, subject in {**IDENTITIES, "kubelet": f"/O=system:nodes/CN=system:node:{settings.node_name}"}.items():
        _signed(pki, name, subject)
        (directory / name).write_text(kubeconfig(settings, pki, name))
        (directory / name).chmod(0o600)
    done.touch()
