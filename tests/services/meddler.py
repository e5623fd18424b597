"""What stands between a client and the S3 server and knows its operations: a request may be held, its answer lost, or
another answer given.

    with meddler(s3.port) as between:
        between.lose("CompleteMultipartUpload")         # done, but whoever asked for it never hears of it
        gate = between.hold("PutObject", "manifest")    # gate.reached.wait(…), then gate.release()

It stands in where a server that is made to fail at one request cannot be had; what it lets through is a real server's.
"""

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

PATIENCE = 120.0
"""Seconds after which a request that is held goes on by itself."""


@dataclass(frozen=True)
class Request:
    """`target` is path and query as sent."""

    method: str
    target: str

    @property
    def operation(self) -> str:
        """As S3's reference names it (docs.aws.amazon.com/AmazonS3/latest/API)."""
        query = parse_qs(urlsplit(self.target).query, keep_blank_values=True)
        multipart = {
            ("POST", "uploads"): "CreateMultipartUpload",
            ("GET", "uploads"): "ListMultipartUploads",
            ("PUT", "uploadId"): "UploadPart",
            ("POST", "uploadId"): "CompleteMultipartUpload",
            ("DELETE", "uploadId"): "AbortMultipartUpload",
            ("GET", "uploadId"): "ListParts",
        }
        found = (name for (method, key), name in multipart.items() if method == self.method and key in query)
        return next(found, f"{self.method.capitalize()}Object")


@dataclass(frozen=True)
class Answer:
    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    @staticmethod
    def error(status: int, code: str) -> "Answer":
        """As S3 writes an error."""
        body = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>-</Message></Error>'
        return Answer(status, (("Content-Type", "application/xml"),), body.encode())


Rule = Callable[[Request, Callable[[], Answer]], Answer | None]
"""Gets the request and what forwards it; gives the answer, or None to close the connection without one."""


@dataclass(frozen=True)
class Gate:
    """`reached`: a request waits here, and the server has not heard of it."""

    reached: threading.Event = field(default_factory=threading.Event)
    opened: threading.Event = field(default_factory=threading.Event)

    def release(self) -> None:
        self.opened.set()


class Meddler:
    """A proxy on a loopback port. A rule is for an operation on a target with a text in it, and acts `times` times."""

    def __init__(self, to: int) -> None:
        self._rules: list[tuple[str, str, Rule]] = []
        self._lock = threading.Lock()
        self.seen: list[str] = []
        """Operations, as they came."""
        outer = self

        class Handler(_Handler):
            meddler = outer
            server_port = to

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def serve(self) -> None:
        """Until `close`."""
        self._server.serve_forever(0.05)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def rule(self, operation: str, text: str, rule: Rule, times: int = 1) -> None:
        with self._lock:
            self._rules += [(operation, text, rule)] * times

    def lose(self, operation: str, text: str = "", times: int = 1) -> None:
        """The server does it, and nobody hears of it."""

        def lost(_request: Request, forward: Callable[[], Answer]) -> None:
            forward()

        self.rule(operation, text, lost, times)

    def answer(self, operation: str, status: int, code: str, text: str = "", times: int = 1) -> None:
        """The server never hears of it."""
        self.rule(operation, text, lambda _request, _forward: Answer.error(status, code), times)

    def hide(self) -> None:
        """What is absent may not be looked for from now on, as without s3:ListBucket."""

        def hidden(_request: Request, forward: Callable[[], Answer]) -> Answer:
            answer = forward()
            return Answer.error(403, "AccessDenied") if answer.status == http.HTTPStatus.NOT_FOUND else answer

        for operation in ("GetObject", "HeadObject"):
            self.rule(operation, "", hidden, 1_000)
        self.answer("ListMultipartUploads", 403, "AccessDenied", times=1_000)

    def hold(self, operation: str, text: str = "") -> Gate:
        """The next such request waits until the gate is opened."""
        gate = Gate()

        def held(_request: Request, forward: Callable[[], Answer]) -> Answer:
            gate.reached.set()
            gate.opened.wait(PATIENCE)
            return forward()

        self.rule(operation, text, held)
        return gate

    def take(self, request: Request) -> Rule | None:
        """The rule for this request, which is used up."""
        with self._lock:
            self.seen.append(request.operation)
            for at, (operation, text, rule) in enumerate(self._rules):
                if operation == request.operation and text in request.target:
                    del self._rules[at]
                    return rule
        return None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    meddler: Meddler
    server_port: int

    def handle_one_request(self) -> None:
        with suppress(OSError):
            super().handle_one_request()

    def _pass(self) -> None:
        request = Request(self.command, self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        rule = self.meddler.take(request)
        answer = rule(request, lambda: self._forward(body)) if rule else self._forward(body)
        if answer is None:
            self.close_connection = True
            return
        self.send_response_only(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass  # noqa: N815 - names of the base class

    def _forward(self, body: bytes) -> Answer:
        with closing(http.client.HTTPConnection("127.0.0.1", self.server_port, timeout=PATIENCE)) as server:
            server.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in {"connection", "expect"}:
                    server.putheader(name, value)
            server.endheaders(body)
            answer = server.getresponse()
            left_out = {"transfer-encoding", "connection", *(() if self.command == "HEAD" else ("content-length",))}
            headers = tuple(each for each in answer.getheaders() if each[0].lower() not in left_out)
            return Answer(answer.status, headers, answer.read())

    def log_message(self, *_arguments: object) -> None:
        """Nothing."""


@contextmanager
def meddler(port: int) -> Iterator[Meddler]:
    """A `Meddler` in front of a port of this machine."""
    made = Meddler(port)
    thread = threading.Thread(target=made.serve, name="meddler", daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.close()
        thread.join(5)
