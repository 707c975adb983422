"""An uncertain number: an expected value and its range. In YAML a mapping with the keys low, expected and high."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from pydantic import ConfigDict


@dataclass(frozen=True)
class Estimate:
    """An expected value with the range that it may well lie in; NaN if unknown."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    low: float
    """Lower end of the range."""
    expected: float
    """The expected value."""
    high: float
    """Upper end of the range."""

    def __add__(self, other: Estimate) -> Estimate:
        """Add expected values and ends of the ranges."""
        return Estimate(self.low + other.low, self.expected + other.expected, self.high + other.high)

    def scale(self, factor: float) -> Estimate:
        """Multiply by an exact number."""
        return Estimate(self.low * factor, self.expected * factor, self.high * factor)

    @property
    def is_known(self) -> bool:
        """Whether there is an expected value."""
        return not math.isnan(self.expected)


ZERO_ESTIMATE = Estimate(0.0, 0.0, 0.0)
UNKNOWN_ESTIMATE = Estimate(math.nan, math.nan, math.nan)


def sum_estimates(estimates: Iterable[Estimate]) -> Estimate:
    """Sum estimates. Ends are summed too: an error about one trial of a model recurs in the next."""
    terms = list(estimates)
    return Estimate(*(math.fsum(getattr(term, end) for term in terms) for end in ("low", "expected", "high")))


def check_estimate(value: Estimate) -> Estimate:
    """Return a configured estimate if it is finite, not negative and in order.

    Raises:
        ValueError: it is not.
    """
    ends = (value.low, value.expected, value.high)
    if not all(math.isfinite(end) and end >= 0 for end in ends):
        raise ValueError(f"not a finite number of at least 0: {', '.join(f'{end:g}' for end in ends)}")
    if list(ends) != sorted(ends):
        raise ValueError(f"not in order: low {value.low:g}, expected {value.expected:g}, high {value.high:g}")
    return value
