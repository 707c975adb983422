"""Pass rates of an arm: overall (query-weighted), by subset, and the plain mean of subsets."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sweeper.statistics.intervals import wilson_interval

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class PassRate:
    """A rate with its Wilson interval, which is about the choice of queries."""

    rate: float
    low: float
    high: float
    n_queries: int
    """The n of the interval: further seeds repeat queries and add none."""
    n_outcomes: int
    n_unscored: int
    """Outcomes (run x query) without a score."""


def compute_pass_rate(matrix: pd.DataFrame, fingerprints: Sequence[str], alpha: float = 0.05) -> PassRate:
    """Compute the mean over queries of each query's mean over runs; NaN without any score.

    Args:
        matrix: the result of `build_pass_matrix`: rows (subset, query_id), columns fingerprints.
        fingerprints: the runs whose rate it is.
        alpha: the interval is at 1 - alpha.

    Returns:
        The rate with its Wilson interval over queries.

    Example:
        >>> import pandas as pd
        >>> index = pd.MultiIndex.from_tuples([("G1_tool", "1"), ("G1_tool", "2")], names=["subset", "query_id"])
        >>> matrix = pd.DataFrame({"r0": [0.0, 1.0], "r1": [1.0, 1.0]}, index=index)
        >>> compute_pass_rate(matrix, ["r0", "r1"]).rate
        0.75
    """
    runs = matrix[[name for name in fingerprints if name in matrix.columns]]
    by_query = runs.mean(axis=1).dropna()
    n_queries, n_outcomes = len(by_query), int(runs.notna().to_numpy().sum())
    rate = float(by_query.mean()) if n_queries else math.nan
    interval = wilson_interval(0 if math.isnan(rate) else rate * n_queries, n_queries, alpha)
    return PassRate(rate, interval.low, interval.high, n_queries, n_outcomes, int(runs.isna().to_numpy().sum()))


def compute_subset_rates(matrix: pd.DataFrame, fingerprints: Sequence[str], alpha: float = 0.05) -> dict[str, PassRate]:
    """Compute the rate of each subset of the suite, in alphabetical order.

    Args:
        matrix: the result of `build_pass_matrix`: rows (subset, query_id), columns fingerprints.
        fingerprints: the runs whose rate it is.
        alpha: the interval is at 1 - alpha.

    Returns:
        Subset -> its rate, with a Wilson interval over its queries.

    Example:
        >>> import pandas as pd
        >>> index = pd.MultiIndex.from_tuples([("G1_tool", "1"), ("G1_tool", "2")], names=["subset", "query_id"])
        >>> matrix = pd.DataFrame({"r0": [0.0, 1.0], "r1": [1.0, 1.0]}, index=index)
        >>> {name: rate.rate for name, rate in compute_subset_rates(matrix, ["r0"]).items()}
        {'G1_tool': 0.5}
    """
    subsets = matrix.index.get_level_values("subset")
    return {str(name): compute_pass_rate(matrix[subsets == name], fingerprints, alpha) for name in sorted(set(subsets))}


def average_subset_rates(rates: Iterable[PassRate], alpha: float = 0.05) -> PassRate:
    """Average the rates of subsets with equal weight; NaN where a subset has no score.

    The Wilson interval has n = k^2 / sum(1/n_i): a simple random sample of that many queries has the variance of k
    equally weighted subsets.

    Args:
        rates: the rate of each subset.
        alpha: the interval is at 1 - alpha.

    Returns:
        The mean with its interval, and the numbers of queries and outcomes of all subsets.

    Example:
        >>> import pandas as pd
        >>> index = pd.MultiIndex.from_tuples([("G1_tool", "1"), ("G1_tool", "2")], names=["subset", "query_id"])
        >>> matrix = pd.DataFrame({"r0": [0.0, 1.0], "r1": [1.0, 1.0]}, index=index)
        >>> average_subset_rates(compute_subset_rates(matrix, ["r0", "r1"]).values()).rate
        0.75
    """
    found = list(rates)
    rate = sum(r.rate for r in found) / len(found) if found else math.nan
    counts = (sum(r.n_queries for r in found), sum(r.n_outcomes for r in found), sum(r.n_unscored for r in found))
    if math.isnan(rate):
        return PassRate(math.nan, math.nan, math.nan, *counts)
    effective = len(found) ** 2 / sum(1 / r.n_queries for r in found)
    interval = wilson_interval(rate * effective, effective, alpha)
    return PassRate(rate, interval.low, interval.high, *counts)
