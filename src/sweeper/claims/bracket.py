"""The bracket of the best arm on an ordered axis: assumes one peak, and nothing about the shape of the curve.

A quadratic in log size has a two-sided optimum for truths that saturate or have a plateau, and misses one that is
asymmetric. Comparisons of pairs need no curve: what a larger arm beats lies below the best one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

from sweeper.statistics.aliases import ArmValue
from sweeper.statistics.intervals import Interval


@dataclass(frozen=True)
class Bracket:
    """Where the best arm lies on an ordered axis."""

    arms: tuple[ArmValue, ...]
    """The arms that may be best, ascending; empty where the data contradict a single peak."""
    below: ArmValue | None
    """The largest arm that a larger one beats; the best one is larger. None without such an arm."""
    above: ArmValue | None
    """The smallest arm that a smaller one beats; the best one is smaller."""
    has_lower_end: bool
    has_upper_end: bool
    n_pairs: int
    alpha: float
    """Of the bracket; each pair is tested at alpha / n_pairs (Bonferroni)."""

    @property
    def is_two_sided(self) -> bool:
        """Whether it has both ends."""
        return self.has_lower_end and self.has_upper_end


def find_bracket(
    arms: Sequence[ArmValue], compute_interval: Callable[[ArmValue, ArmValue, float], Interval], alpha: float
) -> Bracket:
    """Find the bracket of the best of at least two arms.

    Args:
        arms: the arms, ascending.
        compute_interval: (larger arm, smaller arm, alpha) -> interval at 1 - alpha of the larger one's pass rate minus
            the smaller one's; NaN where undefined, which beats nothing.
        alpha: probability, at most, that the best arm lies outside where there is one peak.

    Returns:
        The bracket.

    Example:
        >>> gains = {("b", "a"): 0.2, ("c", "a"): 0.1, ("c", "b"): -0.1}
        >>> found = find_bracket("abc", lambda x, y, _: Interval(gains[x, y] - 0.05, gains[x, y] + 0.05), 0.05)
        >>> found.arms
        ('b',)
    """
    pairs = list(combinations(range(len(arms)), 2))
    first, last = -1, len(arms)
    for small, large in pairs:
        interval = compute_interval(arms[large], arms[small], alpha / len(pairs))
        if not math.isnan(interval.low) and interval.low > 0:
            first = max(first, small)
        if not math.isnan(interval.high) and interval.high < 0:
            last = min(last, large)
    return Bracket(
        arms=tuple(arms[first + 1 : last]),
        below=arms[first] if first >= 0 else None,
        above=arms[last] if last < len(arms) else None,
        has_lower_end=first >= 0,
        has_upper_end=last < len(arms),
        n_pairs=len(pairs),
        alpha=alpha,
    )
