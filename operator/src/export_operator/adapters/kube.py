"""The API server, by plain documents: a request in, a parsed answer or a named error out, every call bounded in time.

The generated models of the client are strict about every field they know and drop what they do not; a status is written
back whole, so documents pass through untouched and `ApiClient` serves for connection, trust and tokens.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from typing import Any
from urllib.parse import quote, urlencode
from urllib.request import getproxies

import aiohttp
from kubernetes.aio import client, config

from export_operator import __version__
from export_operator.adapters.login import Login
from export_operator.adapters.sockets import ForgetfulClient

TIMEOUT_SECONDS = 15.0
WRITE_SECONDS = 5.0  # for the answer to a write; a leader must hold its Lease for that long when it sends one
PAGE = 500  # objects of one LIST answer
DRY_RUN: Mapping[str, str | int] = {"dryRun": "All"}
MERGE_PATCH = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
"""Merges lists by their keys: one condition is set and the others stay."""

METHODS = {
    "get": "GET",
    "list": "GET",
    "watch": "GET",
    "create": "POST",
    "update": "PUT",
    "patch": "PATCH",
    "delete": "DELETE",
}
"""By the verbs of Kubernetes, which metrics and permissions speak of."""
WRITES = {"create", "update", "patch", "delete"}

Count = Callable[[str, str, int], None]
"""Is told path, verb (`dry-run` for one that is only tried) and status of each call; 0 where no answer came."""

Fence = Callable[[float], None]
"""Is asked before each write, with the seconds that it may take; raises `ApiError` when it must not be sent."""


class ApiError(Exception):
    """The API server refused, or did not answer (`status` 0). `message` is the server's own."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message

    @property
    def conflict(self) -> bool:
        """The object has changed since it was read."""
        return self.status == 409 and self.reason == "Conflict"

    @property
    def exists(self) -> bool:
        return self.status == 409 and self.reason == "AlreadyExists"

    @property
    def not_found(self) -> bool:
        return self.status == 404

    @property
    def expired(self) -> bool:
        """The resourceVersion asked for is too old: list again."""
        return self.status == 410


class RewoundError(Exception):
    """The API server tells of a time before what it has told already: etcd was restored. Whoever goes on with what it
    remembers would take what is true now for old news, so the process ends, and begins anew."""

    def __init__(self, what: str, version: int, known: int) -> None:
        super().__init__(
            f"{what} is at resourceVersion {version}, and was at {known} before this was asked for: etcd was restored,"
            " and nothing that this process remembers may be relied upon"
        )


