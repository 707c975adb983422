"""How often one of two answers is preferred."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

import scipy  # its `stats` takes a second to import, and loads when it is first used

from sweeper.errors import DataError
from sweeper.statistics.intervals import Interval, wilson_interval

PreferenceOutcome = Literal["a", "b", "tie"]


def compute_win_rate(outcomes: Sequence[PreferenceOutcome | None], alpha: float = 0.05) -> dict[str, Any]:
    """Win rate of "a" over "b", one outcome per query; None (or NaN) = unscored: left out, counted.

    Returns `n` (scored), `unscored`, `wins`, `losses`, `ties`, `value` = (wins + ties / 2) / n, `interval` at 1 - alpha
    and `p_value` of the exact two-sided sign test on the wins and losses; NaN where nothing is there to compute from.
    Interval: Wilson's score interval for a mean m of 0, 1/2 and 1, whose variance is m (1 - m) - P(tie) / 4. P(tie)
    enters at its own Wilson lower end, so ties narrow the interval only as far as they are known; without ties it is
    Wilson's. Raises DataError for other outcomes.
    """
    scored = [outcome for outcome in outcomes if outcome is not None and outcome == outcome]
    counts = Counter(scored)
    others = sorted(str(outcome) for outcome in set(counts) - {"a", "b", "tie"})
    if others:
        raise DataError("win rate", requested="outcomes a, b, tie or None", found=f"{others}")
    wins, losses, ties, n = counts["a"], counts["b"], counts["tie"], len(scored)
    value = (wins + ties / 2) / n if n else math.nan
    interval = _compute_score_interval(value, ties, n, alpha)
    return {
        "n": n,
        "unscored": len(outcomes) - n,
        "wins": wins,
        "losses": losses,
        "ties": ties,
        "value": value,
        "interval": [interval.low, interval.high],
        "p_value": float(scipy.stats.binomtest(wins, wins + losses).pvalue) if wins + losses else math.nan,
    }


def _compute_score_interval(value: float, ties: int, n: int, alpha: float) -> Interval:
    """All m with (value - m)^2 <= z^2 / n (m (1 - m) - P(tie) / 4): between the roots of a quadratic in m."""
    if n == 0:
        return Interval(math.nan, math.nan)
    share = wilson_interval(ties, n, alpha).low
    k = float(scipy.special.ndtri(1 - alpha / 2)) ** 2 / n
    middle = (2 * value + k) / (2 * (1 + k))
    half = math.sqrt(k * (4 * value * (1 - value) - share + k * (1 - share))) / (2 * (1 + k))
    return Interval(max(0.0, middle - half), min(1.0, middle + half))
