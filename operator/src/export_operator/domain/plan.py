"""From a request and the catalogue to what exactly shall run, or to a refusal that says what to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, cast

from export_contract import runspec
from export_contract.codec import encode
from export_operator.domain import breaker, estimates
from export_operator.domain.digest import digest
from export_operator.domain.forms import find_output
from export_operator.domain.identity import Subject
from export_operator.domain.lookup import (
    RefusalError,
    check_channels,
    find_columns,
    find_dataset,
    find_destination,
    find_parameters,
    find_source,
)
from export_operator.domain.model import Catalogue, Named, Request
from export_operator.domain.origin import source_spec
from export_operator.domain.places import Coordinates, destination_spec, fallback_database
from export_operator.domain.policy import PRIORITIES, Policy, SelectedBy
from export_operator.domain.quota import Demand
from export_operator.domain.slots import SlotLimits
from export_operator.domain.status import effective_status


@dataclass(frozen=True, slots=True)
class Effective:
    """The request with every default filled in, as it stands in `status.effective`."""

    policy: str
    policy_selected_by: SelectedBy
    source: str
    dataset: str
    columns: tuple[str, ...]
    connections: int
    destination: str
    key_prefix: str
    format: str
    compression: str
    layout: str
    run_deadline_seconds: int
    queue_deadline_seconds: int
    start_deadline_seconds: int
    on_deadline: str
    on_quota_exceeded: str
    consistency: str
    resume: str
    priority: str
    ttl_seconds_after_finished: int
    digest: str = ""
    """What exactly is asked (see `digest`)."""

    def as_status(self) -> dict[str, Any]:
        status: dict[str, Any] = encode(self)
        return status


@dataclass(frozen=True, slots=True, kw_only=True)
class Secrets:
    """Names of Secrets of the run namespace, which the pod gets and nobody else; empty where there is none."""

    source: str
    destination: str
    mask_key: str = ""
    destination_ca: str = ""
    fallback: str = ""


@dataclass(frozen=True)
class Offer:
    """What a request of this shape gets, whoever asks and whenever: it depends on the catalogue alone. Most requests
    wait longer than they are thought about, and many are alike, so it is made once."""

    effective: Effective
    origin: runspec.Source
    destination: Named
    output: runspec.Output
    limits: runspec.Limits
    secrets: Secrets
    slot_limits: SlotLimits
    expected: Demand
    """What it asks of its windows, before anything of the dataset was delivered."""
    pod: Mapping[str, Any]
    queue: str = ""
    """The LocalQueue of Kueue that decides when it runs, in place of slots."""

    @cached_property
    def shown(self) -> Mapping[str, Any]:
        """`status.effective`."""
        return effective_status(self.effective.as_status())

    @cached_property
    def reached(self) -> tuple[Subject, ...]:
        """Source and destination, as breakers know them."""
        return Subject(breaker.SOURCE, self.effective.source), Subject(breaker.DESTINATION, self.effective.destination)


@dataclass(frozen=True)
class Plan:
    """A request that may run as `run`: what it gets, and what the pod is told."""

    offer: Offer
    request: Request
    run: str

    @property
    def effective(self) -> Effective:
        return self.offer.effective

    @property
    def slot_limits(self) -> SlotLimits:
        return self.offer.slot_limits

    @property
    def secrets(self) -> Secrets:
        return self.offer.secrets

    @property
    def pod(self) -> Mapping[str, Any]:
        return self.offer.pod

    @property
    def queue(self) -> str:
        return self.offer.queue

    @cached_property
    def run_spec(self) -> runspec.RunSpec:
        """Made when it is asked for: only a Job needs it."""
        offer, request = self.offer, self.request
        return runspec.RunSpec(
            run=runspec.Run(
                id=self.run,
                namespace=request.key.namespace,
                name=request.key.name,
                uid=request.uid,
                run_id=request.run_id,
                requester=request.requester,
                digest=offer.effective.digest,
            ),
            source=offer.origin,
            destination=destination_spec(offer.destination.name, self.coordinates(self.run), offer.destination.spec),
            output=offer.output,
            limits=offer.limits,
            consistency=cast("Any", self.effective.consistency),
            resume=cast("Any", self.effective.resume),
        )

    def coordinates(self, run: str) -> Coordinates:
        """Of the objects of this run, or of an earlier one of a request of the same name."""
        effective = self.effective
        return Coordinates(
            namespace=self.request.key.namespace,
            key_prefix=effective.key_prefix,
            name=self.request.key.name,
            run=run,
            format=effective.format,
            compression=effective.compression,
            layout=self.offer.output.layout,
        )

    def without_queue(self) -> Plan:
        """The plan of a run that does not wait for Kueue."""
        return replace(self, offer=replace(self.offer, queue=""))

    def capped(self, max_rows: int | None, max_bytes: int | None) -> Plan:
        """The plan of a run that may deliver no more than what its windows have reserved (None: no such limit)."""
        limits = self.offer.limits
        lowered = replace(
            limits,
            max_rows=_lower(limits.max_rows, max_rows),
            max_bytes=_lower(limits.max_bytes, max_bytes),
        )
        return replace(self, offer=replace(self.offer, limits=lowered))


def _lower(most: int, reserved: int | None) -> int:
    """A maximum of 0 is none."""
    if reserved is None:
        return most
    return min(most, reserved) if most else reserved


SHAPE = (
    *("source", "destination", "output", "runDeadlineSeconds", "queueDeadlineSeconds", "onDeadline"),
    *("onQuotaExceeded", "consistency", "resume", "priority", "ttlSecondsAfterFinished"),
)
"""The fields of a request's spec that its offer follows from."""