class Kube:
    """One connection pool to the API server. `close` it at the end."""

    def __init__(self, api: client.ApiClient, count: Count = lambda *_: None, fence: Fence = lambda _: None) -> None:
        self._api = api
        self._api.rest_client = ForgetfulClient(api.configuration, WRITE_SECONDS)
        self._count = count
        self._fence = fence
        self._api.user_agent = f"export-operator/{__version__}"

    @staticmethod
    @asynccontextmanager
    async def connected(
        count: Count = lambda *_: None,
        context: str = "",
        login: Login | None = None,
        fence: Fence = lambda _: None,
    ) -> AsyncIterator[Kube]:
        """By the pod's service account, or outside a cluster by KUBECONFIG and `context` (empty: its current one); with
        `login`, to the same API server as that person. Closed at the end. Raises `ApiError` when there is no way to
        one."""
        configuration = client.Configuration()
        try:
            if os.environ.get("KUBERNETES_SERVICE_HOST"):
                config.load_incluster_config(client_configuration=configuration)
            else:
                await config.load_kube_config(context=context or None, client_configuration=configuration)
        except (config.ConfigException, OSError) as error:
            raise ApiError(0, "NotConfigured", f"no way to reach a cluster: {error}") from error
        # Looking for proxies and a .netrc anew at each call takes two turns of a thread.
        configuration.client_session_kwargs = {"trust_env": bool(getproxies())}
        with nullcontext(configuration) if login is None else login.applied(configuration) as theirs:
            kube = Kube(client.ApiClient(theirs), count, fence)
        try:
            yield kube
        finally:
            await kube.close()

    async def close(self) -> None:
        await self._api.close()

    @property
    def server(self) -> str:
        """The API server's URL."""
        return str(self._api.configuration.host)

    async def get(self, path: str, **query: str | int) -> dict[str, Any]:
        return await self._json("get", path, query)

    async def find(self, path: str) -> dict[str, Any] | None:
        """As `get`; None when there is no such object."""
        try:
            return await self.get(path)
        except ApiError as error:
            if error.not_found:
                return None
            raise

    async def list(self, path: str, **query: str | int) -> tuple[list[dict[str, Any]], str]:
        """Every object, and the resourceVersion to watch from."""
        items: list[dict[str, Any]] = []
        version = ""
        async for page in self.pages(path, **query):
            items.extend(page.get("items") or ())
            version = (page.get("metadata") or {}).get("resourceVersion", "")
        return items, version

    async def pages(self, path: str, **query: str | int) -> AsyncIterator[dict[str, Any]]:
        """Every object, as the lists that the server gives of at most `PAGE`: so that not all need be held at once."""
        parameters: dict[str, str | int] = {"limit": PAGE, **query}
        while True:
            page = await self._json("list", path, parameters)
            yield page
            more = (page.get("metadata") or {}).get("continue")
            if not more:
                return
            parameters["continue"] = more

    async def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return await self._json("create", path, body=body)

    async def replace(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """PUT: fails with a conflict unless `metadata.resourceVersion` is the present one."""
        return await self._json("update", path, body=body)

    async def patch(self, path: str, body: Mapping[str, Any], *, content_type: str = MERGE_PATCH) -> dict[str, Any]:
        """JSON merge patch, unless said otherwise; a `metadata.resourceVersion` in it makes it conditional."""
        return await self._json("patch", path, body=body, content_type=content_type)

    async def amend(self, path: str, operations: Sequence[Mapping[str, Any]], seconds: float) -> dict[str, Any]:
        """JSON patch, whose answer is waited for so long; 422 when a `test` in it does not hold."""
        bounds = aiohttp.ClientTimeout(total=seconds)
        return await self._json("patch", path, body=operations, content_type=JSON_PATCH, bounds=bounds)

    async def dry_run(self, verb: str, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """What a create or a patch (JSON merge patch) would make; nothing is kept."""
        form = MERGE_PATCH if verb == "patch" else "application/json"
        return await self._json(verb, path, DRY_RUN, body=body, content_type=form)

    async def delete(self, path: str, *, uid: str = "", resource_version: str = "", grace: int | None = None) -> bool:
        """Delete in the background exactly the object of this UID, or as it was at this resourceVersion. False: it is
        another by now; one that is gone is success. `grace` in seconds; left out, the object's own."""
        preconditions = {"uid": uid, "resourceVersion": resource_version}
        body: dict[str, Any] = {
            "kind": "DeleteOptions",
            "apiVersion": "v1",
            "propagationPolicy": "Background",
            "preconditions": {name: value for name, value in preconditions.items() if value},
        }
        if grace is not None:
            body["gracePeriodSeconds"] = grace
        try:
            await self._json("delete", path, body=body)
        except ApiError as error:
            if not (error.not_found or error.status == 409):
                raise
            return error.not_found
        return True

    async def text(self, path: str, **query: str | int) -> str:
        """A body that is not JSON: a pod's log."""
        response = await self._send("get", path, query)
        try:
            data = await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ApiError(0, "Unreachable", type(error).__name__) from error
        return data.decode("utf-8", "replace")

    async def watch(self, path: str, *, seconds: int, **query: str | int) -> AsyncIterator[dict[str, Any]]:
        """Watch events from `resourceVersion` on, until the server ends the stream after `seconds`.

        Raises `ApiError` for an error event as well as for a refused watch; one that hangs longer than the server
        promised is broken off."""
        parameters = {"watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": seconds, **query}
        bounds = aiohttp.ClientTimeout(total=seconds + 30, sock_connect=TIMEOUT_SECONDS)
        response = await self._send("watch", path, parameters, bounds=bounds)
        try:
            async for line in response.content:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    status = event["object"]
                    raise ApiError(int(status.get("code") or 0), status.get("reason", ""), status.get("message", ""))
                yield event
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ApiError(0, "WatchBroken", type(error).__name__) from error
        finally:
            response.close()

    async def _json(
        self,
        verb: str,
        path: str,
        query: Mapping[str, str | int] | None = None,
        *,
        body: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        content_type: str = "application/json",
        bounds: aiohttp.ClientTimeout | None = None,
    ) -> dict[str, Any]:
        response = await self._send(verb, path, query or {}, body=body, content_type=content_type, bounds=bounds)
        try:
            found: dict[str, Any] = json.loads(await response.read())
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ApiError(0, "Unreachable", type(error).__name__) from error
        return found

    async def _send(
        self,
        verb: str,
        path: str,
        query: Mapping[str, str | int],
        *,
        body: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        content_type: str = "application/json",
        bounds: aiohttp.ClientTimeout | None = None,
    ) -> aiohttp.ClientResponse:
        url = path + ("?" + urlencode(query) if query else "")
        counted = "dry-run" if query is DRY_RUN else verb
        seconds = WRITE_SECONDS if counted in WRITES else TIMEOUT_SECONDS
        answer = None
        try:
            request = await self._api.param_serialize(
                METHODS[verb],
                url,
                header_params={"Accept": "application/json, */*", "Content-Type": content_type},
                body=body,
                auth_settings=["BearerToken"],
            )
            if counted in WRITES:
                self._fence(seconds)  # here, after the last thing that could have been waited for
            answer = await self._api.call_api(*request, _request_timeout=bounds or aiohttp.ClientTimeout(total=seconds))
            response: aiohttp.ClientResponse = answer.response
            self._count(path, counted, response.status)
            if response.status < 400:
                return response
            text = await response.text()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            if answer is None:
                self._count(path, counted, 0)
            raise ApiError(0, "Unreachable", type(error).__name__) from error
        raise _refused(response.status, text)


def _refused(status: int, text: str) -> ApiError:
    try:
        body = json.loads(text)
    except ValueError:
        body = {}
    body = body if isinstance(body, dict) else {}
    return ApiError(status, str(body.get("reason") or ""), str(body.get("message") or text[:500]))


def path_of(group: str, version: str, plural: str, *rest: str, namespace: str = "") -> str:
    """`/apis/<group>/<version>[/namespaces/<namespace>]/<plural>[/<name>[/<subresource>]]`; the core group is empty."""
    root: Sequence[str] = ("apis", group, version) if group else ("api", version)
    middle = ("namespaces", namespace) if namespace else ()
    return "/" + "/".join(quote(part, safe="") for part in (*root, *middle, plural, *rest))
