"""PostgreSQL and the S3 server as processes on this machine, for tests that need no cluster.

    with host.postgres_server() as postgres, host.s3_server(tmp_path) as s3:
        psycopg.connect(postgres.dsn) …
        postgres.kill(); postgres.start()       # and whatever else a test does to it

Each listens on a free loopback port, which it keeps over restarts, and ends with the process that started it.
"""

import http.client
import json
import re
import secrets
import shutil
import signal
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from tests.cluster import apt, shell, tools
from tests.cluster.problem import Problem
from tests.services.data import reader_sql
from tests.services.processes import Server, as_user, unprivileged, workplace

SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "jit": "off",
    "max_connections": "100",
    "max_wal_senders": "0",
    "max_wal_size": "4GB",
    "synchronous_commit": "off",
    "timezone": "UTC",
    "wal_level": "minimal",
}
"""Nothing here outlives the tests, so nothing needs to survive a power cut."""
REPLICATED = {"max_wal_senders": "4", "wal_level": "replica"}
"""What a primary and its standby need beside."""


def binaries() -> Path:
    """The directory of the newest PostgreSQL server that the distribution has put here; installed if there is none."""
    found = _newest(Path("/usr/lib/postgresql"))
    if not found and not apt.find("initdb"):
        apt.need({"pg_ctlcluster": "postgresql"})  # the package's own wrapper is on PATH, the server is not
        found = _newest(Path("/usr/lib/postgresql"))
    if found:
        return found
    program = apt.find("initdb")
    if not program:
        raise Problem("no PostgreSQL server is installed here (initdb is not found)")
    return program.resolve().parent


def _newest(root: Path) -> Path | None:
    versions = [each for each in root.glob("*/bin") if (each / "initdb").exists()]
    return max(versions, key=lambda each: [int(part) for part in re.findall(r"\d+", each.parent.name)], default=None)


class PostgresServer(Server):
    """A PostgreSQL server with one superuser, one role that may read, and one database, reached by password alone."""

    user = "postgres"
    reader = "reader"
    database = "app"
    stop_signal = signal.SIGINT  # "fast": clients are disconnected

    def __init__(self, directory: Path, settings: Mapping[str, str], *, tls: bool) -> None:
        super().__init__("PostgreSQL", directory / "server.log")
        self.password = secrets.token_urlsafe(18)
        self.reader_password = secrets.token_urlsafe(18)
        self.version = 0
        self._directory = directory
        self._data = directory / "data"
        self._owner = unprivileged()
        self._binaries = binaries()
        self._settings = {**SETTINGS, **settings, **(self._tls() if tls else {})}
        self._initialise()

    @property
    def certificate(self) -> Path:
        """What a client trusts, of a server with TLS: sslrootcert."""
        return self._directory / "server.crt"

    @property
    def dsn(self) -> str:
        return f"postgresql://{self.user}:{quote(self.password, safe='')}@{self.host}:{self.port}/{self.database}"

    def _as_owner(self, *command: str | Path, env: Mapping[str, str] | None = None) -> None:
        shell.run([*as_user(self._owner), *command], cwd=Path("/"), env=env)

    def _tls(self) -> dict[str, str]:
        """A certificate of its own for the loopback address."""
        key = self._directory / "server.key"
        made = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"]
        names = ["-subj", "/CN=postgres", "-addext", "subjectAltName=IP:127.0.0.1"]
        shell.run(["openssl", "req", *made, *names, "-keyout", key, "-out", self.certificate])
        key.chmod(0o600)
        self._own(key)
        return {"ssl": "on", "ssl_cert_file": str(self.certificate), "ssl_key_file": str(key)}

    def _own(self, path: Path) -> None:
        if self._owner:
            shutil.chown(path, self._owner)

    def _initialise(self) -> None:
        self._own(self._directory)
        passwords = self._directory / "password"
        passwords.write_text(self.password)
        passwords.chmod(0o600)
        self._own(passwords)
        identity: list[str | Path] = ["--username", self.user, "--pwfile", passwords, "--auth", "scram-sha-256"]
        shape = ["--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync"]
        self._as_owner(self._binaries / "initdb", "--pgdata", self._data, *identity, *shape)
        passwords.unlink()
        self.start()
        self.psql(f"CREATE DATABASE {self.database}", "--dbname", "postgres")
        self.psql(reader_sql(self.reader, self.reader_password))

    def command(self) -> Sequence[str | Path]:
        fixed = {"listen_addresses": self.host, "port": str(self.port), "unix_socket_directories": ""}
        options = [f"--{key}={value}" for key, value in {**self._settings, **fixed}.items()]
        # SIGQUIT is "immediate": the server takes its own children along and leaves no shared memory behind.
        return [*as_user(self._owner, death="QUIT"), self._binaries / "postgres", "-D", self._data, *options]

    def ready(self) -> bool:
        probe = ["--quiet", "--host", self.host, "--port", str(self.port), "--timeout", "1"]
        return shell.run([self._binaries / "pg_isready", *probe], check=False).returncode == 0

    def client(self) -> dict[str, str]:
        """libpq's variables for a client that is the superuser."""
        return {
            "PGHOST": self.host,
            "PGPORT": str(self.port),
            "PGUSER": self.user,
            "PGPASSWORD": self.password,
            "PGDATABASE": self.database,
            "PGCLIENTENCODING": "UTF8",
        }

    def psql(self, sql: str, *options: str) -> str:
        """Run SQL as the superuser; what it printed, unaligned and without headings."""
        quiet = ["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", *options]
        return shell.run([self._binaries / "psql", *quiet], env=self.client(), stdin=sql).stdout.strip()

    def pgbench(self, scale: int = 10) -> None:
        """pgbench's tables: 100,000 accounts times `scale`."""
        shell.run([self._binaries / "pgbench", "--quiet", "-i", "-s", str(scale)], env=self.client())


