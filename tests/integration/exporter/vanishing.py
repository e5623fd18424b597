"""A way to a server that goes away for good at the first request that names something."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Vanishing:
    """A proxy on a loopback port. It looks at what clients send; the request that it waits for reaches nobody."""

    def __init__(self, host: str, port: int, at: bytes) -> None:
        self._server = (host, port)
        self._at = at
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
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=self._pass, args=(*pair, pair[0] is client), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, looks: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if looks and self._at in data:
                    self.close()
                    return
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)


@contextmanager
def vanishing(host: str, port: int, at: bytes) -> Iterator[Vanishing]:
    proxy = Vanishing(host, port, at)
    try:
        yield proxy
    finally:
        proxy.close()
