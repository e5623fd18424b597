"""The distribution's Prometheus and Alertmanager as processes of this machine, and a receiver of alerts."""

import json
import os
import threading
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import yaml
from kubernetes import client, config

from tests.cluster import apt
from tests.services.processes import Server, as_user, free_port

Json = dict[str, Any]
LOOPBACK = {"NO_PROXY": "*", "no_proxy": "*"}


def program(package: str, name: str) -> Path:
    """A program of a package of the distribution."""
    return apt.unpacked(package) / "usr" / "bin" / name


def at_home(package: str) -> list[str | Path]:
    """A prefix for a command line: the package's own /usr/share lies over the system's, for this process alone."""
    overlay = 'mount -t overlay overlay -o "lowerdir=$0:/usr/share" /usr/share && exec "$@"'
    root = [] if os.geteuid() == 0 else ["--map-root-user"]
    return ["unshare", "--mount", *root, "sh", "-c", overlay, apt.unpacked(package) / "usr" / "share"]


def get(url: str) -> Any:
    """What a server of this machine answers, as JSON if it is that."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=10) as answer:
        return json.loads(answer.read() or b"null")


class _Served(Server):
    """`/-/ready` says whether it serves."""

    def environment(self) -> Mapping[str, str]:
        return LOOPBACK

    def ready(self) -> bool:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"http://127.0.0.1:{self.port}/-/ready", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


class Alertmanager(_Served):
    """Sends every alert, and its end, to `receiver` at once."""

    def __init__(self, directory: Path, receiver: str) -> None:
        super().__init__("alertmanager", directory / "alertmanager.log")
        self._directory = directory
        route = {"receiver": "test", "group_by": ["..."], "group_wait": "0s", "group_interval": "1s"}
        hook = {"url": receiver, "send_resolved": True}
        document = {"route": route, "receivers": [{"name": "test", "webhook_configs": [hook]}]}
        (directory / "alertmanager.yml").write_text(yaml.safe_dump(document))

    def command(self) -> Sequence[str | Path]:
        return [
            *as_user(""),
            *at_home("prometheus-alertmanager"),  # it reads its own template from there, whatever it is told
            program("prometheus-alertmanager", "prometheus-alertmanager"),
            f"--config.file={self._directory / 'alertmanager.yml'}",
            f"--storage.path={self._directory / 'alertmanager'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--cluster.listen-address=",
        ]


class Prometheus(_Served):
    """Scrapes pods each second, by the API server's proxy, as any cluster allows it. The distribution's knows nothing
    of Kubernetes: `pods` is asked each second for those that there are; each has the labels that a PodMonitor gives."""

    def __init__(
        self, directory: Path, kubeconfig: Path, rules: Path, alertmanager: int, pods: Callable[[], list[Json]]
    ) -> None:
        super().__init__("prometheus", directory / "prometheus.log")
        self._directory = directory
        self._targets = directory / "targets.json"
        self._pods = pods
        self._over = threading.Event()
        self._watching = threading.Thread(target=self._watch, daemon=True)
        found = client.Configuration()
        config.load_kube_config(str(kubeconfig), client_configuration=found)
        self._server = urlsplit(found.host).netloc
        every = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
        document = {
            "global": every,
            "rule_files": [str(rules)],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{alertmanager}"]}]}]},
            "scrape_configs": [_scrape(found, self._targets)],
        }
        (directory / "prometheus.yml").write_text(yaml.safe_dump(document))

    def start(self, seconds: float = 30) -> None:
        self._watching.start()
        super().start(seconds)

    def stop(self, seconds: float = 10) -> None:
        self._over.set()
        super().stop(seconds)

    def _watch(self) -> None:
        while not self._over.wait(1):
            with suppress(Exception):  # an API server that does not answer is asked again
                found = json.dumps([_target(self._server, pod) for pod in self._pods()])
                fresh = self._targets.with_suffix(".new")
                fresh.write_text(found)
                fresh.replace(self._targets)

    def command(self) -> Sequence[str | Path]:
        return [
            *as_user(""),
            program("prometheus", "prometheus"),
            f"--config.file={self._directory / 'prometheus.yml'}",
            f"--storage.tsdb.path={self._directory / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
        ]

    def query(self, expression: str) -> list[Json]:
        """The samples that it gives now."""
        answer = get(f"http://127.0.0.1:{self.port}/api/v1/query?query={quote(expression)}")
        assert answer["status"] == "success", answer
        found: list[Json] = answer["data"]["result"]
        return found


def _target(server: str, pod: Json) -> Json:
    metadata = pod["metadata"]
    page = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}:8080/proxy/metrics"
    labels = {"pod": metadata["name"], "instance": pod["status"].get("podIP", ""), "__metrics_path__": page}
    return {"targets": [server], "labels": labels}


def _scrape(found: client.Configuration, targets: Path) -> Json:
    token = next(iter(found.api_key.values()), "").removeprefix("Bearer ")
    tls = {"ca_file": found.ssl_ca_cert}
    if found.cert_file:
        tls |= {"cert_file": found.cert_file, "key_file": found.key_file}
    return {
        "job_name": "export-operator",
        "scheme": "https",
        "tls_config": tls,
        **({"authorization": {"credentials": token}} if token else {}),
        "file_sd_configs": [{"files": [str(targets)]}],
    }


@dataclass
class Receiver:
    """What Alertmanager has sent."""

    alerts: list[Json] = field(default_factory=list)

    def last(self, alert: str, /, **labels: str) -> str:
        """`firing` or `resolved`: what was last told of an alert; "" before anything was."""
        wanted = {"alertname": alert, **labels}
        found = [each["status"] for each in self.alerts if wanted.items() <= each["labels"].items()]
        return found[-1] if found else ""


@contextmanager
def receiver() -> Iterator[tuple[Receiver, str]]:
    """It, and its address."""
    got = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.alerts.extend(json.loads(body)["alerts"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", free_port()), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield got, f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
