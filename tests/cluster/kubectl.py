"""kubectl, pointed at the cluster: what the demo and the tests do from outside goes through it."""

import re
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cluster import providers, shell, tools
from tests.cluster.local.provider import Local
from tests.cluster.problem import Problem


class Kubectl:
    """kubectl in one namespace of one cluster."""

    def __init__(self, cluster: providers.Cluster, namespace: str) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self._env = providers.environment(cluster)

    def command(self, *args: str | Path) -> list[str | Path]:
        return [tools.path("kubectl"), "--namespace", self.namespace, *args]

    def run(self, *args: str | Path, stdin: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
        return shell.run(self.command(*args), env=self._env, stdin=stdin, check=check)

    def output(self, *args: str | Path, stdin: str = "") -> str:
        """What kubectl wrote to standard output, stripped."""
        return self.run(*args, stdin=stdin).stdout.strip()

    def apply(self, manifest: str) -> None:
        self.run("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=manifest)

    def rolled_out(self, deployment: str, seconds: int = 120) -> None:
        """Wait for a deployment; if it does not come, say what its pods say."""
        wait = self.run("rollout", "status", f"deployment/{deployment}", f"--timeout={seconds}s", check=False)
        if wait.returncode:
            pods = self.run("describe", "pods", "--selector", f"app={deployment}", check=False).stdout
            logs = self.run("logs", f"deployment/{deployment}", "--tail=20", check=False).stdout
            tail = "\n".join(pods.splitlines()[-15:])
            raise Problem(f"{deployment} in {self.namespace} did not become ready:\n{tail}\n{logs}")

    @contextmanager
    def reached(self, service: str, port: int) -> Iterator[tuple[str, int]]:
        """Host and port that lead to a Service while the block runs. Where this machine is the node they are its own: a
        forwarded port ends with the kubelet and with the API server."""
        if isinstance(self.cluster, Local):
            host = self.output("get", "service", service, "--output", "jsonpath={.spec.clusterIP}")
            _await_rules(host, port)
            yield host, port
            return
        with self.forwarded(f"service/{service}", port) as found:
            yield "127.0.0.1", found

    @contextmanager
    def forwarded(self, target: str, port: int) -> Iterator[int]:
        """A loopback port that leads to `target` (such as service/s3) while the block runs."""
        command = [str(each) for each in self.command("port-forward", target, f":{port}")]
        env = shell.environment(self._env)
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, text=True) as process:
            try:
                assert process.stdout
                assert process.stderr
                found = re.search(r"127\.0\.0\.1:(\d+)", process.stdout.readline())
                if not found:
                    raise Problem(f"port-forward to {target} failed: {process.stderr.read().strip()}")
                yield int(found[1])
            finally:
                process.terminate()


def _await_rules(host: str, port: int, seconds: float = 30) -> None:
    """Until kube-proxy has written where this leads, which takes it a moment (a second on Kubernetes 1.30)."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection((host, port), timeout=5).close()
        except OSError as error:
            if time.monotonic() > deadline:
                raise Problem(f"{host}:{port} is not reached within {seconds:.0f} s: {error}") from error
            time.sleep(0.1)
        else:
            return
