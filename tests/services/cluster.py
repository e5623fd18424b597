"""PostgreSQL and the S3 server as pods, reached by Service name: `postgres:5432` and `s3:7070`."""

import base64
import json
import secrets
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import images, providers, say, templates
from tests.cluster.kubectl import Kubectl

NAMESPACE = "demo-services"
MANIFESTS = Path(__file__).resolve().parent / "manifests"


@dataclass(frozen=True)
class Services:
    """Where the servers are for a pod, and how to log in. `kubectl` is in their namespace."""

    kubectl: Kubectl
    postgres_password: str
    s3_access_key: str
    s3_secret_key: str
    postgres_port: int = 5432
    postgres_user: str = "postgres"
    postgres_database: str = "app"

    @property
    def postgres_host(self) -> str:
        return f"postgres.{self.kubectl.namespace}.svc"

    @property
    def s3_endpoint(self) -> str:
        return f"http://s3.{self.kubectl.namespace}.svc:7070"

    def psql(self, sql: str, *options: str) -> str:
        """Run SQL as the superuser, inside the pod; what it printed, unaligned and without headings."""
        quiet = ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", *options]
        return self.kubectl.output("exec", "-i", "deployment/postgres", "--", *quiet, stdin=sql)

    def create_bucket(self, name: str) -> None:
        """What CreateBucket does, without a client: a bucket is a directory. One that exists stays as it is."""
        self.kubectl.run("exec", "deployment/s3", "--", "mkdir", "-p", f"/data/{name}")

    def pgbench(self, scale: int = 10) -> None:
        """pgbench's tables: 100,000 accounts times `scale`."""
        self.kubectl.run("exec", "deployment/postgres", "--", "pgbench", "--quiet", "-i", "-s", str(scale))


def deploy(cluster: providers.Cluster, built: images.Images, namespace: str = NAMESPACE) -> Services:
    """Have both servers ready. Passwords are made once; a second call finds them again."""
    kubectl = Kubectl(cluster, namespace)
    passwords = {
        "POSTGRES_PASSWORD": _secret(kubectl, "postgres", "password") or secrets.token_urlsafe(18),
        "S3_ACCESS_KEY": _secret(kubectl, "s3", "access-key") or f"demo{secrets.token_hex(8)}",
        "S3_SECRET_KEY": _secret(kubectl, "s3", "secret-key") or secrets.token_urlsafe(30),
    }
    values = {**passwords, "NAMESPACE": namespace, "POSTGRES_IMAGE": built.postgres, "S3_IMAGE": built.s3}
    with say.step(f"starting PostgreSQL and the S3 server in {namespace}"):
        for name in ("namespace", "postgres", "s3"):
            kubectl.apply(templates.render((MANIFESTS / f"{name}.yaml").read_text(), values))
        for name in ("postgres", "s3"):
            kubectl.rolled_out(name)
    return Services(
        kubectl=kubectl,
        postgres_password=passwords["POSTGRES_PASSWORD"],
        s3_access_key=passwords["S3_ACCESS_KEY"],
        s3_secret_key=passwords["S3_SECRET_KEY"],
    )


def _secret(kubectl: Kubectl, name: str, key: str) -> str:
    """A value of a Secret; "" if there is none."""
    found = kubectl.run("get", "secret", name, "-o", "json", "--ignore-not-found", check=False).stdout
    data: dict[str, str] = json.loads(found).get("data", {}) if found.strip() else {}
    return base64.b64decode(data.get(key, "")).decode()


def remove(cluster: providers.Cluster, namespace: str = NAMESPACE) -> None:
    """Remove the servers and everything in them."""
    Kubectl(cluster, namespace).run("delete", "namespace", namespace, "--ignore-not-found")
