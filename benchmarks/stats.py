"""The few statistics that a fair comparison needs: medians, quartiles, and the trust in a ratio."""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

RESAMPLES = 1000
"""How often a ratio is drawn anew for its interval."""


@dataclass(frozen=True)
class Sample:
    """What was measured of one contender, in the unit of its row."""

    name: str
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError(f"nothing was measured of {self.name}")

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def quartiles(self) -> tuple[float, float]:
        """The values below which one and three quarters lie; of one value, itself."""
        if len(self.values) == 1:
            return self.values[0], self.values[0]
        low, _, high = statistics.quantiles(self.values, n=4, method="inclusive")
        return low, high


@dataclass(frozen=True)
class Ratio:
    """A ratio of two medians, with the interval in which it would fall in 95 of 100 such runs."""

    value: float
    low: float
    high: float


def ratio_of_medians(above: Sequence[float], below: Sequence[float]) -> Ratio:
    """Return the ratio of two medians with its bootstrap interval.

    Where both have the same number of values these were measured in turn, and whole rounds are
    drawn, so that what changes slowly during a run (another program, the processor's clock) does
    not widen the interval.

    Args:
        above: the values whose median is divided.
        below: the values whose median divides; must not be zero.
    """
    value = statistics.median(above) / statistics.median(below)
    draw = random.Random(20240229)  # the same values give the same interval
    paired = len(above) == len(below)
    ratios: list[float] = []
    for _ in range(RESAMPLES):
        rounds = draw.choices(range(len(above)), k=len(above))
        others = rounds if paired else draw.choices(range(len(below)), k=len(below))
        divisor = statistics.median(below[i] for i in others)
        if divisor:
            ratios.append(statistics.median(above[i] for i in rounds) / divisor)
    ratios.sort()
    last = len(ratios) - 1
    return Ratio(value, ratios[round(0.025 * last)], ratios[round(0.975 * last)])
