"""One message by apprise, in a process of its own: `python -m export_operator.adapters.notify.child`.

apprise's plug-ins block, and read whatever a receiver answers. Here they can be ended at any moment, have memory of
their own that is bounded, and connect to no address that is not permitted, wherever a redirect or a name leads. The
task is JSON on stdin, for it is secret; what came of it is JSON on stdout.
"""

from __future__ import annotations

import json
import re
import resource
import sys
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote

from export_operator.domain.addresses import refusal

MEMORY = 192 * 1024 * 1024  # bytes of data, about three times what a message takes
FILES = 1024 * 1024  # bytes of a file
SOCKET_SECONDS = 10.0
LEAST_SECRET = 4  # characters of a part of a URL that is struck out of errors
FORBIDDEN = frozenset({"subprocess.Popen", "os.system", "os.exec", "os.fork", "os.posix_spawn", "pty.spawn"})


def main() -> None:
    """Raises what json and resource do: the parent knows then that nothing was delivered."""
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILES, FILES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    task = json.load(sys.stdin)
    sys.stdout.write(json.dumps({"problem": _deliver(task)}))


def _deliver(task: dict[str, Any]) -> str:
    """What went wrong; "" when it was taken."""
    import socket

    import apprise

    socket.setdefaulttimeout(SOCKET_SECONDS)
    asset = apprise.AppriseAsset(
        app_id="export-operator",
        app_desc="export-operator",
        app_url="",
        async_mode=False,
        http_redirects=False,
        plugin_paths=[],
        secure_logging=True,
        storage_mode=apprise.PersistentStoreMode.MEMORY,
    )
    messenger = apprise.Apprise(asset=asset)
    if not messenger.add(task["url"]):
        return "the Secret's url is none that apprise knows"
    refusals: list[str] = []
    sys.addaudithook(_guard(task["networks"], refusals))
    result = messenger.notify(
        title=task["title"], body=task["body"], body_format=apprise.NotifyFormat.TEXT, notify_type=task["type"]
    )
    if result:
        return ""
    if refusals:
        return refusals[0]
    told = [entry.message for each in result for entry in each.logs() if entry.level in {"WARNING", "ERROR"}]
    return _without(task["url"], "; ".join(told)) or "apprise could not deliver it"


def _guard(networks: Sequence[str], refusals: list[str]) -> Any:
    """An audit hook: CPython asks it before each connect, with the address itself."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in FORBIDDEN:
            raise PermissionError(f"{event} is not allowed here")
        if event in {"socket.connect", "socket.sendto", "socket.sendmsg"}:
            address = arguments[1]
            where = str(address[0]) if isinstance(address, tuple) else "a local socket"
            if problem := refusal(where, networks):
                refusals.append(problem)
                raise PermissionError(problem)

    return hook


def _without(url: str, text: str) -> str:
    """The text without any part of the URL: passwords and tokens stand anywhere in it."""
    parts = {form for part in re.split(r"[/:@?&=+,;#]", url.partition("://")[2]) for form in (part, unquote(part))}
    for part in sorted(parts, key=len, reverse=True):
        if len(part) >= LEAST_SECRET:
            text = text.replace(part, "***")
    return text


if __name__ == "__main__":
    main()
