"""What a request names, found in the catalogue, or a refusal that says what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from export_contract import parameters, runspec
from export_operator.domain.channels import channels_of
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


def listed(names: Sequence[str]) -> str:
    """The names for a sentence, the first ten of many."""
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def _did_you_mean(given: str, known: Iterable[str]) -> str:
    options = sorted(known)
    close = difflib.get_close_matches(given, options, n=1)
    known_ones = f" Known: {listed(options)}." if options else " There is none."
    return (f" Did you mean {close[0]!r}?" if close else "") + known_ones


def usable(named: Named | None, namespace: str) -> Named | None:
    """Where a tenant may not use a source, it does not exist for it: names of others are not to be guessed at."""
    if named is None:
        return None
    allowed = named.spec.get("allowedNamespaces") or ()
    return named if not allowed or namespace in allowed else None


def _offered(objects: Mapping[str, Named], namespace: str, policy: Policy, kind: str) -> list[str]:
    return [name for name, item in objects.items() if usable(item, namespace) and policy.allows(kind, name)]


def find_source(request: Request, catalogue: Catalogue, policy: Policy) -> Named:
    """The source, if this namespace and this policy may use it. Raises `RefusalError`."""
    name, namespace = request.spec["source"]["name"], request.key.namespace
    source = usable(catalogue.sources.get(name), namespace)
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
    return f"{path}: policy {policy.name!r} does not allow {value!r}. Allowed: {listed(policy.allowed(kind) or ())}."


def datasets_of(source: Named) -> dict[str, Mapping[str, Any]]:
    """What the source offers, by name."""
    return {item["name"]: item for item in source.spec.get("datasets") or ()}


def find_dataset(request: Request, source: Named, policy: Policy) -> Mapping[str, Any]:
    """The dataset named, or the only one that the policy allows. Raises `RefusalError`."""
    datasets = datasets_of(source)
    allowed = policy.allowed_datasets(source.name)
    offered = sorted(name for name in datasets if allowed is None or name in allowed)
    wanted = request.spec["source"].get("dataset") or (offered[0] if len(offered) == 1 else None)
    if not wanted:
        if not offered:
            raise RefusalError(
                "DatasetNotAllowed",
                f"spec.source.dataset: source {source.name!r} has none that policy {policy.name!r} allows."
                " Ask the platform team.",
            )
        raise RefusalError(
            "DatasetRequired",
            f"spec.source.dataset: source {source.name!r} has several; name one of {listed(offered)}.",
        )
    if wanted not in datasets:
        raise RefusalError(
            "DatasetNotFound",
            f"spec.source.dataset: source {source.name!r} has no dataset {wanted!r}." + _did_you_mean(wanted, offered),
        )
    if wanted not in offered:
        raise RefusalError(
            "DatasetNotAllowed",
            f"spec.source.dataset: policy {policy.name!r} does not allow {wanted!r} of source {source.name!r}."
            f" Allowed: {listed(offered) or 'none'}.",
        )
    found: Mapping[str, Any] = datasets[wanted]
    return found


def find_columns(request: Request, source: Named, dataset: Mapping[str, Any], policy: Policy) -> tuple[str, ...]:
    """The columns named, in the order asked for, or all that dataset and policy allow, in the dataset's order. Raises
    `RefusalError`."""
    present, name = tuple(dataset.get("columns") or ()), dataset["name"]
    allowed = (policy.allowed_datasets(source.name) or {}).get(name)
    offered = tuple(column for column in present if allowed is None or column in allowed)
    wanted = tuple(request.spec["source"].get("columns") or ())
    for index, column in enumerate(wanted):
        if column not in present:
            raise RefusalError(
                "ColumnNotFound",
                f"spec.source.columns[{index}]: dataset {name!r} has no column {column!r}."
                + _did_you_mean(column, offered),
            )
        if column not in offered:
            raise RefusalError(
                "ColumnNotAllowed",
                f"spec.source.columns[{index}]: policy {policy.name!r} does not allow {column!r} of dataset {name!r}."
                f" Allowed: {listed(offered) or 'none'}.",
            )
    if not offered:
        raise RefusalError(
            "ColumnNotAllowed",
            f"spec.source.columns: dataset {name!r} has no column that policy {policy.name!r} allows."
            " Ask the platform team.",
        )
    return wanted or offered


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
    destination = usable(catalogue.destinations.get(name), namespace)
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


def check_channels(request: Request, policy: Policy) -> None:
    """Whether the policy has every channel named. Raises `RefusalError`."""
    named = request.spec.get("notify") or ()
    known = channels_of(policy) if named else {}
    for index, name in enumerate(named):
        if name not in known:
            raise RefusalError(
                "ChannelNotFound",
                f"spec.notify[{index}]: policy {policy.name!r} has no channel {name!r}."
                + _did_you_mean(name, known)
                + " Create a new request that names one of them.",
                may_appear=True,
            )
