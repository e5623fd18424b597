"""kubectl as a person uses it: who one is, where one works, and what the server answered."""

import json
import os
import subprocess
from dataclasses import dataclass, field, replace
from typing import Any

Object = dict[str, Any]

ASKING = frozenset({"ExportRequest", "ScheduledExport", "ExportDownload"})
"""Kinds that somebody asks by."""


@dataclass(frozen=True)
class Answer:
    """What kubectl said."""

    code: int
    out: str
    error: str

    @property
    def ok(self) -> bool:
        return self.code == 0

    def json(self) -> Any:
        assert self.ok, self.error
        return json.loads(self.out)


def run(command: list[str], environment: dict[str, str], given: str | None = None) -> Answer:
    """Run a client of the cluster."""
    done = subprocess.run(
        command,
        input=given,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, **environment},
    )
    return Answer(done.returncode, done.stdout, done.stderr)


@dataclass(frozen=True)
class Kubectl:
    """kubectl in a namespace, as the administrator or, by impersonation, as a user with groups."""

    environment: dict[str, str] = field(repr=False)
    namespace: str = "default"
    user: str = ""
    groups: tuple[str, ...] = ()
    declares: str = ""
    """Whom what is created names as its requester, where the cluster does not: oneself."""

    def as_user(self, user: str, *groups: str) -> "Kubectl":
        own = user if self.declares else ""
        return replace(self, user=user, groups=("system:authenticated", *groups), declares=own)

    def __call__(self, *args: str, stdin: Object | str | None = None) -> Answer:
        who = ["--as", self.user, *(f"--as-group={group}" for group in self.groups)] if self.user else []
        given = json.dumps(stdin) if isinstance(stdin, dict) else stdin
        return run(["kubectl", "--namespace", self.namespace, *who, *args], self.environment, given)

    def apply(self, obj: Object, *options: str) -> Answer:
        return self("apply", "-f", "-", *options, stdin=self._signed(obj))

    def dry_run(self, obj: Object) -> Answer:
        """Ask the server what it would make of an object; nothing is kept."""
        return self("create", "--dry-run=server", "-o", "json", "-f", "-", stdin=self._signed(obj))

    def _signed(self, obj: Object) -> Object:
        if not self.declares or obj["kind"] not in ASKING or "requester" in obj["spec"]:
            return obj
        return {**obj, "spec": {**obj["spec"], "requester": {"username": self.declares}}}

    def patch(
        self,
        name: str,
        patch: Object | list[Object],
        *options: str,
        form: str = "merge",
        kind: str = "ExportRequest",
    ) -> Answer:
        return self("patch", kind, name, f"--type={form}", "-p", json.dumps(patch), *options)

    def get(self, kind: str, name: str) -> Object:
        found: Object = self("get", kind, name, "-o", "json").json()
        return found


def request(name: str = "one", **spec: Any) -> Object:
    """An ExportRequest, valid unless `spec` makes it otherwise."""
    return {
        "apiVersion": "export-operator.io/v1alpha1",
        "kind": "ExportRequest",
        "metadata": {"name": name},
        "spec": {"source": {"name": "nowhere", "dataset": "users"}, **spec},
    }


def schedule(name: str = "one", **spec: Any) -> Object:
    """A ScheduledExport, valid unless `spec` makes it otherwise."""
    template = {"spec": {"source": {"name": "nowhere", "dataset": "users"}}}
    return {
        "apiVersion": "export-operator.io/v1alpha1",
        "kind": "ScheduledExport",
        "metadata": {"name": name},
        "spec": {"schedule": "30 2 * * 1-5", "template": template, **spec},
    }


def download(name: str = "one", **spec: Any) -> Object:
    """An ExportDownload, valid unless `spec` makes it otherwise."""
    return {
        "apiVersion": "export-operator.io/v1alpha1",
        "kind": "ExportDownload",
        "metadata": {"name": name},
        "spec": {"requestName": "one", **spec},
    }


def cluster_wide(kind: str, spec: Object, name: str = "api-test") -> Object:
    """An ExportSource, ExportDestination or ExportPolicy."""
    return {"apiVersion": "export-operator.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}
