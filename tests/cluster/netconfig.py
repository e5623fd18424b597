"""How this machine reaches the network, handed to image builds: its certificates, package indexes and proxies.

Everything is mounted for the build alone and lands in no layer. Addresses of indexes may hold a password, so the files
are readable by us only and are removed with the directory they are in.
"""

import json
import os
import sys
from pathlib import Path

from tests.cluster import apt, shell

CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
"""Where Debian keeps them: the bundle alone is mounted, as a read-only directory breaks package scripts."""
APT_OPTIONS = ("Acquire::Check-", "Acquire::http", "Acquire::ftp", "Acquire::Retries")
"""Of apt's settings here, those that say how to reach a mirror and what to believe it."""


def certificates() -> Path | None:
    """This machine's bundle of certificates, where it is not the usual one or may hold more than the usual."""
    found = Path(os.environ.get("SSL_CERT_FILE") or CERTIFICATES)
    return found if found.is_file() else None


def python_index() -> str:
    """The package index that pip or uv is told to use here; "" is the public one."""
    for variable in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL"):
        if value := os.environ.get(variable):
            return value
    for python in (sys.executable, "python3"):
        asked = shell.run([python, "-m", "pip", "config", "get", "global.index-url"], check=False)
        if asked.returncode == 0:
            return asked.stdout.strip()
    return ""


def uv_settings(index: str) -> str:
    """A uv.toml: the machine's certificates, and its index."""
    lines = ["system-certs = true"]
    if index:
        lines += ["[[index]]", f"url = {json.dumps(index)}", "default = true"]
    return "\n".join(lines) + "\n"


def apt_options() -> list[str]:
    """apt's settings that matter here, as lines of its configuration."""
    if not apt.find("apt-config"):
        return []
    lines = shell.run(["apt-config", "dump"], check=False).stdout.splitlines()
    return [line for line in lines if line.startswith(APT_OPTIONS) and not line.endswith('"";')]


def debian_mirror() -> str:
    """The mirror that apt uses here; "" where it cannot be told, or is not Debian's."""
    try:
        for line in Path("/etc/apt/sources.list.d/debian.sources").read_text().splitlines():
            if line.startswith("URIs:"):
                return line.split()[1]
    except OSError:
        pass
    return ""


def mounts(directory: Path) -> dict[Path, str]:
    """Files for a build, written into `directory`: where they are, and where the build shall see them."""
    found: dict[Path, str] = {}
    if bundle := certificates():
        found[bundle] = CERTIFICATES
    written = {
        "uv.toml": ("/etc/uv/uv.toml", uv_settings(python_index())),
        "apt.conf": ("/etc/apt/apt.conf.d/99-build-machine", "".join(f"{line}\n" for line in apt_options())),
    }
    for name, (place, text) in written.items():
        (directory / name).write_text(text)
        (directory / name).chmod(0o600 if "@" in text else 0o644)
        found[directory / name] = place
    return found
