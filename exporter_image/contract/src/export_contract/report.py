"""What a pod tells: progress, one JSON line a second on stdout, and at its end the outcome (termination message).

The pod may be of another release than whoever reads it: fields that the reader does not know are left out, and a new
one has a default. `version` changes when an older reader could misread what it knows."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

from export_contract.codec import ContractError, dumps, loads

MAX_TERMINATION_BYTES = 4096  # the kubelet cuts a termination message there
MAX_COUNT = 2**53  # of rows and bytes: every JSON reader keeps such a number exactly
MAX_SECONDS = 10.0**8  # three years
MAX_NAME = 253  # characters of an object's name
MAX_MOVED = 12  # destinations that a call of redeliver tells of
MAX_RETRIED = 8  # kinds of calls and failures that an outcome tells of

EstimateSource = Literal["", "Statistics", "StaleStatistics", "Planner"]
"""What `estimated_rows` rests on. Statistics: those of a table that is read whole, gathered after most of its changes.
StaleStatistics: too much was changed since, or they were never gathered. Planner: PostgreSQL's guess at what a query, a
filter, a view, row level security or a foreign table gives. Empty: there is no estimate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far an attempt is. `bytes` are those of the encoded object; `estimated_rows` is None when nobody knows.
    `resumed_rows`: it went on behind so many, None: it began anew. `checkpoint_rows`: another attempt would go on
    behind so many, None: it would begin anew."""

    type: Literal["progress"] = "progress"
    run: str
    rows: int
    bytes: int
    elapsed_seconds: float
    estimated_rows: int | None = None
    estimate_source: EstimateSource = ""
    resumed_rows: int | None = None
    checkpoint_rows: int | None = None

    def __post_init__(self) -> None:
        counts = (self.rows, self.bytes, self.estimated_rows or 0, self.resumed_rows or 0, self.checkpoint_rows or 0)
        if not all(0 <= count <= MAX_COUNT for count in counts) or not 0 <= self.elapsed_seconds <= MAX_SECONDS:
            raise ContractError("rows, bytes or seconds are out of range")

    def to_json(self) -> str:
        return dumps(self)

    @staticmethod
    def from_line(line: str) -> Progress | None:
        """The progress in a log line, or None: a log line is never trusted to be one."""
        if '"type":"progress"' not in line:
            return None
        try:
            return loads(Progress, line, strict=False)
        except ContractError:
            return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Redelivered:
    """What a call of `redeliver` has moved out of a fallback: how many exports, by the name of the destination."""

    type: Literal["redelivered"] = "redelivered"
    moved: dict[str, int]

    def __post_init__(self) -> None:
        if not all(len(name) <= MAX_NAME and 0 <= count <= MAX_COUNT for name, count in self.moved.items()):
            raise ContractError("a name or a count is out of range")

    def to_json(self) -> str:
        """At most 4096 bytes, as much as a termination message holds: of many destinations, those of most exports."""
        most = sorted(self.moved.items(), key=lambda item: (-item[1], item[0]))[:MAX_MOVED]
        return dumps(dataclasses.replace(self, moved=dict(most)))

    @staticmethod
    def from_json(text: str) -> Redelivered:
        """Raises `ContractError`."""
        return loads(Redelivered, text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """What was delivered. `bytes` and `sha256` are of the object as stored (compressed); of several objects `bytes` is
    the sum and `sha256` is empty: the manifest has each one's."""

    uri: str
    manifest_uri: str
    rows: int
    bytes: int
    sha256: str
    objects: int = 1
    connections: int = 1
    complete: bool = True
    consistency: str = "Snapshot"
    snapshot_time: str = ""
    used_fallback: bool = False
    resumed: int = 0
    segments: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureReport:
    """Why an attempt failed. `message` names what is wrong without row values and without secrets."""

    reason: str
    failure_class: str
    message: str
    retryable: bool
    exit_code: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The termination message: exactly one of `delivered` and `failure`. Seconds by step in `timings`. `warnings` are
    sentences about what did not end this attempt, but may end another: neither row values nor secrets.
    `checkpoint_rows` is that of `Progress`. `retries` tells how often calls were tried again, by call and reason of the
    failure: `UploadPart/DestinationUnavailable`; of at most `MAX_RETRIED` such."""

    version: Literal[1] = 1
    run: str
    delivered: Delivered | None = None
    failure: FailureReport | None = None
    timings: dict[str, float] = dataclasses.field(default_factory=dict)
    peak_memory_bytes: int = 0
    rows: int = 0
    warnings: tuple[str, ...] = ()
    checkpoint_rows: int | None = None
    retries: dict[str, int] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.delivered is None) == (self.failure is None):
            raise ContractError("exactly one of 'delivered' and 'failure' must be given")

    def to_json(self) -> str:
        """At most `MAX_TERMINATION_BYTES` of UTF-8: an overlong failure message is shortened to fit."""
        text = dumps(self)
        excess = len(text.encode()) - MAX_TERMINATION_BYTES
        if excess <= 0 or self.failure is None:
            return text
        message = self.failure.message
        while excess > 0 and message:
            message = message[: max(0, len(message) - max(1, excess // 4))]
            shorter = dataclasses.replace(self.failure, message=message + "…")
            text = dumps(dataclasses.replace(self, failure=shorter))
            excess = len(text.encode()) - MAX_TERMINATION_BYTES
        return text

    @staticmethod
    def from_json(text: str | bytes) -> Outcome:
        """Raises `ContractError`: a pod may write anything there."""
        return loads(Outcome, text, strict=False)
