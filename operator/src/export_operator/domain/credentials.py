"""How a pod gets its credentials: by name of a Secret, as variables for its start and as files that are renewed.

The kubelet writes a changed Secret into the files of a running pod (within a minute or two), never into its variables.
A destination without a Secret leaves its credentials to the pod's service account: what the platform's webhook adds to
the pod of an annotated account (a role and a projected token) is found by the exporter, as by every AWS SDK.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from export_contract import environment
from export_operator.domain.plan import Plan

FOLDER = "/etc/export-runner"
CA = "ca.crt"
CA_VOLUME = "destination-ca"
MASK_KEY = "maskKey"
VERIFYING = frozenset({"VerifyCA", "VerifyFull"})
S3_KEYS = (environment.AWS_ACCESS_KEY_ID, environment.AWS_SECRET_ACCESS_KEY, environment.AWS_SESSION_TOKEN)


@dataclass(frozen=True, slots=True)
class Mounted:
    """Keys of a Secret, each a file under `FOLDER/<name>`. With `optional` a missing key is no file, and no error."""

    name: str
    secret: str
    keys: tuple[str, ...]
    optional: bool = False

    @property
    def folder(self) -> str:
        return f"{FOLDER}/{self.name}"

    def volume(self) -> dict[str, Any]:
        items = [{"key": key, "path": key} for key in self.keys]
        # For the pod's group only, which is the container's.
        content: dict[str, Any] = {"secretName": self.secret, "items": items, "defaultMode": 0o440}
        return {"name": self.name, "secret": content | ({"optional": True} if self.optional else {})}

    def mount(self) -> dict[str, Any]:
        return {"name": self.name, "mountPath": self.folder, "readOnly": True}


def mounted(plan: Plan) -> tuple[Mounted, ...]:
    """The Secrets that stand in the pod as files."""
    found = [_source(plan)]
    if plan.secrets.destination:
        found.append(_destination(plan))
    if plan.secrets.destination_ca:
        found.append(_destination_ca(plan))
    if _fallback_is_verified(plan):
        found.append(_fallback_ca(plan))
    return tuple(found)


def _source(plan: Plan) -> Mounted:
    # Of a missing file Kubernetes says nothing in the pod's status; of a missing variable it does, and of a missing
    # ca.crt the exporter.
    verified = plan.run_spec.source.ssl_mode in VERIFYING
    keys = ("username", "password", *((CA,) if verified else ()))
    return Mounted("source", plan.secrets.source, keys, optional=True)


def _destination(plan: Plan) -> Mounted:
    # Likewise; only a session token may be missing.
    return Mounted("destination", plan.secrets.destination, S3_KEYS, optional=True)


def _destination_ca(plan: Plan) -> Mounted:
    return Mounted(CA_VOLUME, plan.secrets.destination_ca, (CA,))


def _fallback_ca(plan: Plan) -> Mounted:
    return Mounted("fallback-ca", plan.secrets.fallback, (CA,))


def _fallback_is_verified(plan: Plan) -> bool:
    fallback = plan.run_spec.destination.fallback
    return bool(fallback and fallback.database and fallback.database.ssl_mode in VERIFYING)


def variables(plan: Plan) -> list[dict[str, Any]]:
    """The pod's variables that name Secrets, or files made of them."""
    secrets = plan.secrets
    found = [
        _secret(environment.PG_USER, secrets.source, "username"),
        _secret(environment.PG_PASSWORD, secrets.source, "password"),
        _value(environment.PG_CREDENTIALS_DIR, _source(plan).folder),
    ]
    if secrets.destination:
        found += _s3(dict(zip(S3_KEYS, S3_KEYS, strict=True)), secrets.destination)
        found.append(_value(environment.S3_CREDENTIALS_DIR, _destination(plan).folder))
    if CA in _source(plan).keys:
        found.append(_value(environment.PG_SSL_ROOT_CERT, f"{_source(plan).folder}/{CA}"))
    if secrets.destination_ca:
        found.append(_value(environment.AWS_CA_BUNDLE, f"{_destination_ca(plan).folder}/{CA}"))
    if any(mask.kind == "Hash" for mask in plan.run_spec.source.masks):
        found.append(_secret(environment.MASK_KEY, secrets.mask_key, MASK_KEY))
    return found + _fallback(plan)


def _fallback(plan: Plan) -> list[dict[str, Any]]:
    fallback, secret = plan.run_spec.destination.fallback, plan.secrets.fallback
    if fallback is None:
        return []
    if fallback.bucket is not None:
        names = (
            environment.FALLBACK_AWS_ACCESS_KEY_ID,
            environment.FALLBACK_AWS_SECRET_ACCESS_KEY,
            environment.FALLBACK_AWS_SESSION_TOKEN,
        )
        return _s3(dict(zip(S3_KEYS, names, strict=True)), secret)
    found = [
        _secret(environment.FALLBACK_PG_USER, secret, "username"),
        _secret(environment.FALLBACK_PG_PASSWORD, secret, "password"),
    ]
    if _fallback_is_verified(plan):
        found.append(_value(environment.FALLBACK_PG_SSL_ROOT_CERT, f"{_fallback_ca(plan).folder}/{CA}"))
    return found


def _s3(names: dict[str, str], secret: str) -> list[dict[str, Any]]:
    """`names` gives the variable for each key of the Secret."""
    return [
        _secret(variable, secret, key, optional=key == environment.AWS_SESSION_TOKEN) for key, variable in names.items()
    ]


def _value(variable: str, value: str) -> dict[str, Any]:
    return {"name": variable, "value": value}


def _secret(variable: str, name: str, key: str, *, optional: bool = False) -> dict[str, Any]:
    reference: dict[str, Any] = {"name": name, "key": key}
    return {"name": variable, "valueFrom": {"secretKeyRef": reference | ({"optional": True} if optional else {})}}
