"""Agreement between judges, or between the votes of one.

Labels: a DataFrame with one row per item and one column per rater; values are categories, None or NaN = not rated.
Where most answers pass (77 % in the paper) kappa misleads: chance agreement computed from such margins is so high that
raters who agree on nine items of ten can have a kappa near 0 (Feinstein and Cicchetti 1990). Gwet's AC1 does not fall
with prevalence, so both are given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from sweeper.errors import DataError
from sweeper.statistics.intervals import wilson_interval

if TYPE_CHECKING:
    import pandas as pd

BOOTSTRAP_DRAWS = 2000
"""Bootstrap draws; the ends of a 95 % interval then stand on 50 draws each."""
Counts = NDArray[np.int64]
"""Ratings of each item by category: (items, categories)."""
AgreementStatistic = dict[str, Any]
"""`value`, NaN where undefined, and `interval` [low, high]."""


def measure_agreement(
    labels: pd.DataFrame, *, rng: np.random.Generator, alpha: float = 0.05, draws: int = BOOTSTRAP_DRAWS
) -> dict[str, Any]:
    """All statistics of this module: `n` (items with two ratings or more), `raw`, `cohen_kappa` (None unless there are
    two raters), `fleiss_kappa`, `krippendorff_alpha`, `gwet_ac1`, each with `value` and `interval` at 1 - alpha.

    Constant ratings leave every kappa and alpha 0/0, hence NaN; raw agreement and AC1 are then 1. Where raters agree on
    every item no method sees a spread: the lower end is then Wilson's of the raw agreement, put in its place in
    (p - chance) / (1 - chance). Raises DataError for fewer than two raters.
    """
    return {
        "n": int((_count_ratings(labels).sum(axis=1) >= 2).sum()),
        "raw": raw_agreement(labels, alpha=alpha),
        "cohen_kappa": cohen_kappa(labels, alpha=alpha) if labels.shape[1] == 2 else None,
        "fleiss_kappa": fleiss_kappa(labels, rng=rng, alpha=alpha, draws=draws),
        "krippendorff_alpha": krippendorff_alpha(labels, rng=rng, alpha=alpha, draws=draws),
        "gwet_ac1": gwet_ac1(labels, alpha=alpha),
    }


def raw_agreement(labels: pd.DataFrame, *, alpha: float = 0.05) -> AgreementStatistic:
    """Mean over items of the share of its pairs of raters that agree, with a Wilson interval on the items."""
    counts = _drop_single_ratings(_count_ratings(labels))
    agreed = _compute_pair_agreement(counts)
    interval = wilson_interval(math.fsum(agreed), len(counts), alpha)
    return _make_statistic(float(agreed.mean()) if len(counts) else math.nan, (interval.low, interval.high))


def cohen_kappa(labels: pd.DataFrame, *, alpha: float = 0.05) -> AgreementStatistic:
    """Cohen's kappa (1960) of two raters on the items both rated, with the large-sample interval of Fleiss, Cohen and
    Everitt (1969). Raises DataError unless there are two raters."""
    from statsmodels.stats.inter_rater import cohens_kappa

    codes, size = _encode_labels(labels)
    if codes.shape[1] != 2:
        raise DataError(
            "Cohen's kappa", requested="two raters", found=f"{codes.shape[1]}", hint="ask for Fleiss' kappa"
        )
    both = codes[(codes >= 0).all(axis=1)]
    table = np.zeros((size, size), dtype=np.int64)
    np.add.at(table, (both[:, 0], both[:, 1]), 1)
    counts = _count_codes(both, size)
    if not _has_several_categories(counts):
        return _make_statistic(math.nan)
    with np.errstate(all="ignore"):
        found = cohens_kappa(table)
    # Rounding takes a variance of 0 below it.
    half = float(special.ndtri(1 - alpha / 2)) * math.sqrt(max(0.0, float(found.var_kappa)))
    return _widen_perfect_agreement(
        float(found.kappa), (found.kappa - half, found.kappa + half), counts, _compute_chance_agreement(counts), alpha
    )


def fleiss_kappa(
    labels: pd.DataFrame, *, rng: np.random.Generator, alpha: float = 0.05, draws: int = BOOTSTRAP_DRAWS
) -> AgreementStatistic:
    """Fleiss' kappa (1971) on the items that every rater rated, with a percentile bootstrap over items."""
    from statsmodels.stats.inter_rater import fleiss_kappa as kappa

    counts = _count_ratings(labels)
    counts = counts[counts.sum(axis=1) == labels.shape[1]]
    return _bootstrap_statistic(counts, lambda drawn: float(kappa(drawn)), rng, alpha, draws)


