"""What is to be said of an ExportPolicy itself: whether it is in force, and what it names that is not there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from export_operator.domain.channels import channels_of, unknown_names
from export_operator.domain.lookup import datasets_of, listed
from export_operator.domain.model import Catalogue, Named
from export_operator.domain.policy import Policy, find_zone


@dataclass(frozen=True, slots=True)
class Standing:
    """The condition Accepted: False when the policy can apply to nobody, or lets nobody export."""

    accepted: bool
    reason: str
    message: str


def judge(policy: Named, catalogue: Catalogue) -> Standing:
    """The first of what is worth saying. A name that is unknown forbids nothing: it may be applied later."""
    if shadow := _shadow(policy, catalogue):
        text = f"it never applies: whom it selects, policy {shadow!r} selects too, and comes first by name"
        return Standing(False, "Shadowed", text)
    rules = Policy(policy.name, policy.spec)
    unknown = tuple(_unknown(rules, catalogue))
    allowed = rules.allowed("sources")
    if allowed is not None and not any(_exports(rules, catalogue.sources.get(name)) for name in allowed):
        text = f"nobody can export under it: nothing that it allows is there. Unknown: {listed(unknown)}"
        return Standing(False, "NothingAllowed", text)
    zone = (rules.section("limits").get("calendar") or {}).get("timeZone")
    if zone is not None and find_zone(zone) is None:
        text = f"spec.limits.calendar.timeZone: {zone!r} is not known here; days are counted in UTC"
        return Standing(True, "TimeZoneUnknown", text)
    for channel in channels_of(rules).values():
        for field in ("title", "body"):
            if names := unknown_names(getattr(channel, field)):
                where = f"template.{field} of channel {channel.name!r}"
                text = f"in force, but {where} names what no event has: {listed(names)}"
                return Standing(True, "TemplateInvalid", text)
    if unknown:
        return Standing(True, "NamesUnknown", f"in force, but it names what is not there: {listed(unknown)}")
    return Standing(True, "Valid", "in force")


def _shadow(policy: Named, catalogue: Catalogue) -> str | None:
    """A policy that selects all whom this one selects, is no less specific and comes first by name."""
    hiding = (
        other.name
        for other in catalogue.policies.values()
        if other.name < policy.name
        and all(
            bool(one) == bool(two) and one <= two for one, two in zip(policy.selectors, other.selectors, strict=True)
        )
    )
    return min(hiding, default=None)


def _exports(policy: Policy, source: Named | None) -> bool:
    """Whether something of the source may be exported."""
    if source is None:
        return False
    datasets, allowed = datasets_of(source), policy.allowed_datasets(source.name)
    if allowed is None:
        return True
    return any(
        name in datasets and (columns is None or not set(columns).isdisjoint(datasets[name].get("columns") or ()))
        for name, columns in allowed.items()
    )


def _unknown(policy: Policy, catalogue: Catalogue) -> Iterator[str]:
    """What the policy names that is not there, in the order of its fields."""
    sources = dict.fromkeys((*(policy.section("allowed").get("sources") or ()), *(policy.allowed("sources") or ())))
    yield from (f"source {name}" for name in sources if name not in catalogue.sources)
    for name in sources:
        if (source := catalogue.sources.get(name)) is not None:
            yield from _unknown_datasets(policy, source)
    default = policy.section("defaults").get("destination")
    destinations = dict.fromkeys((*(policy.allowed("destinations") or ()), *((default,) if default else ())))
    yield from (f"destination {name}" for name in destinations if name not in catalogue.destinations)


def _unknown_datasets(policy: Policy, source: Named) -> Iterator[str]:
    datasets = datasets_of(source)
    for name, columns in (policy.allowed_datasets(source.name) or {}).items():
        if name not in datasets:
            yield f"dataset {source.name}/{name}"
            continue
        present = datasets[name].get("columns") or ()
        yield from (f"column {source.name}/{name}/{column}" for column in columns or () if column not in present)
