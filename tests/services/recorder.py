"""An HTTP proxy in front of an S3 server that writes down what passes, and can damage or answer it.

    with recorder(s3.port) as wire:
        …                          # requests go to wire.endpoint
        wire.calls                 # what they were, with every header

It passes requests on as they are, so that their signatures hold, unless it is told to sign them itself.
"""

import http.client
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

_HOP = {"connection", "expect", "keep-alive"}
"""Headers between two neighbours; `expect` is answered here."""


@dataclass(frozen=True)
class Call:
    """A request. Names of headers are lower case; `body` is as it was sent."""

    method: str
    target: str
    """Path and query, as they were written."""
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    @property
    def operation(self) -> str:
        """What S3's reference calls it."""
        of_upload, names = "uploadId" in self.query, {"GET": "GetObject", "HEAD": "HeadObject"}
        if "uploads" in self.query:
            return "CreateMultipartUpload" if self.method == "POST" else "ListMultipartUploads"
        if self.method == "POST":
            return "CompleteMultipartUpload" if of_upload else "Post"
        if self.method == "PUT":
            return "UploadPart" if of_upload else "PutObject"
        if self.method == "DELETE":
            return "AbortMultipartUpload" if of_upload else "DeleteObject"
        return "ListParts" if of_upload else names[self.method]


@dataclass(frozen=True)
class Answer:
    """Instead of the server's."""

    status: int
    body: bytes = b""

    @staticmethod
    def error(status: int, code: str, message: str) -> "Answer":
        """As S3 writes one."""
        text = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'
        return Answer(status, text.encode())


class Recorder(ThreadingHTTPServer):
    """`answer` may answer a call itself, `damage` may change the bytes of its body, `sign` may give other headers."""

    daemon_threads = True

    def __init__(
        self,
        port: int,
        answer: Callable[[Call], Answer | None],
        damage: Callable[[Call], bytes],
        sign: Callable[[Call], Mapping[str, str]],
        tls: tuple[Path, Path] | None,
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.to = port
        self.answer = answer
        self.damage = damage
        self.sign = sign
        self.calls: list[Call] = []
        self.scheme = "https" if tls else "http"
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self.socket = context.wrap_socket(self.socket, server_side=True)

    @property
    def endpoint(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server_port}"

    def of(self, operation: str) -> list[Call]:
        return [each for each in self.calls if each.operation == operation]

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Recorder

    def log_message(self, *_: object) -> None:
        """Nothing: it is all in `calls`."""

    def _serve(self) -> None:
        place = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(place.query, keep_blank_values=True).items()}
        headers = {name.lower(): value for name, value in self.headers.items()}
        call = Call(self.command, self.path, place.path, query, headers, self._body())
        self.server.calls.append(call)
        answer = self.server.answer(call)
        if answer is None:
            self._forward(call)
        else:
            self.send_response(answer.status)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _serve  # noqa: N815 - as http.server calls them

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        pieces = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(pieces)

    def _forward(self, call: Call) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.to, timeout=60)
        body = self.server.damage(call)
        try:
            connection.putrequest(call.method, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.server.sign(call).items():
                if name.lower() not in _HOP | {"transfer-encoding"}:
                    connection.putheader(name, value)
            if "content-length" not in call.headers:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            data = answer.read()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in _HOP | {"transfer-encoding", "content-length", "date", "server"}:
                    self.send_header(name, value)
            length = answer.getheader("Content-Length") if call.method == "HEAD" else str(len(data))
            self.send_header("Content-Length", length or "0")
            self.end_headers()
            self.wfile.write(data)
        finally:
            connection.close()


@contextmanager
def recorder(
    port: int = 0,
    *,
    answer: Callable[[Call], Answer | None] = lambda _: None,
    damage: Callable[[Call], bytes] = lambda call: call.body,
    sign: Callable[[Call], Mapping[str, str]] = lambda call: call.headers,
    tls: tuple[Path, Path] | None = None,
) -> Iterator[Recorder]:
    """A `Recorder` in front of a port of this machine; `port` 0: it answers everything itself."""
    made = Recorder(port, answer, damage, sign, tls)
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.shutdown()
        with suppress(OSError):
            made.server_close()
        thread.join(5)
