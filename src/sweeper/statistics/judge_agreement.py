"""Agreement between judges, or between the votes of one judge.

Labels: a DataFrame with one row per item and one column per rater; values are categories, None or NaN = not rated.
Where most answers pass (77 % in the paper), kappa misleads: chance agreement from such margins is so high that raters
who agree on nine items of ten can have a kappa near 0 (Feinstein and Cicchetti 1990). Gwet's AC1 does not fall with
prevalence, so both are reported.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
import scipy

from sweeper.errors import DataError
from sweeper.statistics.aliases import Array, Codes
from sweeper.statistics.intervals import Interval, wilson_interval

if TYPE_CHECKING:
    import pandas as pd

BOOTSTRAP_DRAWS = 2000
"""Bootstrap draws; each end of a 95 % interval then rests on 50 draws."""
Counts = Codes
"""Ratings of each item by category: (items, categories)."""


@dataclass(frozen=True)
class AgreementStatistic:
    """One measure of agreement."""

    value: float
    """NaN where undefined."""
    interval: Interval

    def to_json(self) -> dict[str, object]:
        """Return `value` and `interval` [low, high]."""
        return {"value": self.value, "interval": [self.interval.low, self.interval.high]}


@dataclass(frozen=True)
class Agreement:
    """All measures of agreement of the same ratings."""

    n: int
    """Items with two ratings or more."""
    raw: AgreementStatistic
    cohen_kappa: AgreementStatistic | None
    """None unless there are two raters."""
    fleiss_kappa: AgreementStatistic
    krippendorff_alpha: AgreementStatistic
    gwet_ac1: AgreementStatistic

    def to_json(self) -> dict[str, object]:
        """Return `n` and each measure by name."""
        measures = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "n"}
        return {"n": self.n} | {name: None if m is None else m.to_json() for name, m in measures.items()}


def measure_agreement(
    labels: pd.DataFrame, *, rng: np.random.Generator, alpha: float = 0.05, draws: int = BOOTSTRAP_DRAWS
) -> Agreement:
    """Measure agreement by every statistic of this module.

    Constant ratings leave every kappa and alpha 0/0, hence NaN; raw agreement and AC1 are then 1. Where raters agree on
    every item the spread cannot be estimated: the lower end is then Wilson's of the raw agreement p, converted by
    (p - chance) / (1 - chance).

    Args:
        labels: one row per item, one column per rater; None or NaN = not rated.
        rng: source of the random draws.
        alpha: intervals are at 1 - alpha.
        draws: bootstrap draws.

    Returns:
        Every statistic with its interval; NaN where it is undefined.

    Raises:
        DataError: fewer than two raters.

    Example:
        >>> import pandas as pd
        >>> labels = pd.DataFrame({"a": ["x", "y", "x"], "b": ["x", "y", "y"]})
        >>> round(measure_agreement(labels, rng=np.random.default_rng(0)).raw.value, 2)
        0.67
    """
    return Agreement(
        n=int((_count_ratings(labels).sum(axis=1) >= 2).sum()),
        raw=raw_agreement(labels, alpha=alpha),
        cohen_kappa=cohen_kappa(labels, alpha=alpha) if labels.shape[1] == 2 else None,
        fleiss_kappa=fleiss_kappa(labels, rng=rng, alpha=alpha, draws=draws),
        krippendorff_alpha=krippendorff_alpha(labels, rng=rng, alpha=alpha, draws=draws),
        gwet_ac1=gwet_ac1(labels, alpha=alpha),
    )


def raw_agreement(labels: pd.DataFrame, *, alpha: float = 0.05) -> AgreementStatistic:
    """Compute the mean over items of the share of rater pairs that agree, with a Wilson interval on the items.

    Args:
        labels: one row per item, one column per rater; None or NaN = not rated.
        alpha: the interval is at 1 - alpha.

    Returns:
        The share and its interval.

    Example:
        >>> import pandas as pd
        >>> labels = pd.DataFrame({"a": ["x", "y", "x", "x"], "b": ["x", "y", "y", "x"]})
        >>> raw_agreement(labels).value
        0.75
    """
    counts = _drop_single_ratings(_count_ratings(labels))
    agreed = _compute_pair_agreement(counts)
    interval = wilson_interval(math.fsum(agreed), len(counts), alpha)
    return _make_statistic(float(agreed.mean()) if len(counts) else math.nan, (interval.low, interval.high))


def cohen_kappa(labels: pd.DataFrame, *, alpha: float = 0.05) -> AgreementStatistic:
    """Compute Cohen's kappa (1960) on the items that both raters rated.

    The interval is the large-sample one of Fleiss, Cohen and Everitt (1969).

    Args:
        labels: one row per item, one column per rater; None or NaN = not rated.
        alpha: the interval is at 1 - alpha.

    Returns:
        The statistic and its interval; NaN where it is undefined.

    Raises:
        DataError: not two raters.

    Example:
        >>> import pandas as pd
        >>> labels = pd.DataFrame({"a": ["x", "y", "x", "x"], "b": ["x", "y", "y", "x"]})
        >>> round(cohen_kappa(labels).value, 2)
        0.5
    """
    from statsmodels.stats.inter_rater import cohens_kappa

    codes, size = _encode_labels(labels)
    if codes.shape[1] != 2:
        raise DataError("Cohen's kappa", requested="two raters", found=f"{codes.shape[1]}", hint="use Fleiss' kappa")
    both = codes[(codes >= 0).all(axis=1)]
    table = np.zeros((size, size), dtype=np.int64)
    np.add.at(table, (both[:, 0], both[:, 1]), 1)
    counts = _count_codes(both, size)
    if not _has_several_categories(counts):
        return _make_statistic(math.nan)
    with np.errstate(all="ignore"):
        found = cohens_kappa(table)
    # Rounding can make a variance of 0 negative.
    half = float(scipy.special.ndtri(1 - alpha / 2)) * math.sqrt(max(0.0, float(found.var_kappa)))
    return _widen_perfect_agreement(
        float(found.kappa), (found.kappa - half, found.kappa + half), counts, _compute_chance_agreement(counts), alpha
    )


def fleiss_kappa(
    labels: pd.DataFrame, *, rng: np.random.Generator, alpha: float = 0.05, draws: int = BOOTSTRAP_DRAWS
) -> AgreementStatistic:
    """Compute Fleiss' kappa (1971) on the items that every rater rated, with a percentile bootstrap over items.

    Args:
        labels: one row per item, one column per rater; None or NaN = not rated.
        rng: source of the random draws.
        alpha: the interval is at 1 - alpha.
        draws: bootstrap draws.

    Returns:
        The statistic and its interval; NaN where it is undefined.

    Example:
        >>> import numpy as np
        >>> import pandas as pd
        >>> labels = pd.DataFrame({"a": ["x", "y", "x", "x"], "b": ["x", "y", "y", "x"]})
        >>> round(fleiss_kappa(labels, rng=np.random.default_rng(0)).value, 2)
        0.47
    """
    from statsmodels.stats.inter_rater import fleiss_kappa as kappa

    counts = _count_ratings(labels)
    counts = counts[counts.sum(axis=1) == labels.shape[1]]
    return _bootstrap_statistic(counts, lambda drawn: float(kappa(drawn)), rng, alpha, draws)


def krippendorff_alpha(
    labels: pd.DataFrame, *, rng: np.random.Generator, alpha: float = 0.05, draws: int = BOOTSTRAP_DRAWS
) -> AgreementStatistic:
    """Compute Krippendorff's alpha (2004) for nominal categories on the items with two ratings or more.

    The interval is a percentile bootstrap over items.

    Args:
        labels: one row per item, one column per rater; None or NaN = not rated.
        rng: source of the random draws.
        alpha: the interval is at 1 - alpha.
        draws: bootstrap draws.

    Returns:
        The statistic and its interval; NaN where it is undefined.

    Example:
        >>> import numpy as np
        >>> import pandas as pd
        >>> labels = pd.DataFrame({"a": ["x", "y", "x", "x"], "b": ["x", "y", "y", "x"]})
        >>> round(krippendorff_alpha(labels, rng=np.random.default_rng(0)).value, 2)
        0.53
    """
    import krippendorff

    def value(drawn: Counts) -> float:
        return float(krippendorff.alpha(value_counts=drawn, level_of_measurement="nominal"))

    return _bootstrap_statistic(_drop_single_ratings(_count_ratings(labels)), value, rng, alpha, draws)


def gwet_ac1(labels: pd.DataFrame, *, alpha: float = 0.05, categories: int | None = None) -> AgreementStatistic:
    """Compute Gwet's AC1 with its linearized variance and Student's t on items - 1 degrees of freedom.

    Gwet (2008), "Computing inter-rater reliability and its variance in the presence of high agreement", British Journal
    of Mathematical and Statistical Psychology 61; missing ratings as in his Handbook (2014): items rated once inform
    the prevalence only.

    Args:
        labels: one row per item, one column per rater; None or NaN = not rated.
        alpha: the interval is at 1 - alpha.
        categories: number of categories that raters chose from, by default those that occur. More of them make chance
            agreement smaller.

    Returns:
        The statistic and its interval; NaN where it is undefined.

    Raises:
        DataError: fewer categories than occur.

    Example:
        >>> import pandas as pd
        >>> labels = pd.DataFrame({"a": ["x", "y", "x", "x"], "b": ["x", "y", "y", "x"]})
        >>> round(gwet_ac1(labels).value, 2)
        0.53
    """
    counts = _count_ratings(labels)
    counts = counts[counts.sum(axis=1) > 0]
    used = int((counts.sum(axis=0) > 0).sum())
    size = used if categories is None else categories
    if size < used:
        raise DataError("Gwet's AC1", requested=f"{size} categories", found=f"{used} in the labels")
    ratings = counts.sum(axis=1)
    shared = ratings >= 2
    if not shared.any():
        return _make_statistic(math.nan)
    n = len(counts)
    shares = counts / ratings[:, None]
    prevalence = shares.mean(axis=0)
    # With a single category chance agreement is 0 in Gwet's limit, not 0/0.
    spread = (1 - prevalence) / max(1, size - 1)
    chance = float(prevalence @ spread)
    agreed = np.zeros(n)
    agreed[shared] = _compute_pair_agreement(counts[shared])
    value = (float(agreed[shared].mean()) - chance) / (1 - chance)
    each = n / shared.sum() * (agreed - chance * shared) / (1 - chance)
    each -= 2 * (1 - value) * (shares @ spread - chance) / (1 - chance)
    error = math.sqrt(float(((each - value) ** 2).sum()) / (n * (n - 1))) if n > 1 else math.nan
    half = float(scipy.special.stdtrit(n - 1, 1 - alpha / 2)) * error if n > 1 else math.nan
    return _widen_perfect_agreement(value, (value - half, value + half), counts[shared], chance, alpha)


def _make_statistic(value: float, interval: tuple[float, float] = (math.nan, math.nan)) -> AgreementStatistic:
    low, high = np.clip(interval, -1.0, 1.0).tolist()
    return AgreementStatistic(value, Interval(low, high))


def _widen_perfect_agreement(
    value: float, interval: tuple[float, float], counts: Counts, chance: float, alpha: float
) -> AgreementStatistic:
    """Return the statistic, with Wilson's lower end of the raw agreement where raters agree on every item."""
    if len(counts) and (_compute_pair_agreement(counts) == 1).all():
        n = len(counts)
        interval = ((wilson_interval(n, n, alpha).low - chance) / (1 - chance), 1.0)
    return _make_statistic(value, interval)


