"""Tries what the admission policies must refuse: once a minute, and whenever one is edited. Nothing of it is kept.

What is in force cannot be read off the policies alone (a webhook, a flag or a lagging API server may stand in between),
and a refusal here does not tell of other namespaces. So both are looked at: what the policies say, and what they do.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from export_operator.adapters.informer import Informer
from export_operator.adapters.kube import ApiError, Kube, path_of
from export_operator.domain import identity, times
from export_operator.domain.identity import Enforcement, Finding
from export_operator.domain.model import API_VERSION, GROUP, VERSION

log = logging.getLogger(__name__)

EVERY_SECONDS = 60.0
READ_SECONDS = 5.0
RETRY_SECONDS = 2.0  # while requests are held, and after an edit

NAME = "export-operator:canary"
"""The user whom the spoofs name. Nobody is called so."""
STATUS = {"status": {"observedGeneration": -2}}
"""The status that the policy refuses to everybody, the operator included."""

WHO_AM_I = path_of("authentication.k8s.io", "v1", "selfsubjectreviews")

SOURCE = {"source": {"name": "canary", "dataset": "canary"}}
GUARDED: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "exportrequests": ("ExportRequest", SOURCE),
    "scheduledexports": ("ScheduledExport", {"schedule": "@daily", "template": {"spec": SOURCE}}),
    "exportdownloads": ("ExportDownload", {"requestName": "canary"}),
}
"""The kinds that carry a requester, with a spec that is valid apart from it."""

CHECK, GUARD, STAMP = (f"{name}.{GROUP}" for name in ("check-identity", "guard-status", "stamp-identity"))
POLICIES = (
    ("validatingadmissionpolicies", CHECK),
    ("validatingadmissionpolicies", GUARD),
    ("mutatingadmissionpolicies", STAMP),
)
"""The last is for identity.mode Attested alone."""


class _GapError(Exception):
    """A request could get past the policies; the message says how."""


@dataclass(frozen=True, slots=True)
class _Policy:
    """A policy and its binding, which have one name."""

    itself: Informer[Mapping[str, Any]]
    binding: Informer[Mapping[str, Any]]
    name: str

    def created(self) -> datetime:
        """When the younger of both was created. Raises `_GapError` if one is missing or spares somebody."""
        itself, binding = self.itself.items.get(self.name), self.binding.items.get(self.name)
        if itself is None or binding is None:
            part = "the policy" if itself is None else "the binding of the policy"
            raise _GapError(f"{part} {self.name} is missing; the platform team must install it again")
        if weakness := identity.find_weakness(itself, binding, denies=self.name != STAMP):
            raise _GapError(f"{self.name} lets requests past: {weakness}; the platform team must install it again")
        moments = (times.parse(each["metadata"]["creationTimestamp"]) for each in (itself, binding))
        return max(moment for moment in moments if moment is not None)


class Canary:
    """Keeps `state` up to date and calls `changed` when admission is stopped or goes on. `some_object` gives the path
    of any object of ours that has a status, None while there is none."""

    def __init__(
        self,
        kube: Kube,
        *,
        namespace: str,
        mode: identity.Mode,
        some_object: Callable[[], str | None],
        changed: Callable[[Enforcement], None],
        clock: Callable[[], datetime],
    ) -> None:
        self._kube = kube
        self._namespace = namespace
        self._some_object = some_object
        self._changed = changed
        self._clock = clock
        self._edited = asyncio.Event()
        self._policies = [
            _Policy(self._informer(plural, name), self._informer(f"{plural.removesuffix('ies')}ybindings", name), name)
            for plural, name in POLICIES
            if mode == "Attested" or name != STAMP
        ]
        self.state = Enforcement(mode)

    def _informer(self, plural: str, name: str) -> Informer[Mapping[str, Any]]:
        path = path_of("admissionregistration.k8s.io", "v1", plural)
        # By name, for that is all that the operator may see of them.
        return Informer(self._kube, path, dict, lambda *_: self._edited.set(), field=f"metadata.name={name}")

    async def watch(self) -> None:
        """Follow the policies until cancelled: an edit is noticed at once."""
        async with asyncio.TaskGroup() as group:
            for policy in self._policies:
                group.create_task(policy.itself.run())
                group.create_task(policy.binding.run())

    async def run(self) -> None:
        """Look again and again until cancelled; soon, as long as something is wrong."""
        pause = EVERY_SECONDS
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(pause if self.state.enforced else RETRY_SECONDS):
                    await self._edited.wait()
            # The API server takes up an edit a moment after the watch has told of it: look now, and then again.
            pause = RETRY_SECONDS if self._edited.is_set() else EVERY_SECONDS
            await self.look()

    async def look(self) -> None:
        """One look at all of it."""
        self._edited.clear()
        before, self.state = self.state, self.state.after(await self._find())
        if before.enforced != self.state.enforced or before.message != self.state.message:
            if self.state.enforced:
                log.info("the admission policies attest who asks (%s): requests are admitted", self.state.mode)
            else:
                log.error("nothing is admitted: %s", self.state.message)
            self._changed(self.state)

    async def _find(self) -> Finding:
        try:
            async with asyncio.timeout(READ_SECONDS):
                for policy in self._policies:
                    await policy.itself.synced.wait()
                    await policy.binding.synced.wait()
        except TimeoutError:
            text = f"the policy {policy.name} or its binding cannot be read"
            if policy.name == STAMP:
                text += "; before Kubernetes 1.36 there is no such kind, and the chart takes identity.mode=Declared"
            return Finding(self._clock(), None, text)
        try:
            since = max(policy.created() for policy in self._policies)
            for plural in GUARDED:
                await self._try_spoof(plural)
                await self._try_without_requester(plural)
            await self._try_status()
        except _GapError as gap:
            return Finding(self._clock(), False, str(gap))
        except ApiError as error:
            return Finding(self._clock(), None, f"the admission policies cannot be tried: {error}")
        return Finding(self._clock(), True, since=since)

    async def _try_spoof(self, plural: str) -> None:
        """Another's name is refused, by our policy and nothing else."""
        if await self._create(plural, requester={"username": NAME}) is not None:
            raise _GapError(
                f"a user may ask in another's name: the API server took {plural} of a requester who is not the one"
                f" who asks. {CHECK} is not at work, or this operator's account holds the verb act-as, as it must not"
            )

    async def _try_without_requester(self, plural: str) -> None:
        """Attested: requester and submitter are stamped, whatever the client says. Declared: it is refused, and who
        names itself is not."""
        if self.state.mode == "Declared":
            me = await self._kube.create(WHO_AM_I, {})
            own = {"username": me["status"]["userInfo"]["username"]}
            if await self._create(plural) is not None or await self._create(plural, requester=own) is None:
                raise _GapError(
                    f"identity.mode is Declared, but {plural} do not need the name of who asks, or are not taken with"
                    f" it: the policies in force are those of another mode, or {STAMP} was left; delete it"
                )
            return
        made = await self._create(plural, submittedBy={"username": NAME})
        spec = (made or {}).get("spec") or {}
        stamped = [(spec.get(field) or {}).get("username") for field in ("requester", "submittedBy")]
        if made is None or not stamped[0] or stamped[0] != stamped[1] or NAME in stamped:
            raise _GapError(f"nobody writes down who asks: {STAMP} is not at work on {plural}")

    async def _create(self, plural: str, **spec: Any) -> dict[str, Any] | None:
        """What the API server would make of it; None when `CHECK` refuses. Raises `ApiError` for any other refusal."""
        kind, fields = GUARDED[plural]
        body = {
            "apiVersion": API_VERSION,
            "kind": kind,
            "metadata": {"generateName": "canary-"},
            "spec": {**fields, **spec},
        }
        path = path_of(GROUP, VERSION, plural, namespace=self._namespace)
        return await self._unless_refused(CHECK, "create", path, body)

    async def _try_status(self) -> None:
        """A status that nobody may write is refused."""
        path = self._some_object()
        if path is None:
            return  # there is no status that anybody could forge
        try:
            taken = await self._unless_refused(GUARD, "patch", f"{path}/status", STATUS)
        except ApiError as error:
            if error.not_found:
                return  # it has gone meanwhile; the next look finds another
            raise
        if taken is not None:
            raise _GapError(f"status is not guarded: {GUARD} is not at work")

    async def _unless_refused(
        self, policy: str, verb: str, path: str, body: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        try:
            return await self._kube.dry_run(verb, path, body)
        except ApiError as error:
            if error.status == 403 and f"ValidatingAdmissionPolicy '{policy}'" in error.message:
                return None
            raise