class PostgresStandby(PostgresServer):
    """A hot standby that streams from a primary. Whoever reads in the way of what it replays is cancelled at once."""

    def __init__(self, directory: Path, primary: PostgresServer) -> None:
        self.primary = primary
        at_once = {"hot_standby_feedback": "off", "max_standby_streaming_delay": "0"}
        super().__init__(directory, {**REPLICATED, **at_once}, tls=False)

    def _initialise(self) -> None:
        self._own(self._directory)
        self.password, self.reader_password = self.primary.password, self.primary.reader_password
        how = ["--checkpoint", "fast", "--no-sync", "--write-recovery-conf"]
        self._as_owner(self._binaries / "pg_basebackup", "--pgdata", self._data, *how, env=self.primary.client())
        self.start()


@contextmanager
def postgres_standby() -> Iterator[PostgresStandby]:
    """A primary of its own and its hot standby."""
    with postgres_server(settings=REPLICATED) as primary, workplace("standby") as directory:
        server = PostgresStandby(directory, primary)
        try:
            yield server
        finally:
            server.stop()


@contextmanager
def postgres_server(
    directory: Path | None = None, *, settings: Mapping[str, str] | None = None, tls: bool = False
) -> Iterator[PostgresServer]:
    """A PostgreSQL server. `settings` go over the usual ones.

    `directory` keeps the data for a look afterwards; when we are root it must be one that others may enter, and
    pytest's own are not, so by default a new one is made and removed.
    """
    with workplace("postgres") as temporary:
        place = directory or temporary
        place.mkdir(parents=True, exist_ok=True)
        server = PostgresServer(place, settings or {}, tls=tls)
        try:
            yield server
        finally:
            server.stop()


class S3Server(Server):
    """versitygw on a directory. A bucket is a directory in it."""

    region = "us-east-1"

    def __init__(
        self,
        directory: Path,
        tls: tuple[Path, Path] | None = None,
        *,
        users: bool = False,
        batch: bool = False,
        options: Sequence[str] = (),
    ) -> None:
        super().__init__("versitygw", directory / "server.log")
        self.access_key = f"test{secrets.token_hex(8)}"
        self.secret_key = secrets.token_urlsafe(30)
        self.writer_secret_key = secrets.token_urlsafe(30)
        """Of the user `writer`, who may do what a bucket's policy lets him; there is one on a server with `users`."""
        self.data = directory / "data"
        self.data.mkdir(parents=True, exist_ok=True)
        self._program = tools.path("versitygw")
        self._tls = tls
        self._options = options
        self._scheduled = ["chrt", "--batch", "0"] if batch else []
        self._users = directory / "users" if users else None
        if self._users:
            self._users.mkdir()
            writer = {"access": "writer", "secret": self.writer_secret_key, "role": "user"}
            (self._users / "users.json").write_text(json.dumps({"accessAccounts": {"writer": writer}}))
        self.start()

    @property
    def endpoint(self) -> str:
        return f"{'https' if self._tls else 'http'}://{self.host}:{self.port}"

    def create_bucket(self, name: str) -> None:
        """What CreateBucket does, without a client."""
        (self.data / name).mkdir(exist_ok=True)

    def command(self) -> Sequence[str | Path]:
        listen = ["--port", f"{self.host}:{self.port}", "--region", self.region, "--health", "/healthz"]
        if self._tls:
            listen += ["--cert", str(self._tls[0]), "--key", str(self._tls[1])]
        if self._users:
            listen += ["--iam-dir", str(self._users)]
        serve = [str(self._program), *listen, "--keep-alive", "--quiet", "posix", *self._options, str(self.data)]
        return [*as_user(""), *self._scheduled, *serve]

    def environment(self) -> Mapping[str, str]:
        return {"ROOT_ACCESS_KEY": self.access_key, "ROOT_SECRET_KEY": self.secret_key}

    def ready(self) -> bool:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=2)
        if self._tls:  # whom to trust is the tests' business
            trust = ssl._create_unverified_context()  # noqa: S323
            connection = http.client.HTTPSConnection(self.host, self.port, timeout=2, context=trust)
        try:
            connection.request("GET", "/healthz")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


@contextmanager
def s3_server(
    directory: Path | None = None,
    *,
    tls: tuple[Path, Path] | None = None,
    users: bool = False,
    batch: bool = False,
    options: Sequence[str] = (),
) -> Iterator[S3Server]:
    """An S3 server on `directory`, or on one that is made and removed. `tls` are certificate and key; `users`: it knows
    others than its root; `batch`: it pushes nobody off a processor (sched(7)); `options` are of its storage: `versitygw
    posix --help`."""
    with workplace("s3") as temporary:
        server = S3Server(directory or temporary, tls, users=users, batch=batch, options=options)
        try:
            yield server
        finally:
            server.stop()
