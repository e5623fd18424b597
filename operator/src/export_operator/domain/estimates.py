"""How large a run may turn out, before it has begun: what its dataset delivered of late, or what the platform team
declares. A guess only reserves: it refuses nobody, and what was delivered settles it."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

from export_operator.domain.model import DeliveredSize, Named
from export_operator.domain.quota import Demand, Size

REMEMBERED = 5  # deliveries of a dataset: parameters and columns make some small, and the largest of them counts


def remember(deliveries: MutableMapping[tuple[str, str], tuple[DeliveredSize, ...]], status: Mapping[str, Any]) -> None:
    """Take in the status of a request. Only a complete delivery says how large the dataset is, and
    that of another request is remembered by itself."""
    result, effective = status.get("result") or {}, status.get("effective") or {}
    if status.get("adopted") or not (result.get("complete") and "rows" in result and "bytes" in result):
        return
    place = (str(effective.get("source")), str(effective.get("dataset")))
    delivery = DeliveredSize(str(status.get("run")), int(result["rows"]), int(result["bytes"]))
    known = deliveries.get(place, ())
    if all(each.run != delivery.run for each in known):
        deliveries[place] = (*known, delivery)[-REMEMBERED:]


def demand(source: Named, dataset: str, deliveries: Sequence[DeliveredSize], maxima: Mapping[str, Any]) -> Demand:
    """What a run of the dataset asks of its windows. `maxima` are the policy's: what no run exceeds."""
    declared: Mapping[str, Any] = next(
        (item.get("expected") or {} for item in source.spec.get("datasets") or () if item["name"] == dataset), {}
    )
    return Demand(
        rows=Size(_expected([each.rows for each in deliveries], declared.get("rows")), maxima.get("rows")),
        bytes=Size(_expected([each.bytes for each in deliveries], declared.get("bytes")), maxima.get("bytes")),
    )


def _expected(delivered: Sequence[int], declared: int | None) -> int:
    """An empty table is expected to have a row, lest 0 should mean that nobody knows."""
    return max(1, *delivered) if delivered else int(declared or 0)
