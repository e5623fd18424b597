"""Notifications that were given up are sent again when the platform team asks for it, by an annotation of the policy
whose channels they were for: a moment, and perhaps names of channels behind it. What was given up until then goes out
anew; what is given up later does not, so the annotation may stay."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from export_operator.domain import times
from export_operator.domain.channels import Channel
from export_operator.domain.model import ANNOTATION_RESEND
from export_operator.domain.outbox import Dead


class Wish(NamedTuple):
    """To send again what was given up until then, of these channels; of all that the policy has when there are none."""

    until: datetime
    channels: tuple[str, ...] = ()

    def render(self) -> str:
        """The annotation's value."""
        return " ".join([times.render(self.until), *self.channels])


def wish_of(policy: Mapping[str, Any]) -> Wish | None:
    """What an ExportPolicy asks for; None where it asks for nothing, or nobody understands it."""
    when, *names = str((policy["metadata"].get("annotations") or {}).get(ANNOTATION_RESEND) or "").split() or [""]
    until = times.parse(when)
    return None if until is None else Wish(until, tuple(names))


def wanted(dead: Dead, channels: Mapping[str, Channel], wishes: Mapping[str, Wish], now: datetime) -> bool:
    """Whether it is to be sent again: its channel is there, and `wishes` of its policy, by name, cover it. One for a
    time that is yet to come waits for it: else what is given up would go round and round until then."""
    channel = channels.get(dead.channel)
    wish = None if channel is None else wishes.get(channel.policy)
    if channel is None or wish is None or wish.until > now or (wish.channels and channel.name not in wish.channels):
        return False
    given_up = times.parse(dead.time)
    return given_up is not None and given_up <= wish.until


def chosen(dead: Iterable[Dead], policy: str, channels: Iterable[str] = ()) -> list[Dead]:
    """Those of a policy; of these channels, unless there are none."""
    names = {f"{policy}/{name}" for name in channels}
    return [each for each in dead if (each.channel in names if names else each.channel.startswith(f"{policy}/"))]
