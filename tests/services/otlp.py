"""A collector: takes spans by OTLP over HTTP, as `opentelemetry.proto` defines them, and keeps them.

    with collector() as found:
        …                          # OTEL_EXPORTER_OTLP_ENDPOINT is found.endpoint
        found.spans()

As a program it serves a cluster, and gives what it has received at `/received`; so only the decoding needs more than
the standard library.
"""

import base64
import gzip
import json
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PORT = 4318


@dataclass(frozen=True)
class Span:
    """As it arrived; ids in hex, times in nanoseconds since the epoch. `error` is the status' description."""

    trace: str
    id: str
    parent: str
    name: str
    service: str
    began: int
    ended: int
    attributes: dict[str, Any]
    error: str


class Collector(ThreadingHTTPServer):
    """While `answers` is not set, whoever sends waits."""

    daemon_threads = True

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        super().__init__((host, port), _Handler)
        self.bodies: list[bytes] = []
        self.answers = threading.Event()
        self.answers.set()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def spans(self) -> list[Span]:
        return decode(list(self.bodies))

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is no news."""


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def log_message(self, *_: object) -> None:
        """Nothing: it is all in `bodies`."""

    def do_GET(self) -> None:
        self._answer("application/json", json.dumps([base64.b64encode(body).decode() for body in self.server.bodies]))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path != "/v1/traces" or self.headers["Content-Type"] != "application/x-protobuf":
            self.send_error(404)
            return
        self.server.bodies.append(gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body)
        self.server.answers.wait()
        self._answer("application/x-protobuf", "")

    def _answer(self, kind: str, text: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())


@contextmanager
def collector() -> Iterator[Collector]:
    server = Collector()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.answers.set()
        server.shutdown()
        server.server_close()


def decode(bodies: Iterable[bytes]) -> list[Span]:
    """The spans of requests."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    found = []
    for body in bodies:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = _attributes(resource.resource.attributes)["service.name"]
            for scope in resource.scope_spans:
                found += [
                    Span(
                        trace=span.trace_id.hex(),
                        id=span.span_id.hex(),
                        parent=span.parent_span_id.hex(),
                        name=span.name,
                        service=service,
                        began=span.start_time_unix_nano,
                        ended=span.end_time_unix_nano,
                        attributes=_attributes(span.attributes),
                        error=span.status.message,
                    )
                    for span in scope.spans
                ]
    return found


def _attributes(pairs: Iterable[Any]) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


if __name__ == "__main__":
    Collector("0.0.0.0", PORT).serve_forever()
