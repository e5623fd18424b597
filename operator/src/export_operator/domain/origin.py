"""Where the rows come from, as the exporter is told: connection, dataset, key, masks and row filter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from export_contract import runspec
from export_operator.domain.lookup import RefusalError, listed
from export_operator.domain.model import Named
from export_operator.domain.policy import Policy

MEND = " The platform team must mend the ExportSource; then set a new spec.runID."


def source_spec(
    source: Named,
    dataset: Mapping[str, Any],
    columns: tuple[str, ...],
    values: tuple[runspec.Parameter, ...],
    policy: Policy,
) -> runspec.Source:
    """The rules here are the API server's too; a source from before them is refused by these. Raises `RefusalError`."""
    table, masks = dataset.get("table"), _masks(source, dataset)
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
        key=_key(source, dataset, {mask.column for mask in masks}),
        # A mask of a column that is not exported has nothing to do.
        masks=tuple(mask for mask in masks if mask.column in columns),
        row_filter=dataset.get("rowFilter") or "",
        allow_privileged_role=bool(source.spec.get("allowPrivilegedRole")),
        connections=_connections(source, policy),
    )


def _connections(source: Named, policy: Policy) -> int:
    """A source's number is a permission: a policy's maximum lowers it."""
    wanted, maximum = int(source.spec.get("connections") or 1), policy.maximum("connections")
    return wanted if maximum is None else min(wanted, int(maximum))


def _masks(source: Named, dataset: Mapping[str, Any]) -> tuple[runspec.Mask, ...]:
    found = tuple(
        runspec.Mask(
            column=given["column"],
            kind=given["kind"],
            text=given.get("text") or "",
            keep_first=int(given.get("keepFirst") or 0),
            keep_last=int(given.get("keepLast") or 0),
        )
        for given in dataset.get("masks") or ()
    )
    allowed = tuple(dataset.get("columns") or ())
    for mask in found:
        if mask.column not in allowed:
            raise _invalid(source, dataset, "masks", f"{mask.column!r} is not one of its columns: {listed(allowed)}")
        if mask.kind == "Hash" and not source.spec.get("maskKeySecret"):
            raise RefusalError(
                "SourceInvalid",
                f"ExportSource {source.name!r}, spec.maskKeySecret: dataset {dataset['name']!r} hashes column"
                f" {mask.column!r}, which needs a Secret of the run namespace with the key maskKey." + MEND,
            )
    return found


def _key(source: Named, dataset: Mapping[str, Any], masked: set[str]) -> tuple[str, ...]:
    key, allowed = tuple(dataset.get("key") or ()), tuple(dataset.get("columns") or ())
    for column in key:
        if column not in allowed:
            raise _invalid(source, dataset, "key", f"{column!r} is not one of its columns: {listed(allowed)}")
        if column in masked:
            raise _invalid(source, dataset, "key", f"{column!r} is masked, and a key's values stand in the checkpoint")
    return key


def _invalid(source: Named, dataset: Mapping[str, Any], field: str, problem: str) -> RefusalError:
    return RefusalError(
        "SourceInvalid", f"ExportSource {source.name!r}, dataset {dataset['name']!r}, {field}: {problem}." + MEND
    )
