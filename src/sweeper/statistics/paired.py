"""Difference of two arms over shared queries and seeds."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from sweeper.statistics.intervals import Interval, clopper_pearson
from sweeper.statistics.outcomes import AXES

if TYPE_CHECKING:
    import pandas as pd

DRAWS = 4000
"""Bootstrap draws; the standard error's own Monte-Carlo error is then about 1 %."""
SPARSE = 10
"""Below this many discordant queries the normal theory of the bootstrap is not trusted."""
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Excluded:
    """What a comparison left out: `queries` not scored in every compared run, `outcomes` (run x query) without a score
    in those runs, and `runs` of one arm without a counterpart in the other."""

    queries: int = 0
    outcomes: int = 0
    runs: int = 0


@dataclass(frozen=True)
class Estimate:
    """Mean difference of two rates with its two-sided interval at 1 - alpha; all NaN where nothing could be paired.

    With `n_seeds` = 1 the interval holds for that one training run: only queries were resampled.
    """

    estimate: float
    low: float
    high: float
    alpha: float
    n_queries: int
    n_seeds: int
    n_runs: int
    excluded: Excluded
    method: str

    @property
    def n(self) -> int:
        """Paired outcomes: queries x pairs of runs."""
        return self.n_queries * self.n_runs


@dataclass(frozen=True)
class Pairing:
    """Runs of two arms that agree in seed and all other axes, as (seed, fingerprint, fingerprint); `alone` counts the
    runs without a counterpart."""

    pairs: tuple[tuple[int, str, str], ...]
    alone: int


def match_runs(trials: pd.DataFrame, axis: str, first: object, second: object, axes: Sequence[str] = AXES) -> Pairing:
    """Pair the runs of `axis` = first with those of `axis` = second."""
    others = [name for name in axes if name != axis and name in trials.columns]
    runs = [_runs(trials, axis, value, others) for value in (first, second)]
    shared = [cell for cell in runs[0] if cell in runs[1]]
    alone = len(runs[0]) + len(runs[1]) - 2 * len(shared)
    return Pairing(tuple((int(cell[-1]), runs[0][cell], runs[1][cell]) for cell in shared), alone)


def _runs(trials: pd.DataFrame, axis: str, value: object, others: list[str]) -> dict[tuple[Any, ...], str]:
    rows = trials.loc[equals(trials[axis], value)]
    # NaN (clipping off, say) differs from itself; None does not.
    cells = [[None if item != item else item for item in rows[name]] for name in [*others, "seed"]]
    return dict(zip(zip(*cells, strict=True), rows["fingerprint"], strict=True))


def equals(column: pd.Series[Any], value: object) -> pd.Series[bool]:
    """Where a column has a value; None and NaN are one value."""
    return column.isna() if value is None or value != value else column == value


def paired_difference(
    matrix: pd.DataFrame, pairing: Pairing, *, alpha: float, rng: np.random.Generator, draws: int = DRAWS
) -> Estimate:
    """Rate of the first arm minus rate of the second, over the queries scored in all compared runs of both.

    `matrix` is `pass_matrix`'s. Every seed counts alike, and within a seed every cell of the other axes.
    """
    pairs = [p for p in pairing.pairs if p[1] in matrix.columns and p[2] in matrix.columns]
    alone = pairing.alone + 2 * (len(pairing.pairs) - len(pairs))
    if not pairs:
        return _undefined(alpha, Excluded(runs=alone))
    passed = [matrix[[p[arm] for p in pairs]].to_numpy(dtype=float) for arm in (1, 2)]
    scored = ~np.isnan(passed[0]) & ~np.isnan(passed[1])
    whole = scored.all(axis=1)
    asked = ~(np.isnan(passed[0]) & np.isnan(passed[1])).all(axis=1)
    unscored = int(np.isnan(passed[0][asked]).sum() + np.isnan(passed[1][asked]).sum())
    excluded = Excluded(queries=int((asked & ~whole).sum()), outcomes=unscored, runs=alone)
    if not whole.any():
        return _undefined(alpha, excluded)
    by_seed = _mean_by(passed[0][whole] - passed[1][whole], [p[0] for p in pairs])
    interval, method = two_way_interval(by_seed, alpha=alpha, rng=rng, draws=draws)
    return Estimate(
        estimate=float(by_seed.mean()),
        low=interval.low,
        high=interval.high,
        alpha=alpha,
        n_queries=by_seed.shape[0],
        n_seeds=by_seed.shape[1],
        n_runs=len(pairs),
        excluded=excluded,
        method=method,
    )