def make_plan(request: Request, catalogue: Catalogue, policy: Policy, run: str, max_concurrent: int) -> Plan:
    """Validate the request against source, destination and policy. Raises `RefusalError` for the first thing wrong."""
    check_channels(request, policy)
    shape = repr(list(map(request.spec.get, SHAPE)))
    by = policy.selected_by
    key = ("offer", request.key.namespace, policy.name, by.kind, by.name, max_concurrent, shape)
    return Plan(catalogue.memo.once(key, lambda: _offer(request, catalogue, policy, max_concurrent)), request, run)


def _offer(request: Request, catalogue: Catalogue, policy: Policy, max_concurrent: int) -> Offer:
    source = find_source(request, catalogue, policy)
    dataset = find_dataset(request, source, policy)
    columns = find_columns(request, source, dataset, policy)
    values = find_parameters(request, dataset)
    destination = find_destination(request, catalogue, policy)
    output = find_output(request, policy)
    origin = source_spec(source, dataset, columns, values, policy)
    effective = _effective(request, policy, origin, output, destination.name)
    _refuse_source_as_fallback(destination, origin)
    return Offer(
        effective=effective,
        origin=origin,
        destination=destination,
        output=output,
        limits=runspec.Limits(
            run_deadline_seconds=effective.run_deadline_seconds,
            on_deadline="Partial" if effective.on_deadline == "Partial" else "Fail",
            max_rows=int(policy.maximum("rows") or 0),
            max_bytes=int(policy.maximum("bytes") or 0),
        ),
        secrets=_secrets(source, destination),
        slot_limits=_slot_limits(policy, source, destination, max_concurrent),
        expected=estimates.declared(dataset, policy.section("maxima")),
        pod=policy.section("pod"),
        queue=str(policy.section("kueue").get("queueName") or ""),
    )


def _refuse_source_as_fallback(destination: Named, origin: runspec.Source) -> None:
    """A source must not fill up with exports. The exporter asks both servers too: names can differ for one server."""
    database = fallback_database(destination.spec)
    place = (origin.host, origin.port, origin.database)
    if database is not None and (database.host, database.port, database.database) == place:
        raise RefusalError(
            "FallbackIsSource",
            f"ExportDestination {destination.name!r}, spec.fallback.database: {database.database!r} on"
            f" {database.host}:{database.port} is the database of ExportSource {origin.name!r} itself. Create a new"
            " request with another destination, or ask the platform team for a fallback elsewhere.",
        )


def _secrets(source: Named, destination: Named) -> Secrets:
    def name(spec: Mapping[str, Any], field: str = "credentialsSecret") -> str:
        return str((spec.get(field) or {}).get("name") or "")

    fallback = destination.spec.get("fallback") or {}
    return Secrets(
        source=name(source.spec),
        destination=name(destination.spec),
        mask_key=name(source.spec, "maskKeySecret"),
        destination_ca=name(destination.spec, "caSecret"),
        fallback=name(fallback.get("bucket") or fallback.get("database") or {}),
    )


def _effective(
    request: Request, policy: Policy, origin: runspec.Source, output: runspec.Output, destination: str
) -> Effective:
    spec = request.spec

    def resolve(name: str) -> Any:
        return policy.default(name) if spec.get(name) is None else spec[name]

    found = Effective(
        policy=policy.name,
        policy_selected_by=policy.selected_by,
        source=origin.name,
        dataset=origin.dataset,
        columns=origin.columns,
        connections=origin.connections,
        destination=destination,
        key_prefix=(spec.get("destination") or {}).get("keyPrefix") or "",
        format=output.format,
        compression=output.compression,
        layout=output.layout,
        run_deadline_seconds=_bounded(spec, policy, "runDeadlineSeconds"),
        queue_deadline_seconds=_bounded(spec, policy, "queueDeadlineSeconds"),
        start_deadline_seconds=policy.default("startDeadlineSeconds"),
        on_deadline=resolve("onDeadline"),
        on_quota_exceeded=resolve("onQuotaExceeded"),
        consistency=resolve("consistency"),
        resume=resolve("resume"),
        priority=_priority(spec, policy),
        ttl_seconds_after_finished=_bounded(spec, policy, "ttlSecondsAfterFinished"),
    )
    return replace(found, digest=digest(spec, found.as_status()))


def _bounded(spec: Mapping[str, Any], policy: Policy, field: str) -> int:
    """A number that the policy may cap: asking for more is refused, a default above the cap is lowered to it."""
    given, maximum = spec.get(field), policy.maximum(field)
    if given is not None and maximum is not None and given > maximum:
        raise _too_much(field, given, policy)
    value = int(policy.default(field) if given is None else given)
    return value if maximum is None else min(value, int(maximum))


def _priority(spec: Mapping[str, Any], policy: Policy) -> str:
    """The same for a priority."""
    given: str | None = spec.get("priority")
    maximum: str = policy.maximum("priority")
    if given is not None and PRIORITIES.index(given) > PRIORITIES.index(maximum):
        raise _too_much("priority", given, policy)
    return min(given or policy.default("priority"), maximum, key=PRIORITIES.index)


def _too_much(field: str, given: Any, policy: Policy) -> RefusalError:
    return RefusalError(
        "LimitExceeded", f"spec.{field}: {given} is more than policy {policy.name!r} allows ({policy.maximum(field)})."
    )


def _slot_limits(policy: Policy, source: Named, destination: Named, total: int) -> SlotLimits:
    limits = policy.section("limits")
    of_scope = {scope: (limits.get(scope) or {}).get("maxConcurrent") for scope in ("user", "namespace", "all")}
    return SlotLimits(
        total=total,
        user=of_scope["user"],
        namespace=of_scope["namespace"],
        policy=of_scope["all"],
        source=source.spec.get("maxConcurrent"),
        destination=destination.spec.get("maxConcurrent"),
    )
