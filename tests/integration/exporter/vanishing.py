"""Ways to a server that break at the first request that names something: for good, or before its answer comes."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Vanishing:
    """A proxy on a loopback port. It looks at what clients send; the request that it waits for reaches nobody, or, with
    `answer`, the server, of whose answer the client gets so many bytes. All goes well again after that."""

    def __init__(self, host: str, port: int, at: bytes, answer: int | None = None) -> None:
        self._server = (host, port)
        self._at = at
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = [self._listener]
        self._lock = threading.Lock()
        self.gone = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        """Refuses whoever comes, and leaves whoever is there."""
        with self._lock:
            self.gone.set()
            for each in self._open:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
                each.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._server)
                with self._lock:
                    self._open += [client, server]
                cut = threading.Event()
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=self._pass, args=(*pair, pair[0] is client, cut), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, looks: bool, cut: threading.Event) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if looks and self._at in data and not self.gone.is_set():
                    if self._answer is None:
                        self.close()
                        return
                    self.gone.set()
                    cut.set()
                if not looks and cut.is_set():
                    target.sendall(data[: self._answer])
                    break
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)


@contextmanager
def vanishing(host: str, port: int, at: bytes, answer: int | None = None) -> Iterator[Vanishing]:
    proxy = Vanishing(host, port, at, answer)
    try:
        yield proxy
    finally:
        proxy.close()
