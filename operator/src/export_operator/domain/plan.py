"""From a request and the catalogue to what exactly shall run, or to a refusal that says what to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast, get_args

from export_contract import names, runspec
from export_contract.codec import encode
from export_operator.domain.lookup import (
    RefusalError,
    find_columns,
    find_dataset,
    find_destination,
    find_parameters,
    find_source,
    not_allowed,
)
from export_operator.domain.model import Catalogue, Named, Request
from export_operator.domain.policy import Policy
from export_operator.domain.quota import SlotLimits


@dataclass(frozen=True, slots=True)
class Effective:
    """The request with every default filled in, as it stands in `status.effective`."""

    policy: str
    source: str
    dataset: str
    columns: tuple[str, ...]
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
    ttl_seconds_after_finished: int

    def as_status(self) -> dict[str, Any]:
        status: dict[str, Any] = encode(self)
        return status


@dataclass(frozen=True, slots=True)
class Plan:
    """A request that may run: its resolved fields, what the pod is told, and what it needs besides."""

    effective: Effective
    run_spec: runspec.RunSpec
    source_secret: str
    destination_secret: str
    slot_limits: SlotLimits
    pod: Mapping[str, Any]


def make_plan(request: Request, catalogue: Catalogue, policy: Policy, run: str, max_concurrent: int) -> Plan:
    """Validate the request against source, destination and policy. Raises `RefusalError` for the first thing wrong."""
    source = find_source(request, catalogue, policy)
    dataset = find_dataset(request, source)
    columns = find_columns(request, dataset)
    values = find_parameters(request, dataset)
    destination = find_destination(request, catalogue, policy)
    effective = _effective(
        request,
        policy,
        source=source.name,
        dataset=dataset["name"],
        columns=columns,
        destination=destination.name,
    )
    keys = names.object_keys(
        prefix=destination.spec.get("prefix") or "",
        namespace=request.key.namespace,
        key_prefix=effective.key_prefix,
        name=request.key.name,
        run=run,
        output_format=effective.format,
        compression=effective.compression,
    )
    return Plan(
        effective=effective,
        run_spec=runspec.RunSpec(
            run=runspec.Run(
                id=run,
                namespace=request.key.namespace,
                name=request.key.name,
                uid=request.uid,
                run_id=request.run_id,
                requester=request.requester,
            ),
            source=_source_spec(source, dataset, columns, values),
            destination=runspec.Destination(
                name=destination.name,
                bucket=destination.spec["bucket"],
                key=keys.object,
                manifest_key=keys.manifest,
                region=destination.spec.get("region") or "us-east-1",
                endpoint=destination.spec.get("endpoint") or "",
                path_style=bool(destination.spec.get("pathStyle")),
            ),
            output=runspec.Output(
                format=cast("runspec.Format", effective.format),
                compression=cast("runspec.Compression", effective.compression),
            ),
            limits=runspec.Limits(
                run_deadline_seconds=effective.run_deadline_seconds,
                on_deadline="Partial" if effective.on_deadline == "Partial" else "Fail",
                max_rows=int(policy.section("maxima").get("rows") or 0),
                max_bytes=int(policy.section("maxima").get("bytes") or 0),
            ),
            consistency=cast("Any", effective.consistency),
        ),
        source_secret=source.spec["credentialsSecret"]["name"],
        destination_secret=destination.spec["credentialsSecret"]["name"],
        slot_limits=_slot_limits(policy, source, destination, max_concurrent),
        pod=policy.section("pod"),
    )


def _effective(
    request: Request, policy: Policy, *, source: str, dataset: str, columns: tuple[str, ...], destination: str
) -> Effective:
    spec = request.spec
    output = spec.get("output") or {}

    def resolve(given: Any, name: str) -> Any:
        return policy.default(name) if given is None else given

    output_format = resolve(output.get("format"), "format")
    if output_format not in get_args(runspec.Format):
        raise RefusalError(
            "FormatNotSupported",
            f"spec.output.format: {output_format!r} is not one of {', '.join(get_args(runspec.Format))}.",
        )
    if not policy.allows("formats", output_format):
        raise RefusalError("FormatNotAllowed", not_allowed("spec.output.format", output_format, policy, "formats"))
    return Effective(
        policy=policy.name,
        source=source,
        dataset=dataset,
        columns=columns,
        destination=destination,
        key_prefix=(spec.get("destination") or {}).get("keyPrefix") or "",
        format=output_format,
        compression=resolve(output.get("compression"), "compression"),
        layout=resolve(output.get("layout"), "layout"),
        run_deadline_seconds=_bounded(spec, policy, "runDeadlineSeconds"),
        queue_deadline_seconds=resolve(spec.get("queueDeadlineSeconds"), "queueDeadlineSeconds"),
        start_deadline_seconds=policy.default("startDeadlineSeconds"),
        on_deadline=resolve(spec.get("onDeadline"), "onDeadline"),
        on_quota_exceeded=resolve(spec.get("onQuotaExceeded"), "onQuotaExceeded"),
        consistency=resolve(spec.get("consistency"), "consistency"),
        ttl_seconds_after_finished=_bounded(spec, policy, "ttlSecondsAfterFinished"),
    )


def _bounded(spec: Mapping[str, Any], policy: Policy, field: str) -> int:
    """A number that the policy may cap: asking for more is refused, a default above the cap is lowered to it."""
    maximum = policy.section("maxima").get(field)
    given = spec.get(field)
    if given is not None and maximum is not None and given > maximum:
        raise RefusalError(
            "LimitExceeded", f"spec.{field}: {given} is more than policy {policy.name!r} allows ({maximum})."
        )
    value = int(policy.default(field) if given is None else given)
    return value if maximum is None else min(value, int(maximum))


def _source_spec(
    source: Named, dataset: Mapping[str, Any], columns: tuple[str, ...], values: tuple[runspec.Parameter, ...]
) -> runspec.Source:
    table = dataset.get("table")
    return runspec.Source(
        name=source.name,
        dataset=dataset["name"],
        host=source.spec["host"],
        port=int(source.spec.get("port") or 5432),
        database=source.spec["database"],
        ssl_mode=source.spec.get("sslMode") or "Prefer",
        relation=runspec.Relation(schema=table.get("schema") or "public", table=table["name"]) if table else None,
        query=dataset.get("query"),
        columns=columns,
        parameters=values,
        order_by=tuple(dataset.get("orderBy") or ()),
    )


def _slot_limits(policy: Policy, source: Named, destination: Named, total: int) -> SlotLimits:
    limits = policy.section("limits")
    return SlotLimits(
        total=total,
        user=(limits.get("user") or {}).get("maxConcurrent"),
        namespace=(limits.get("namespace") or {}).get("maxConcurrent"),
        source=source.spec.get("maxConcurrent"),
        destination=destination.spec.get("maxConcurrent"),
    )
