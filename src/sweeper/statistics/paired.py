"""The difference of two arms over shared queries and seeds."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import scipy
from numpy.typing import NDArray

from sweeper.statistics.aliases import Array
from sweeper.statistics.intervals import Interval, clopper_pearson_interval
from sweeper.statistics.pass_matrix import DEFAULT_AXES

if TYPE_CHECKING:
    import pandas as pd

MIN_DISCORDANT_QUERIES = 10
"""Below this many discordant queries the normal theory is not trusted."""
Variance = Array | float


@dataclass(frozen=True)
class Exclusions:
    """What a comparison leaves out."""

    queries: int = 0
    """Queries left out: some arm has no score for them."""
    outcomes: int = 0
    """Outcomes (run x query) without a score in those runs; on the queries that count, the others predict them."""
    runs: int = 0
    """Runs of one arm without a counterpart in the other."""


@dataclass(frozen=True)
class EffectEstimate:
    """A mean difference of two rates with its two-sided interval at 1 - alpha; NaN where nothing could be paired.

    With `n_seeds` = 1 the interval holds for that one training run: only queries vary.
    """

    estimate: float
    low: float
    high: float
    alpha: float
    n_queries: int
    n_seeds: int
    n_runs: int
    exclusions: Exclusions
    method: str

    @property
    def n(self) -> int:
        """Paired outcomes: queries x pairs of runs."""
        return self.n_queries * self.n_runs


@dataclass(frozen=True)
class Pairing:
    """Runs of two arms that agree in seed and all other axes."""

    pairs: tuple[tuple[int, str, str], ...]
    """(seed, fingerprint of the first arm's run, that of the second's)."""
    unmatched_runs: int
    """Runs without a counterpart."""


def match_runs(
    trials: pd.DataFrame, axis: str, first: object, second: object, axes: Sequence[str] = DEFAULT_AXES
) -> Pairing:
    """Pair the runs of `axis` = first with those of `axis` = second.

    Args:
        trials: one row per planned trial.
        axis: the compared axis.
        first: its value in the first arm.
        second: its value in the second arm.
        axes: columns that distinguish arms; the others than `axis` must agree.

    Returns:
        (seed, first fingerprint, second fingerprint) of each pair, and the number of runs without a partner.

    Example:
        >>> import pandas as pd
        >>> trials = pd.DataFrame({"fingerprint": ["r0", "r1"], "model": ["small", "large"], "seed": [0, 0]})
        >>> trials["status"] = "COMPLETE"
        >>> match_runs(trials, "model", "large", "small", ["model"]).pairs
        ((0, 'r1', 'r0'),)
    """
    runs = _collect_arm_runs(trials, axis, (first, second), axes)
    shared = [cell for cell in runs[0] if cell in runs[1]]
    alone = len(runs[0]) + len(runs[1]) - 2 * len(shared)
    return Pairing(tuple((int(cast("int", cell[-1])), runs[0][cell], runs[1][cell]) for cell in shared), alone)


@dataclass(frozen=True)
class ArmRuns:
    """Runs of two arms that agree in all other axes, whatever their seeds."""

    first: tuple[tuple[int, str], ...]
    """(seed, fingerprint)."""
    second: tuple[tuple[int, str], ...]
    unmatched_runs: int
    """Runs in a cell of the other axes that the other arm lacks, or of a seed that lacks a cell."""


def group_arm_runs(
    trials: pd.DataFrame, axis: str, first: object, second: object, axes: Sequence[str] = DEFAULT_AXES
) -> ArmRuns:
    """Group the runs of two arms over the cells of the other axes that both have. Their seeds need not agree.

    Args:
        trials: one row per planned trial.
        axis: the compared axis.
        first: its value in the first arm.
        second: its value in the second arm.
        axes: columns that distinguish arms; the others than `axis` must agree.

    Returns:
        The runs of each arm. Each of their seeds has a run in every cell, so that seeds can be compared.

    Example:
        >>> import pandas as pd
        >>> trials = pd.DataFrame({"fingerprint": ["r0", "r1", "r2"], "model": ["s", "l", "l"], "seed": [0, 0, 1]})
        >>> group_arm_runs(trials, "model", "l", "s", ["model"])
        ArmRuns(first=((0, 'r1'), (1, 'r2')), second=((0, 'r0'),), unmatched_runs=0)
    """
    sides = _collect_arm_runs(trials, axis, (first, second), axes)
    cells = [{cell[:-1] for cell in side} for side in sides]
    shared = cells[0] & cells[1]
    kept = []
    for side in sides:
        seeds = dict.fromkeys(cell[-1] for cell in side)
        whole = {seed for seed in seeds if all((*cell, seed) in side for cell in shared)}
        runs = ((int(cast("int", cell[-1])), name) for cell, name in side.items() if cell[:-1] in shared)
        kept.append(tuple(run for run in runs if run[0] in whole))
    return ArmRuns(kept[0], kept[1], sum(map(len, sides)) - sum(map(len, kept)))


def _collect_arm_runs(
    trials: pd.DataFrame, axis: str, arms: tuple[object, object], axes: Sequence[str]
) -> list[dict[tuple[object, ...], str]]:
    """Collect, for each of two arms, (values of the other axes, seed) -> fingerprint."""
    others = [name for name in axes if name != axis and name in trials.columns]
    # NaN, such as clipping switched off, differs from itself; None does not.
    columns = [[None if item != item else item for item in trials[name].tolist()] for name in [axis, *others, "seed"]]
    runs: list[dict[tuple[object, ...], str]] = [{}, {}]
    for arm, *cell, name in zip(*columns, trials["fingerprint"].tolist(), strict=True):
        for side, value in zip(runs, arms, strict=True):
            if arm == (None if value != value else value):
                side[tuple(cell)] = str(name)
    return runs


def equals_value(column: pd.Series, value: object) -> pd.Series[bool]:
    """Return the mask of the rows with a value; None and NaN are the same value."""
    return column.isna() if value is None or value != value else column == value


def estimate_paired_difference(matrix: pd.DataFrame, pairing: Pairing, *, alpha: float) -> EffectEstimate:
    """Estimate the rate of the first arm minus that of the second, over the queries scored in all compared runs.

    Every seed has equal weight, and within a seed every cell of the other axes.

    Args:
        matrix: the result of `build_pass_matrix`.
        pairing: the compared runs.
        alpha: the interval is at 1 - alpha.

    Returns:
        The estimate with its interval at 1 - alpha, and what was left out.

    Example:
        >>> import pandas as pd
        >>> index = pd.MultiIndex.from_tuples([("G1_tool", "1"), ("G1_tool", "2")], names=["subset", "query_id"])
        >>> matrix = pd.DataFrame({"r0": [0.0, 1.0], "r1": [1.0, 1.0]}, index=index)
        >>> trials = pd.DataFrame({"fingerprint": ["r0", "r1"], "model": ["small", "large"], "seed": [0, 0]})
        >>> trials["status"] = "COMPLETE"
        >>> pairing = match_runs(trials, "model", "large", "small", ["model"])
        >>> estimate_paired_difference(matrix, pairing, alpha=0.05).estimate
        0.5
    """
    pairs = [p for p in pairing.pairs if p[1] in matrix.columns and p[2] in matrix.columns]
    alone = pairing.unmatched_runs + 2 * (len(pairing.pairs) - len(pairs))
    if not pairs:
        return _make_empty_estimate(alpha, Exclusions(runs=alone))
    passed = [matrix[[p[arm] for p in pairs]].to_numpy(dtype=float) for arm in (1, 2)]
    scored = ~np.isnan(passed[0]) & ~np.isnan(passed[1])
    whole = scored.all(axis=1)
    asked = ~(np.isnan(passed[0]) & np.isnan(passed[1])).all(axis=1)
    unscored = int(np.isnan(passed[0][asked]).sum() + np.isnan(passed[1][asked]).sum())
    excluded = Exclusions(queries=int((asked & ~whole).sum()), outcomes=unscored, runs=alone)
    if not whole.any():
        return _make_empty_estimate(alpha, excluded)
    by_seed = average_by_key(passed[0][whole] - passed[1][whole], [p[0] for p in pairs])
    interval, method = compute_two_way_interval(by_seed, alpha=alpha)
    return EffectEstimate(
        estimate=float(by_seed.mean()),
        low=interval.low,
        high=interval.high,
        alpha=alpha,
        n_queries=by_seed.shape[0],
        n_seeds=by_seed.shape[1],
        n_runs=len(pairs),
        exclusions=excluded,
        method=method,
    )


def _make_empty_estimate(alpha: float, exclusions: Exclusions) -> EffectEstimate:
    return EffectEstimate(math.nan, math.nan, math.nan, alpha, 0, 0, 0, exclusions, "nothing to pair")


def average_by_key(columns: Array, keys: Sequence[Hashable]) -> Array:
    """Average the columns that share a key: (rows, runs) -> (rows, distinct keys), in the order of appearance."""
    groups: dict[Hashable, list[int]] = {}
    for i, key in enumerate(keys):
        groups.setdefault(key, []).append(i)
    if len(groups) == len(keys):
        return columns
    return np.stack([columns[:, group].mean(axis=1) for group in groups.values()], axis=1)


def compute_two_way_interval(differences: Array, *, alpha: float) -> tuple[Interval, str]:
    """Compute the interval for the mean of `differences` (queries, seeds), each in -1..1, and the method's name.

    Its half width is that of `estimate_two_way_variance`. Where fewer than MIN_DISCORDANT_QUERIES queries differ, the
    normal theory is too narrow (with none, the width is zero): the interval is then widened to Clopper-Pearson's bounds
    on the share of queries better and worse, since -P(worse) <= mean <= P(better).
    """
    mean = float(differences.mean())
    n_queries, n_seeds = differences.shape
    half = float(estimate_two_way_variance(differences).compute_half_width(alpha))
    low, high = max(-1.0, mean - half), min(1.0, mean + half)
    varied = "queries and seeds vary" if n_seeds > 1 else "queries vary, one seed"
    if int((differences != 0).any(axis=1).sum()) >= MIN_DISCORDANT_QUERIES:
        return Interval(low, high), f"Banerjee's interval, {varied}"
    better = clopper_pearson_interval(float((differences > 0).any(axis=1).sum()), n_queries, alpha)
    worse = clopper_pearson_interval(float((differences < 0).any(axis=1).sum()), n_queries, alpha)
    return Interval(min(low, -worse.high), max(high, better.high)), f"Clopper-Pearson bounds, {varied}"


@dataclass(frozen=True)
class VarianceEstimate:
    """The variance of a mean as a sum of independent estimates."""

    terms: tuple[tuple[Variance, float], ...] = ()
    """(variance, degrees of freedom) of each. Variances may be arrays of one shape, for many means at once; the results
    then have that shape."""

    def split_terms(self) -> tuple[tuple[Variance, float], ...]:
        """Return the terms with those of two arms apart, that of the queries last."""
        return self.terms

    @property
    def standard_error(self) -> Array:
        """The standard error of the mean, shape () for one mean. It has no degrees of freedom of its own."""
        total: Array = np.sqrt(sum(variance for variance, _ in self.terms))
        return total

    def compute_half_width(self, alpha: float) -> Array:
        """Compute half the width of the mean's interval at 1 - alpha, shape () for one mean; 0 without terms.

        It is the root of the sum of t(1 - alpha / 2, df)^2 times the variance (Banerjee 1960, Sankhya 22), which never
        covers less than 1 - alpha. Student's t on Satterthwaite's degrees of freedom does with few seeds: where their
        variance is underestimated by chance, the degrees of freedom are overestimated with it.
        """
        # `scipy.special`: `stats.t` takes a hundred times as long, and p-values call this often.
        squares = (float(scipy.special.stdtrit(df, alpha / 2)) ** 2 * variance for variance, df in self.terms)
        half: Array = np.sqrt(sum(squares))
        return half


def estimate_two_way_variance(values: Array | NDArray[np.int8]) -> VarianceEstimate:
    """Estimate the variance of the mean of `values` (..., queries, seeds); no terms with a single query."""
    n_queries, n_seeds = values.shape[-2:]
    if n_queries < 2:
        return VarianceEstimate()
    by_query, by_seed, both = marginal_variances(values)
    return combine_crossed_variances([(by_query, both, n_queries - 1)], by_seed, n_seeds - 1)


def combine_crossed_variances(
    queries: Sequence[tuple[Variance, Variance, float]], by_seed: Variance, degrees_of_freedom: float
) -> VarianceEstimate:
    """Combine the marginal variances of a mean over crossed queries and seeds.

    Both margins contain the interaction. It is assigned to the seeds, as far as their margin shows it, so that whatever
    varies over few seeds has few degrees of freedom; the rest is the queries'. The sum is the seed margin plus the
    query margins minus the interaction, and never less than either.

    Args:
        queries: for each independent sample of queries the variance by the query margin, the interaction's share of it,
            and the degrees of freedom.
        by_seed: variance by the seed margin.
        degrees_of_freedom: those of the seed margin.
    """
    both = sum(shared for _, shared, _ in queries)
    counted = np.minimum(by_seed, both) / np.where(both > 0, both, 1.0)
    rest = [(np.maximum(0.0, by_query - counted * shared), df) for by_query, shared, df in queries]
    return VarianceEstimate(((by_seed, max(degrees_of_freedom, 1.0)), *rest))


def marginal_variances(values: Array | NDArray[np.int8]) -> tuple[Array, Array, Array]:
    """Compute the variances of the mean of `values` (..., queries, seeds).

    By its query margin, by its seed margin, and the interaction's share, which each of them contains; all of shape
    (...). The latter two are 0 with one seed. From the mean squares of the two-way layout. The pigeonhole bootstrap
    (Owen 2007), drawing one fewer of each than there are (Rao and Wu 1988), has the sum of the three for its limit.
    Needs two queries or more.
    """
    n_queries, n_seeds = values.shape[-2:]
    rows, columns, mean = values.mean(axis=-1), values.mean(axis=-2), values.mean(axis=(-2, -1))
    by_query = rows.var(axis=-1, ddof=1) / n_queries
    if n_seeds == 1:
        return by_query, np.zeros_like(by_query), np.zeros_like(by_query)
    by_seed = columns.var(axis=-1, ddof=1) / n_seeds
    squares = np.square(values).sum(axis=(-2, -1), dtype=np.float64) + n_queries * n_seeds * mean**2
    squares -= n_seeds * np.square(rows).sum(axis=-1) + n_queries * np.square(columns).sum(axis=-1)
    cells = n_queries * n_seeds * (n_queries - 1) * (n_seeds - 1)
    return by_query, by_seed, np.maximum(0.0, squares / cells)
