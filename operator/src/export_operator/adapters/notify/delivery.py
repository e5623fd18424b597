"""What every way of delivery has in common."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from export_operator.domain.channels import Channel
from export_operator.domain.notifications import Notification

Send = Callable[[Channel, Mapping[str, bytes], Notification], Awaitable[None]]
"""Deliver a notification, with what the channel's Secret holds. Raises `DeliveryError`."""


class DeliveryError(Exception):
    """It was not delivered, or nobody knows. The text names no URL and no other part of the Secret. `refused`: the
    receiver is well and does not take this one; else the whole channel is in trouble."""

    def __init__(self, text: str, *, refused: bool = False) -> None:
        super().__init__(text)
        self.refused = refused


def text_of(secret: Mapping[str, bytes], key: str) -> str:
    """A text of the Secret without white space around it; "" when it is not there. Raises `DeliveryError`."""
    try:
        return secret.get(key, b"").decode("utf-8").strip()
    except UnicodeDecodeError as error:
        raise DeliveryError(f"the Secret's {key} is not UTF-8") from error