def _undefined(alpha: float, excluded: Excluded) -> Estimate:
    return Estimate(math.nan, math.nan, math.nan, alpha, 0, 0, 0, excluded, "nothing to pair")


def _mean_by(columns: Array, keys: Sequence[Hashable]) -> Array:
    """Mean of the columns that share a key: (queries, runs) -> (queries, seeds)."""
    distinct = list(dict.fromkeys(keys))
    groups = [[i for i, key in enumerate(keys) if key == wanted] for wanted in distinct]
    return np.stack([columns[:, group].mean(axis=1) for group in groups], axis=1)


def two_way_interval(
    differences: Array, *, alpha: float, rng: np.random.Generator, draws: int = DRAWS
) -> tuple[Interval, str]:
    """Interval for the mean of `differences` (queries, seeds), each in -1..1, and the method's name.

    Standard error by the two-way bootstrap, Student's t for the small number of seeds. Where fewer than SPARSE
    queries differ the bootstrap sees too little (with none, its width is zero): the interval is then widened to
    Clopper-Pearson's bounds on the share of queries better and worse, since -P(worse) <= mean <= P(better).
    """
    mean = float(differences.mean())
    low, high = mean, mean
    n_queries, n_seeds = differences.shape
    if n_queries > 1:
        error, freedom = two_way_error(differences, rng=rng, draws=draws)
        half = float(stats.t.ppf(1 - alpha / 2, freedom)) * error
        low, high = max(-1.0, mean - half), min(1.0, mean + half)
    resampled = "queries and seeds resampled" if n_seeds > 1 else "queries resampled, one seed"
    if int((differences != 0).any(axis=1).sum()) >= SPARSE:
        return Interval(low, high), f"bootstrap, {resampled}"
    better = clopper_pearson(float((differences > 0).any(axis=1).sum()), n_queries, alpha)
    worse = clopper_pearson(float((differences < 0).any(axis=1).sum()), n_queries, alpha)
    return Interval(min(low, -worse.high), max(high, better.high)), f"Clopper-Pearson bounds, {resampled}"


def two_way_error(differences: Array, *, rng: np.random.Generator, draws: int) -> tuple[float, float]:
    """Standard error of the mean of (queries, seeds) and its degrees of freedom; needs two queries or more.

    Queries and seeds are drawn independently (Owen 2007, the pigeonhole bootstrap), one fewer than there are, which
    makes each margin's variance unbiased (Rao and Wu 1988): with two seeds the plain bootstrap has half of it. The
    product of weights counts the interaction's share of the variance three times (McCullagh 2000); two are taken off.
    Degrees of freedom by Satterthwaite, from the margins; they are few when seeds dominate.
    """
    n_queries, n_seeds = differences.shape
    by_query = _share(differences.mean(axis=1))
    weights = rng.multinomial(n_queries - 1, np.full(n_queries, 1 / n_queries), size=draws) / (n_queries - 1)
    if n_seeds == 1:
        return math.sqrt(float((weights @ differences[:, 0]).var())), float(n_queries - 1)
    by_seed = _share(differences.mean(axis=0))
    seeds = rng.multinomial(n_seeds - 1, np.full(n_seeds, 1 / n_seeds), size=draws) / (n_seeds - 1)
    drawn = float(((weights @ differences) * seeds).sum(axis=1).var())
    centred = differences - differences.mean(axis=1, keepdims=True) - differences.mean(axis=0) + differences.mean()
    interaction = float((centred**2).sum()) / ((n_queries - 1) * (n_seeds - 1)) / (n_queries * n_seeds)
    variance = max(drawn - 2 * interaction, by_query, by_seed)
    margins = by_query**2 / (n_queries - 1) + by_seed**2 / (n_seeds - 1)
    freedom = (by_query + by_seed) ** 2 / margins if margins > 0 else float(n_queries - 1)
    return math.sqrt(variance), freedom


def _share(means: Array) -> float:
    """Variance of the mean of these means."""
    return float(means.var(ddof=1)) / len(means)
