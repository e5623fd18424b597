"""`python -m tests.cluster check`: does this cluster have what the product needs?"""

import http.client
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

from tests.cluster import images, providers, say, templates
from tests.cluster.kubectl import Kubectl
from tests.cluster.problem import Problem

HERE = Path(__file__).resolve().parent
PRIVILEGED = {"hostNetwork": True, "containers": [{"name": "x", "image": "x"}]}


class Check:
    """One run, in a namespace of its own."""

    def __init__(self, cluster: providers.Cluster) -> None:
        self.cluster = cluster
        self.namespace = f"cluster-check-{os.getpid()}"
        self.kubectl = Kubectl(cluster, self.namespace)
        self._found: dict[str, str] | None = None

    def _render(self, name: str) -> str:
        # The check borrows the PostgreSQL image for its Python.
        image = images.references(self.cluster, ["postgres"])["postgres"]
        values = {"NAMESPACE": self.namespace, "IMAGE": image, "PROBE": json.dumps((HERE / "probe.py").read_text())}
        return templates.render((HERE / name).read_text(), values)

    def prepare(self) -> None:
        self.kubectl.run("create", "namespace", self.namespace)
        self.kubectl.run("label", "namespace", self.namespace, "pod-security.kubernetes.io/enforce=restricted")
        self.kubectl.apply(self._render("policies.yaml"))
        self.kubectl.apply(self._render("manifests.yaml"))

    def clean(self) -> None:
        self.kubectl.run("delete", "--ignore-not-found", "-f", "-", stdin=self._render("policies.yaml"), check=False)
        self.kubectl.run("delete", "namespace", self.namespace, "--wait=false", check=False)

    def _wait(self, condition: str, what: str) -> None:
        self.kubectl.run("wait", f"--for={condition}", what, "--timeout=60s")

    def found(self, name: str) -> str:
        """What the probe found, from the log of its Job."""
        if self._found is None:
            self._wait("condition=Complete", "job/probe")
            lines = self.kubectl.output("logs", "job/probe").splitlines()
            self._found = {each["name"]: each["found"] for each in map(json.loads, lines)}
        return self._found.get(name, "nothing")

    def node(self) -> str:
        nodes = json.loads(self.kubectl.output("get", "nodes", "-o", "json"))["items"]
        return ", ".join(each["status"]["nodeInfo"]["kubeletVersion"] for each in nodes)

    def pod_security(self) -> str:
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "bad"}, "spec": PRIVILEGED}
        refused = self.kubectl.run("create", "-f", "-", stdin=json.dumps(pod), check=False)
        return expect("violates PodSecurity" in refused.stderr, "a privileged pod is refused", refused.stderr)

    def _config_map(self, name: str, data: dict[str, str]) -> str:
        """What the API server says to a new one; policies take a moment to be in force, so it may differ at first."""
        document = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}
        create = ["create", "--dry-run=server", "-o", "json", "-f", "-"]
        done = self.kubectl.run(*create, stdin=json.dumps(document), check=False)
        return done.stdout + done.stderr

    def mutating(self) -> str:
        return eventually(lambda: '"by"' in self._config_map("stamped", {}), "MutatingAdmissionPolicy v1 stamps")

    def validating(self) -> str:
        return eventually(
            lambda: "this is refused by the policy" in self._config_map("bad", {"refused": ""}),
            "ValidatingAdmissionPolicy v1 refuses",
        )

    def oom(self) -> str:
        self._wait("jsonpath={.status.phase}=Failed", "pod/hungry")
        path = "jsonpath={.status.containerStatuses[0].state.terminated['reason','exitCode']}"
        said = self.kubectl.output("get", "pod/hungry", "-o", path)
        return expect(said == "OOMKilled 137", said, said)

    def exec(self) -> str:
        self._wait("condition=Ready", "pod/server")
        said = self.kubectl.output("exec", "server", "--", "echo", "hello")
        return expect(said == "hello", said, said)

    def port_forward(self) -> str:
        with self.kubectl.forwarded("service/server", 80) as port:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/")
            status = connection.getresponse().status
            connection.close()
        return expect(status == 200, "200", str(status))

    def _probe(self, name: str, wanted: Callable[[str], bool]) -> str:
        found = self.found(name)
        return expect(wanted(found), found, found)

    def checks(self) -> dict[str, Callable[[], str]]:
        return {
            "node ready": self.node,
            "Pod Security admission": self.pod_security,
            "MutatingAdmissionPolicy": self.mutating,
            "ValidatingAdmissionPolicy": self.validating,
            "Job completes; logs": lambda: self._probe("user", lambda found: found == "10001"),
            "read-only root": lambda: self._probe("root", lambda found: "Read-only" in found),
            "cluster DNS": lambda: self._probe("dns", lambda found: found[:1].isdigit()),
            "API by Service and token": lambda: self._probe("allowed", lambda found: found == "200"),
            "RBAC refuses the rest": lambda: self._probe("forbidden", lambda found: found == "403"),
            "Service to another pod": lambda: self._probe("service", lambda found: found == "200"),
            "exec": self.exec,
            "port-forward": self.port_forward,
            "memory limit": self.oom,
        }


def expect(true: bool, answer: str, otherwise: str) -> str:
    if not true:
        raise Problem(otherwise.strip() or "nothing was said")
    return answer


def eventually(true: Callable[[], bool], answer: str, seconds: float = 15) -> str:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise Problem(f"not within {seconds:.0f} s: {answer}")
        time.sleep(0.2)
    return answer


def run(cluster: providers.Cluster) -> int:
    """Do all checks; print a table; 0 if all went well."""
    check = Check(cluster)
    failed = 0
    try:
        check.prepare()
        for name, action in check.checks().items():
            began = time.monotonic()
            try:
                mark, said = say.paint("32", "ok    "), action()
            except Problem as problem:
                mark, said = say.paint("31", "FAILED"), str(problem)
                failed += 1
            print(f"{mark}  {name:<26} {time.monotonic() - began:5.1f} s  {said}", flush=True)
    finally:
        check.clean()
    say.line(f"{failed} of {len(check.checks())} failed" if failed else "the cluster has what the product needs")
    return 1 if failed else 0
