"""How often one of two answers is preferred."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import scipy  # loads `scipy.stats`, which takes a second to import, when it is first used

from sweeper.errors import DataError
from sweeper.statistics.intervals import UNDEFINED_INTERVAL, Interval, wilson_interval

PreferenceOutcome = Literal["a", "b", "tie"]


@dataclass(frozen=True)
class WinRate:
    """Win rate of "a" over "b"; NaN where there is nothing to compute it from."""

    n: int
    """Scored queries."""
    unscored: int
    wins: int
    losses: int
    ties: int
    value: float
    """(wins + ties / 2) / n"""
    interval: Interval
    p_value: float
    """Of the exact two-sided sign test on wins and losses."""

    def to_json(self) -> dict[str, object]:
        """Return the fields, with `interval` as [low, high]."""
        return {
            "n": self.n,
            "unscored": self.unscored,
            "wins": self.wins,
            "losses": self.losses,
            "ties": self.ties,
            "value": self.value,
            "interval": [self.interval.low, self.interval.high],
            "p_value": self.p_value,
        }


def compute_win_rate(outcomes: Sequence[PreferenceOutcome | None], alpha: float = 0.05) -> WinRate:
    """Compute the win rate of "a" over "b".

    The interval is Wilson's score interval for a mean m of 0, 1/2 and 1, whose variance is m (1 - m) - P(tie) / 4.
    P(tie) enters at its own Wilson lower end, so ties narrow the interval only as far as their rate is known. Without
    ties it is Wilson's interval.

    Args:
        outcomes: one per query; None or NaN = unscored.
        alpha: the interval is at 1 - alpha.

    Returns:
        The rate with its interval, the counts of wins, losses and ties, and the p-value of a sign test.

    Raises:
        DataError: other outcomes.

    Example:
        >>> compute_win_rate(["a", "a", "b", "tie"]).value
        0.625
    """
    scored = [outcome for outcome in outcomes if outcome is not None and outcome == outcome]
    counts = Counter(scored)
    others = sorted(str(outcome) for outcome in set(counts) - {"a", "b", "tie"})
    if others:
        raise DataError("win rate", requested="outcomes a, b, tie or None", found=f"{others}")
    wins, losses, ties, n = counts["a"], counts["b"], counts["tie"], len(scored)
    value = (wins + ties / 2) / n if n else math.nan
    return WinRate(
        n=n,
        unscored=len(outcomes) - n,
        wins=wins,
        losses=losses,
        ties=ties,
        value=value,
        interval=_compute_score_interval(value, ties, n, alpha),
        p_value=float(scipy.stats.binomtest(wins, wins + losses).pvalue) if wins + losses else math.nan,
    )


def _compute_score_interval(value: float, ties: int, n: int, alpha: float) -> Interval:
    """Return all m with (value - m)^2 <= z^2 / n (m (1 - m) - P(tie) / 4): between the roots of a quadratic in m."""
    if n == 0:
        return UNDEFINED_INTERVAL
    share = wilson_interval(ties, n, alpha).low
    k = float(scipy.special.ndtri(1 - alpha / 2)) ** 2 / n
    middle = (2 * value + k) / (2 * (1 + k))
    half = math.sqrt(k * (4 * value * (1 - value) - share + k * (1 - share))) / (2 * (1 + k))
    return Interval(max(0.0, middle - half), min(1.0, middle + half))