def _bootstrap_statistic(
    counts: Counts, value: Callable[[Counts], float], rng: np.random.Generator, alpha: float, draws: int
) -> AgreementStatistic:
    if not _has_several_categories(counts):
        return _make_statistic(math.nan)
    n = len(counts)
    drawn = [counts[rng.integers(n, size=n)] for _ in range(draws)]
    # A draw with one category is 0/0, as such a sample would be.
    values = [value(sample) for sample in drawn if _has_several_categories(sample)]
    ends: list[float] = np.quantile(values, [alpha / 2, 1 - alpha / 2]).tolist() if values else [math.nan] * 2
    return _widen_perfect_agreement(value(counts), (ends[0], ends[1]), counts, _compute_chance_agreement(counts), alpha)


def _encode_labels(labels: pd.DataFrame) -> tuple[Codes, int]:
    """Return categories as 0, 1, ... in (items, raters), -1 = not rated, and their number."""
    import pandas as pd

    if labels.shape[1] < 2:
        raise DataError("agreement", requested="one column per rater, at least two", found=f"{labels.shape[1]}")
    codes, categories = pd.factorize(labels.to_numpy().ravel())
    return codes.reshape(labels.shape).astype(np.int64), len(categories)


def _count_ratings(labels: pd.DataFrame) -> Counts:
    return _count_codes(*_encode_labels(labels))


def _count_codes(codes: Codes, size: int) -> Counts:
    counts: Counts = np.zeros((len(codes), size), dtype=np.int64)
    for category in range(size):
        counts[:, category] = (codes == category).sum(axis=1)
    return counts


def _drop_single_ratings(counts: Counts) -> Counts:
    kept: Counts = counts[counts.sum(axis=1) >= 2]
    return kept


def _compute_pair_agreement(counts: Counts) -> Array:
    """Return the share of each item's pairs of ratings that agree."""
    ratings = counts.sum(axis=1)
    return np.asarray((counts * (counts - 1)).sum(axis=1) / (ratings * (ratings - 1)), dtype=np.float64)


def _has_several_categories(counts: Counts) -> bool:
    """Return whether more than one category occurs: otherwise chance agreement is 1 and kappa is 0/0."""
    return int((counts.sum(axis=0) > 0).sum()) > 1


def _compute_chance_agreement(counts: Counts) -> float:
    """Return chance agreement from the shares of the categories: that of every kappa where raters always agree."""
    return float(((counts.sum(axis=0) / counts.sum()) ** 2).sum())
