"""Whose rights a command has: those of a person whose credentials are given to it, wherever it runs."""

from __future__ import annotations

import base64
import binascii
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from kubernetes.aio import client

HELP = "print a token with that program and give it alone, for example: aws eks get-token … | jq -r .status.token"


class LoginError(ValueError):
    """The text holds no credentials that can be used here; the message says what to give."""


@dataclass(frozen=True, slots=True)
class Login:
    """A bearer token, or a client certificate with its key (PEM)."""

    token: str = field(default="", repr=False)
    certificate: bytes = field(default=b"", repr=False)
    key: bytes = field(default=b"", repr=False)

    @contextmanager
    def applied(self, configuration: client.Configuration) -> Iterator[client.Configuration]:
        """The configuration, with this person in place of whoever it named. A client that is made within has read the
        certificate, which is on no disk afterwards."""
        configuration.api_key = {"BearerToken": f"Bearer {self.token}"} if self.token else {}
        configuration.refresh_api_key_hook = None
        configuration.cert_file = configuration.key_file = None
        with tempfile.TemporaryDirectory() as directory:
            if self.certificate:
                certificate, key = Path(directory, "tls.crt"), Path(directory, "tls.key")
                certificate.write_bytes(self.certificate)
                key.write_bytes(self.key)
                configuration.cert_file, configuration.key_file = str(certificate), str(key)
            yield configuration


def read_login(text: str, context: str = "") -> Login:
    """The person of a kubeconfig (of `context`, or of its current one), or of a bare token. Raises `LoginError`."""
    try:
        given = yaml.safe_load(text)
    except yaml.YAMLError:
        given = None
    if isinstance(given, Mapping):
        return _of_kubeconfig(given, context)
    token = text.strip()
    if not token or not token.isascii() or any(each.isspace() or not each.isprintable() for each in token):
        raise LoginError("neither a kubeconfig nor a token was given: kubectl config view --raw --minify --flatten")
    return Login(token=token)


def _of_kubeconfig(given: Mapping[str, Any], context: str) -> Login:
    name = context or str(given.get("current-context") or "")
    chosen = _named(given, "contexts", name).get("context") or {}
    user = _named(given, "users", str(chosen.get("user") or "")).get("user") or {}
    if user.get("token"):
        return Login(token=str(user["token"]))
    certificate, key = user.get("client-certificate-data"), user.get("client-key-data")
    if certificate and key:
        try:
            return Login(
                certificate=base64.b64decode(certificate, validate=True), key=base64.b64decode(key, validate=True)
            )
        except (binascii.Error, TypeError) as error:
            raise LoginError("the kubeconfig's client certificate is no base64") from error
    if "exec" in user or "auth-provider" in user:
        raise LoginError(f"the kubeconfig gets its credentials from a program, which is not run here: {HELP}")
    raise LoginError(
        f"the kubeconfig has neither token nor certificate for context {name!r}: give the output of"
        " kubectl config view --raw --minify --flatten"
    )


def _named(given: Mapping[str, Any], kind: str, name: str) -> Mapping[str, Any]:
    items = [item for item in given.get(kind) or () if isinstance(item, Mapping) and item.get("name") == name]
    if not items:
        raise LoginError(f"the kubeconfig has no {kind[:-1]} {name!r}")
    return items[0]
