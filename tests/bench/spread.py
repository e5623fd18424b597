"""What was measured, and what is said of several runs: median, least, most, and the quartiles' distance."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Sample:
    """One run. CPU in seconds, memory in bytes. `foreign` is what the machine did beside the run."""

    wall: float
    client: float
    server: float
    s3: float
    foreign: float
    peak_memory: int
    output_bytes: int
    first_row: float = 0.0
    """Process start to the first CopyData, in seconds, where the contestant tells; else 0."""
    steps: Mapping[str, float] = field(default_factory=dict)
    """Seconds by step, as the exporter tells them; its steps overlap."""

    checkpointed: bool = False
    """Was a checkpoint seen in S3 while it ran?"""

    def is_void(self, processors: int, allowed: float) -> bool:
        """Was more than this share of the machine's time foreign? Very short runs may have a tenth of a second."""
        return self.foreign > max(allowed * processors * self.wall, 0.1)


@dataclass(frozen=True, slots=True)
class Spread:
    """Of `count` values."""

    median: float
    least: float
    most: float
    quartiles: float
    """The distance between the first and the third quartile; 0 for fewer than two values."""
    count: int


def spread(values: Sequence[float]) -> Spread:
    """Raises ValueError without values."""
    if not values:
        raise ValueError("there is nothing to tell the spread of")
    quartiles = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [0.0, 0.0, 0.0]
    return Spread(statistics.median(values), min(values), max(values), quartiles[2] - quartiles[0], len(values))


def percentile(values: Sequence[float], percent: float) -> float:
    """The least of the values that so many per cent do not exceed. Raises ValueError without values."""
    if not values:
        raise ValueError("there is nothing to tell a percentile of")
    ordered = sorted(values)
    return ordered[max(math.ceil(len(ordered) * percent / 100) - 1, 0)]


def of(samples: Sequence[Sample], value: Callable[[Sample], float]) -> Spread:
    """The spread of one figure over runs."""
    return spread([value(sample) for sample in samples])


def ratio(ours: Sequence[Sample], theirs: Sequence[Sample], value: Callable[[Sample], float]) -> float:
    """Ratio of the medians. Raises ZeroDivisionError when theirs is 0."""
    return of(ours, value).median / of(theirs, value).median


def paired(ours: Sequence[Sample], theirs: Sequence[Sample], a_round: tuple[int, int] = (1, 1)) -> Spread:
    """The spread of the wall times' ratios, round by round: what drifts with the machine is not in it. Of ours and of
    theirs there are so many `a_round`, of which the median counts."""
    return spread(
        [our / their for our, their in zip(_by_round(ours, a_round[0]), _by_round(theirs, a_round[1]), strict=False)]
    )


def _by_round(samples: Sequence[Sample], a_round: int) -> list[float]:
    walls = [each.wall for each in samples]
    return [statistics.median(walls[first : first + a_round]) for first in range(0, len(walls), a_round)]