def krippendorff_alpha(
    labels: pd.DataFrame, *, rng: np.random.Generator, alpha: float = 0.05, draws: int = BOOTSTRAP_DRAWS
) -> AgreementStatistic:
    """Krippendorff's alpha (2004) for nominal categories on items with two ratings or more, with a percentile bootstrap
    over items."""
    import krippendorff

    def value(drawn: Counts) -> float:
        return float(krippendorff.alpha(value_counts=drawn, level_of_measurement="nominal"))

    return _bootstrap_statistic(_drop_single_ratings(_count_ratings(labels)), value, rng, alpha, draws)


def gwet_ac1(labels: pd.DataFrame, *, alpha: float = 0.05, categories: int | None = None) -> AgreementStatistic:
    """Gwet's AC1 with its linearised variance and Student's t on items - 1 degrees of freedom.

    Gwet (2008), "Computing inter-rater reliability and its variance in the presence of high agreement", British Journal
    of Mathematical and Statistical Psychology 61; missing ratings as in his Handbook (2014): items rated once inform
    the prevalence only. `categories`: how many raters could choose from, by default those that occur; more of them make
    chance agreement smaller. Raises DataError for fewer than occur.
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
    # A single category leaves nothing to chance: Gwet's limit, and no 0/0.
    spread = (1 - prevalence) / max(1, size - 1)
    chance = float(prevalence @ spread)
    agreed = np.zeros(n)
    agreed[shared] = _compute_pair_agreement(counts[shared])
    value = (float(agreed[shared].mean()) - chance) / (1 - chance)
    each = n / shared.sum() * (agreed - chance * shared) / (1 - chance)
    each -= 2 * (1 - value) * (shares @ spread - chance) / (1 - chance)
    error = math.sqrt(float(((each - value) ** 2).sum()) / (n * (n - 1))) if n > 1 else math.nan
    half = float(special.stdtrit(n - 1, 1 - alpha / 2)) * error if n > 1 else math.nan
    return _widen_perfect_agreement(value, (value - half, value + half), counts[shared], chance, alpha)


def _make_statistic(value: float, interval: tuple[float, float] = (math.nan, math.nan)) -> AgreementStatistic:
    return {"value": value, "interval": np.clip(interval, -1.0, 1.0).tolist()}


def _widen_perfect_agreement(
    value: float, interval: tuple[float, float], counts: Counts, chance: float, alpha: float
) -> AgreementStatistic:
    """The statistic, with Wilson's lower end of the raw agreement where no item shows disagreement."""
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
    # A draw of one category only is 0/0, as a sample of it would be.
    values = [value(sample) for sample in drawn if _has_several_categories(sample)]
    ends: Sequence[float] = np.quantile(values, [alpha / 2, 1 - alpha / 2]).tolist() if values else [math.nan] * 2
    return _widen_perfect_agreement(value(counts), (ends[0], ends[1]), counts, _compute_chance_agreement(counts), alpha)


def _encode_labels(labels: pd.DataFrame) -> tuple[NDArray[np.int64], int]:
    """Categories as 0, 1, ... in (items, raters), -1 = not rated, and how many there are."""
    import pandas as pd

    if labels.shape[1] < 2:
        raise DataError("agreement", requested="one column per rater, two at least", found=f"{labels.shape[1]}")
    codes, categories = pd.factorize(labels.to_numpy().ravel())
    return codes.reshape(labels.shape).astype(np.int64), len(categories)


def _count_ratings(labels: pd.DataFrame) -> Counts:
    return _count_codes(*_encode_labels(labels))


def _count_codes(codes: NDArray[np.int64], size: int) -> Counts:
    counts: Counts = np.zeros((len(codes), size), dtype=np.int64)
    for category in range(size):
        counts[:, category] = (codes == category).sum(axis=1)
    return counts


def _drop_single_ratings(counts: Counts) -> Counts:
    kept: Counts = counts[counts.sum(axis=1) >= 2]
    return kept


def _compute_pair_agreement(counts: Counts) -> NDArray[np.float64]:
    """Share of each item's pairs of ratings that agree."""
    ratings = counts.sum(axis=1)
    return np.asarray((counts * (counts - 1)).sum(axis=1) / (ratings * (ratings - 1)), dtype=np.float64)


def _has_several_categories(counts: Counts) -> bool:
    """Whether more than one category occurs: else chance agreement is 1 and kappa is 0/0."""
    return int((counts.sum(axis=0) > 0).sum()) > 1


def _compute_chance_agreement(counts: Counts) -> float:
    """Chance agreement from the categories' shares: every kappa's where raters agree throughout."""
    return float(((counts.sum(axis=0) / counts.sum()) ** 2).sum())
