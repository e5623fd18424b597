"""What a request names, found in the catalogue, or a refusal that says what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from export_contract import parameters, runspec
from export_operator.domain.model import Catalogue, Named, Request
from export_operator.domain.policy import Policy


class RefusalError(Exception):
    """The request cannot run as it is. `reason` is CamelCase; `message` names the field, its value, what is allowed
    and what to do next. `may_appear` says that the missing object may have been applied together with the request."""

    def __init__(self, reason: str, message: str, *, may_appear: bool = False) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.may_appear = may_appear


def _did_you_mean(given: str, known: Iterable[str]) -> str:
    options = sorted(known)
    close = difflib.get_close_matches(given, options, n=1)
    shown = ", ".join(options[:10]) + (f" and {len(options) - 10} more" if len(options) > 10 else "")
    return (f" Did you mean {close[0]!r}?" if close else "") + (f" Known: {shown}." if options else " There is none.")


def _usable(named: Named | None, namespace: str) -> Named | None:
    """Where a tenant may not use a source, it does not exist for it: names of others are not to be guessed at."""
    if named is None:
        return None
    allowed = named.spec.get("allowedNamespaces") or ()
    return named if not allowed or namespace in allowed else None


def _offered(objects: Mapping[str, Named], namespace: str, policy: Policy, kind: str) -> list[str]:
    return [name for name, item in objects.items() if _usable(item, namespace) and policy.allows(kind, name)]


def find_source(request: Request, catalogue: Catalogue, policy: Policy) -> Named:
    """The source, if this namespace and this policy may use it. Raises `RefusalError`."""
    name, namespace = request.spec["source"]["name"], request.key.namespace
    source = _usable(catalogue.sources.get(name), namespace)
    if source is None:
        known = _offered(catalogue.sources, namespace, policy, "sources")
        raise RefusalError(
            "SourceNotFound",
            f"spec.source.name: there is no ExportSource {name!r} for namespace {namespace!r}."
            + _did_you_mean(name, known)
            + " Create a new request with another name, or ask the platform team.",
            may_appear=True,
        )
    if not policy.allows("sources", name):
        raise RefusalError("SourceNotAllowed", not_allowed("spec.source.name", name, policy, "sources"))
    return source


def not_allowed(path: str, value: str, policy: Policy, kind: str) -> str:
    """The sentence for a name that the policy does not allow."""
    allowed = ", ".join(policy.section("allowed").get(kind) or ())
    return f"{path}: policy {policy.name!r} does not allow {value!r}. Allowed: {allowed}."


def find_dataset(request: Request, source: Named) -> Mapping[str, Any]:
    """The dataset named, or the only one there is. Raises `RefusalError`."""
    datasets = {item["name"]: item for item in source.spec.get("datasets") or ()}
    wanted = request.spec["source"].get("dataset")
    if not wanted:
        if len(datasets) == 1:
            return next(iter(datasets.values()))
        raise RefusalError(
            "DatasetRequired",
            f"spec.source.dataset: source {source.name!r} has several; name one of {', '.join(sorted(datasets))}.",
        )
    if wanted not in datasets:
        raise RefusalError(
            "DatasetNotFound",
            f"spec.source.dataset: source {source.name!r} has no dataset {wanted!r}." + _did_you_mean(wanted, datasets),
        )
    found: Mapping[str, Any] = datasets[wanted]
    return found


def find_columns(request: Request, dataset: Mapping[str, Any]) -> tuple[str, ...]:
    """The columns named, in the order asked for, or all that the dataset offers. Raises `RefusalError`."""
    allowed = tuple(dataset.get("columns") or ())
    wanted = tuple(request.spec["source"].get("columns") or ())
    for index, column in enumerate(wanted):
        if column not in allowed:
            raise RefusalError(
                "ColumnNotFound",
                f"spec.source.columns[{index}]: dataset {dataset['name']!r} has no column {column!r}."
                + _did_you_mean(column, allowed),
            )
    return wanted or allowed


def find_parameters(request: Request, dataset: Mapping[str, Any]) -> tuple[runspec.Parameter, ...]:
    """A value for every declared parameter, of its type. Raises `RefusalError`."""
    declared = {item["name"]: item for item in dataset.get("parameters") or ()}
    given = request.spec["source"].get("parameters") or {}
    for name in sorted(given):
        if name not in declared:
            raise RefusalError(
                "ParameterNotFound",
                f"spec.source.parameters.{name}: dataset {dataset['name']!r} takes no such parameter."
                + _did_you_mean(name, declared),
            )
    found = []
    for name, declaration in declared.items():
        value = given.get(name, declaration.get("default"))
        if value is None:
            raise RefusalError(
                "ParameterRequired",
                f"spec.source.parameters.{name}: dataset {dataset['name']!r} needs it, of type {declaration['type']}.",
            )
        parameter = runspec.Parameter(name=name, type=declaration["type"], value=value)
        if problem := parameters.problem(parameter):
            raise RefusalError("ParameterInvalid", f"spec.source.parameters.{name}: {problem}")
        found.append(parameter)
    return tuple(found)


def find_destination(request: Request, catalogue: Catalogue, policy: Policy) -> Named:
    """The destination named, the policy's default, or the only one there is. Raises `RefusalError`."""
    namespace = request.key.namespace
    offered = _offered(catalogue.destinations, namespace, policy, "destinations")
    name = (request.spec.get("destination") or {}).get("name") or policy.default("destination")
    if not name:
        # One destination is no choice; with several, nobody should find a file where it was not expected.
        if len(offered) == 1:
            return catalogue.destinations[offered[0]]
        raise RefusalError(
            "DestinationRequired",
            f"spec.destination.name: policy {policy.name!r} has no default destination; name one."
            + _did_you_mean("", offered),
            may_appear=not offered,
        )
    destination = _usable(catalogue.destinations.get(name), namespace)
    if destination is None:
        raise RefusalError(
            "DestinationNotFound",
            f"spec.destination.name: there is no ExportDestination {name!r} for namespace {namespace!r}."
            + _did_you_mean(name, offered)
            + " Create a new request with another name, or ask the platform team.",
            may_appear=True,
        )
    if not policy.allows("destinations", name):
        raise RefusalError("DestinationNotAllowed", not_allowed("spec.destination.name", name, policy, "destinations"))
    return destination
