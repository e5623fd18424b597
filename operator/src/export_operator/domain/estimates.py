"""How large a run may turn out, before it has begun: what its dataset delivered of late, or what the platform team
declares. A guess only reserves: it refuses nobody, and what was delivered settles it."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

from export_operator.domain.model import DeliveredSize
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


def declared(dataset: Mapping[str, Any], maxima: Mapping[str, Any]) -> Demand:
    """What a run of the dataset asks of its windows as long as none has delivered. `maxima` are the policy's: what no
    run exceeds."""
    told: Mapping[str, Any] = dataset.get("expected") or {}
    return Demand(
        rows=Size(int(told.get("rows") or 0), maxima.get("rows")),
        bytes=Size(int(told.get("bytes") or 0), maxima.get("bytes")),
    )


def demand(expected: Demand, deliveries: Sequence[DeliveredSize]) -> Demand:
    """The same after these deliveries. An empty table is expected to have a row, lest 0 should mean that nobody
    knows."""
    if not deliveries:
        return expected
    return Demand(
        rows=Size(max(1, *(each.rows for each in deliveries)), expected.rows.most),
        bytes=Size(max(1, *(each.bytes for each in deliveries)), expected.bytes.most),
    )
