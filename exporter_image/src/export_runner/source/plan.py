"""How a run is read: in which order, and whether it can go on after a crash. A pure decision.

| `resume` | `consistency` | eligible key | estimate | then |
|---|---|---|---|---|
| `Never` | any | any | any | as the table or query gives the rows; starts anew |
| any | `Snapshot` | any | any | likewise: another process cannot have the same snapshot |
| `Always` | `Auto`, `Segmented` | yes | any | in the order of the key, with a checkpoint |
| `Auto` | `Segmented` | yes | any | likewise |
| `Auto` | `Auto` | yes | above `resumeAboveBytes` | likewise |
| `Auto` | `Auto` | yes | below, or unknown | as the rows come, which is fastest; starts anew |
| `Auto` | `Auto` | no | any | likewise |
| `Always` | not `Snapshot` | no | any | refused |
| not `Never` | `Segmented` | no | any | refused |

Before a run whose estimate is above `resumeAboveBytes` the destination is probed (`sinks.probe`): minutes of reading
are worth some calls. A smaller one finds out by its own upload, and costs no more than that.

An object that cannot be continued (Parquet and Arrow streams in one) starts anew in any case, and so does a run whose
destination has no place for a checkpoint.
"""

from __future__ import annotations

from dataclasses import dataclass

from export_contract.failures import Failure
from export_contract.runspec import RunSpec
from export_runner.errors import ExportError


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known once the source is described. `key` is empty when none is eligible; `continues`: can the object be
    gone on with in another process? `estimated_bytes` is the planner's rows × width, None when it says nothing."""

    key: tuple[str, ...]
    continues: bool
    estimated_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`key` is the order of reading, empty for the order in which the rows come. `probes`: the destination is tried out
    before the first row."""

    key: tuple[str, ...] = ()
    checkpoint: bool = False
    probes: bool = False


def wants_key(spec: RunSpec) -> bool:
    """Might the plan need a key at all?"""
    asked = spec.resume != "Never" and spec.consistency != "Snapshot"
    return asked and bool(spec.destination.checkpoint_key)


def decide(spec: RunSpec, facts: Facts) -> Plan:
    """See the table above. Raises `ExportError` (DatasetInvalid) where it says "refused"."""
    large = facts.estimated_bytes is not None and facts.estimated_bytes > spec.limits.resume_above_bytes
    # Elsewhere than with the data, a probe would say nothing of where those go.
    probes = large and bool(spec.destination.checkpoint_key) and not spec.destination.checkpoint_bucket
    if not wants_key(spec) or not facts.continues:
        return Plan(probes=probes)
    asked = spec.resume == "Always" or spec.consistency == "Segmented"
    if not facts.key:
        if asked:
            raise ExportError(Failure.DATASET_INVALID, _without_key(spec))
        return Plan(probes=probes)
    return Plan(key=facts.key, checkpoint=True, probes=probes) if asked or large else Plan()


def _without_key(spec: RunSpec) -> str:
    field = "resume: Always" if spec.resume == "Always" else "consistency: Segmented"
    return (
        f"{field} needs a unique key of NOT NULL columns, all of them delivered and unmasked, in the dataset's order;"
        f" dataset {spec.source.dataset!r} has none. Add one to the columns, declare the key of a query, or use Auto."
    )
