"""A certificate authority for tests, by openssl."""

from pathlib import Path

from tests.cluster import shell

_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]


class Authority:
    """Issues certificates for servers; `certificate` is what clients trust."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.certificate = directory / "ca.crt"
        made = ["-x509", *_KEY, "-days", "30", "-subj", "/CN=authority of the tests"]
        shell.run(["openssl", "req", *made, "-keyout", directory / "ca.key", "-out", self.certificate])

    def issue(self, name: str, names: str) -> tuple[Path, Path]:
        """Certificate and key for `names`, as subjectAltName has them: `DNS:localhost,IP:127.0.0.1`."""
        key, request, certificate, extensions = (
            self._directory / f"{name}.{suffix}" for suffix in ("key", "csr", "crt", "ext")
        )
        extensions.write_text(f"subjectAltName={names}")
        shell.run(["openssl", "req", *_KEY, "-subj", f"/CN={name}", "-keyout", key, "-out", request])
        authority: list[str | Path] = ["-CA", self.certificate, "-CAkey", self._directory / "ca.key", "-CAcreateserial"]
        shell.run(
            [
                "openssl",
                "x509",
                "-req",
                "-in",
                request,
                *authority,
                "-days",
                "30",
                "-extfile",
                extensions,
                "-out",
                certificate,
            ]
        )
        return certificate, key
