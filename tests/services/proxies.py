"""What stands between the exporter and its servers to break the connection: Toxiproxy, and a proxy that flips bits.

    with toxiproxy() as proxies, proxies.to(postgres.port) as link:
        link.add("timeout", timeout=0)      # no byte passes any more
        link.heal()

Toxics: github.com/Shopify/toxiproxy#toxics. Its HTTP API takes three calls, so it needs no client library. It has no
toxic that changes bytes: `Corrupter` does.
"""

import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tests.cluster import tools
from tests.cluster.problem import Problem
from tests.services.processes import Server, as_user, workplace

Stream = Literal["upstream", "downstream"]
"""As Toxiproxy calls it: `upstream` is what the client sends, `downstream` what the server answers."""


class Toxiproxy(Server):
    """One process for all links. Ends with us."""

    def __init__(self, directory: Path) -> None:
        super().__init__("toxiproxy", directory / "toxiproxy.log")
        self._program = tools.path("toxiproxy")
        self._made = 0
        self.start()

    def command(self) -> Sequence[str | Path]:
        return [*as_user(""), self._program, "-host", self.host, "-port", str(self.port)]

    def ready(self) -> bool:
        try:
            self.call("GET", "/version")
        except (OSError, http.client.HTTPException, Problem):
            return False
        return True

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """The answer's document; None when it has none."""
        with closing(http.client.HTTPConnection(self.host, self.port, timeout=10)) as connection:
            try:
                connection.request(method, path, json.dumps(body) if body is not None else None)
            except ConnectionRefusedError:
                raise self.problem() from None
            answer = connection.getresponse()
            text = answer.read()
            assert answer.status < 300, f"toxiproxy answers {method} {path} with {answer.status}: {text!r}"
            return json.loads(text) if text.startswith((b"{", b"[")) else None

    @contextmanager
    def to(self, port: int) -> Iterator["Link"]:
        """A link to a port of this machine."""
        self._made += 1
        name = f"link-{self._made}"
        made = self.call(
            "POST", "/proxies", {"name": name, "listen": f"{self.host}:0", "upstream": f"{self.host}:{port}"}
        )
        try:
            yield Link(self, name, int(made["listen"].rpartition(":")[2]))
        finally:
            self.call("DELETE", f"/proxies/{name}")


@dataclass(frozen=True)
class Link:
    """A port that leads to another one, and what is wrong with it."""

    proxies: Toxiproxy
    name: str
    port: int

    def add(self, kind: str, stream: Stream = "downstream", **attributes: int) -> None:
        """A toxic: for connections that are open as well as for new ones."""
        toxic = {"type": kind, "stream": stream, "attributes": attributes}
        self.proxies.call("POST", f"/proxies/{self.name}/toxics", toxic)

    def heal(self) -> None:
        """Takes all toxics away, and lets connections in again."""
        for toxic in self.proxies.call("GET", f"/proxies/{self.name}/toxics"):
            self.proxies.call("DELETE", f"/proxies/{self.name}/toxics/{toxic['name']}")
        self._enable(True)

    def cut(self) -> None:
        """Closes every connection; new ones are refused until `heal`."""
        self._enable(False)

    def _enable(self, enabled: bool) -> None:
        self.proxies.call("POST", f"/proxies/{self.name}", {"enabled": enabled})


@contextmanager
def toxiproxy() -> Iterator[Toxiproxy]:
    """Toxiproxy, built from its Go module when it is first asked for."""
    with workplace("toxiproxy") as directory:
        server = Toxiproxy(directory)
        try:
            yield server
        finally:
            server.stop()


class Corrupter:
    """A TCP proxy that changes bytes of `stream`, where `find` says, or when `flip` asks for it. `passed` counts bytes.

    `find` gets a piece of the stream and where it begins; it gives the index of the byte in it, or -1. What it finds
    has its lowest bit flipped, at most `times` times in all.
    """

    host = "127.0.0.1"

    def __init__(self, port: int, stream: Stream, find: Callable[[bytes, int], int], times: int) -> None:
        self._to = port
        self._stream = stream
        self._find = find
        self._left = times
        self.passed = 0
        self._lock = threading.Lock()
        self._listener = socket.create_server((self.host, 0))
        self.port: int = self._listener.getsockname()[1]

    def serve(self) -> None:
        """Until the listener is closed."""
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection((self.host, self._to))
                except OSError:  # nobody is there now; the next client may find somebody
                    client.close()
                    continue
                for stream, source, sink in (("upstream", client, server), ("downstream", server, client)):
                    threading.Thread(target=self._pass, args=(stream, source, sink), daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def flip(self, share: float) -> None:
        """Changes one byte of the piece that comes next: the one behind so large a share of it (0 to less than 1)."""
        with self._lock:
            self._find, self._left = (lambda piece, _begun: int(share * len(piece))), 1

    def _pass(self, stream: str, source: socket.socket, sink: socket.socket) -> None:
        begun = 0
        with suppress(OSError):
            while piece := source.recv(65_536):
                if stream == self._stream:
                    self.passed += len(piece)
                    if (at := self._find(piece, begun)) >= 0 and self._take():
                        piece = piece[:at] + bytes([piece[at] ^ 1]) + piece[at + 1 :]
                begun += len(piece)
                sink.sendall(piece)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            if stream == "downstream":
                end.close()

    def _take(self) -> bool:
        with self._lock:
            if self._left <= 0:
                return False
            self._left -= 1
            return True


@contextmanager
def corrupter(
    port: int, stream: Stream, find: Callable[[bytes, int], int] = lambda _piece, _begun: -1, times: int = 1
) -> Iterator[Corrupter]:
    """A `Corrupter` in front of a port of this machine."""
    made = Corrupter(port, stream, find, times)
    thread = threading.Thread(target=made.serve, name="corrupter", daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.close()
        thread.join(5)
