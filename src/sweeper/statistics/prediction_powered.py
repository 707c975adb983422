"""Rates of answers that a judge scored and people labelled in part, by prediction-powered inference (PPI++).

Angelopoulos, Duchi and Zrnic (2023), arXiv 2311.01453. Where a stratum has n labels Y beside the judge's scores f, and
N further answers with scores only, its mean is estimated by mean(Y - λ f) over its labels plus λ mean(f) over the
further answers. However the judge errs, that has no bias at a given λ, if the labelled answers are a random part of the
stratum. λ is the weight of the judge: 0 leaves the labels alone, and a judge that tells nothing gets about 0.

Intervals are about the queries: the answers to each stratum's queries are a sample of answers to queries of its kind,
with the strata's shares fixed. The interval of a suite that is labelled as a whole has therefore a width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy

from sweeper.errors import DataError
from sweeper.statistics.aliases import Array, BoolArray
from sweeper.statistics.intervals import UNDEFINED_INTERVAL, Interval, wilson_interval
from sweeper.statistics.paired import compute_two_way_interval

MIN_LABELS = 2
"""Labels of a stratum from which its variance can be estimated."""


@dataclass(frozen=True)
class ValueWithInterval:
    """A rate or a difference; NaN where undefined."""

    value: float
    interval: Interval

    def to_json(self) -> dict[str, object]:
        """Return `value` and `interval` [low, high]."""
        return {"value": self.value, "interval": [self.interval.low, self.interval.high]}


UNDEFINED_VALUE = ValueWithInterval(math.nan, UNDEFINED_INTERVAL)


@dataclass(frozen=True)
class CorrectedEstimate:
    """A rate by the judge and the labels together, beside that by each of them."""

    corrected: ValueWithInterval
    """By PPI++."""
    labels: ValueWithInterval
    """By the labels alone, weighted by stratum."""
    judge: ValueWithInterval
    """By the judge alone, on all answers that it scored; its interval knows nothing of the judge's errors."""
    n_labelled: int
    """Labelled answers among those that the judge scored; of a paired difference, queries with two such answers."""
    n_judged: int
    """Answers, or queries, that the judge scored."""
    labels_left_out: int
    """Labels of answers that the judge did not score; of a paired difference, also those without a counterpart."""
    power: float
    """λ; NaN for the difference of two independent rates, which have one each."""
    standard_error: float
    """That of PPI++, without the answers added for the interval."""
    variance_ratio: float
    """Variance of the labels alone over that of PPI++, as in their intervals: n labels are worth so many times n."""
    joined_strata: tuple[str, ...] = ()
    """Strata with fewer than `MIN_LABELS` labels, and the one that they were joined with if they had too few."""
    method: str = "PPI++"
    reason: str = ""
    """Why there is no estimate; empty where there is one."""

    def to_json(self) -> dict[str, object]:
        """Return the fields, with `lambda` for `power` and intervals as [low, high]."""
        return {
            "corrected": self.corrected.to_json(),
            "labels": self.labels.to_json(),
            "judge": self.judge.to_json(),
            "n_labelled": self.n_labelled,
            "n_judged": self.n_judged,
            "labels_left_out": self.labels_left_out,
            "lambda": self.power,
            "standard_error": self.standard_error,
            "variance_ratio": self.variance_ratio,
            "joined_strata": list(self.joined_strata),
            "method": self.method,
            "reason": self.reason,
        }


@dataclass(frozen=True)
class _Stratum:
    """The answers of one stratum, by their moments."""

    share: float
    labels: Array
    scores: Array
    """The judge's, on the labelled answers."""
    n_unlabelled: int
    unlabelled_mean: float
    score_variance: float
    """Of all scores, labelled or not."""


@dataclass(frozen=True)
class _Kind:
    """What is estimated: its range, and the answers that are added for the interval."""

    limit: Interval
    added: float
    """Their number, in squared normal quantiles."""
    added_mean: tuple[float, float]
    """Mean of Y - λ f over them: a + b λ."""
    added_variance: float
    """Variance of Y, and of f, over them; the two are independent."""


# One in each cell of (label, score) 0 or 1: with λ = 0, the interval of Agresti and Coull (1998).
_RATE = _Kind(Interval(0.0, 1.0), 1.0, (0.5, -0.5), 0.25)
# Pairs better, worse and twice equal, half as many: with λ = 0, the interval of Agresti and Min (2005).
_DIFFERENCE = _Kind(Interval(-1.0, 1.0), 0.5, (0.0, 0.0), 0.5)


def estimate_corrected_rate(
    labels: Sequence[float] | Array,
    scores: Sequence[float] | Array,
    strata: Sequence[str],
    *,
    alpha: float = 0.05,
    power: float | None = None,
) -> CorrectedEstimate:
    """Estimate the rate of labels 1 among all answers from the labels of some and a judge's scores of all.

    λ minimizes the variance: Cov(Y, f) / ((1 + n/N) Var(f)) in one stratum, clipped to [0, 1]; strata share one, from
    the sums of both terms over them. Strata with fewer than two labels are joined. The normal interval covers too
    little with few labels, and has no width where judge and labels agree on all. So that of Agresti and Coull (1998) is
    carried over: z² answers are added, one quarter in each cell of (label, score), and the half width is Student's t on
    labels - strata degrees of freedom times the standard error with them. It contains the estimate.

    Args:
        labels: 0 or 1 for each answer; NaN = not labelled. The labelled answers are a random part of each stratum.
        scores: the judge's scores of the same answers, 0 to 1; NaN = not scored, and left out.
        strata: the stratum of each answer.
        alpha: intervals are at 1 - alpha.
        power: λ; None estimates it.

    Returns:
        The estimate, beside the rates by the labels alone and by the judge alone (Wilson's interval); with fewer than
        two labels NaN and the reason.

    Raises:
        DataError: lists of unequal length, or values outside 0 to 1.

    Example:
        >>> labels = [1, 1, 0, 0, 1, 0] + [float("nan")] * 6
        >>> scores = [1, 1, 0, 1, 1, 0] + [1, 1, 1, 0, 0, 1]
        >>> found = estimate_corrected_rate(labels, scores, ["G1_tool"] * 12)
        >>> round(found.labels.value, 2), round(found.judge.value, 2), round(found.corrected.value, 2)
        (0.5, 0.67, 0.5)
    """
    y, f = np.asarray(labels, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    _check_values([y, f], strata)
    f_all = f[~np.isnan(f)]
    mean = float(f_all.mean()) if len(f_all) else math.nan
    judge = ValueWithInterval(mean, wilson_interval(float(f_all.sum()), len(f_all), alpha))
    return _estimate_mean(y, f, strata, judge, _RATE, alpha, power)


def estimate_corrected_difference(
    labels: tuple[Sequence[float] | Array, Sequence[float] | Array],
    scores: tuple[Sequence[float] | Array, Sequence[float] | Array],
    strata: Sequence[str],
    *,
    alpha: float = 0.05,
    power: float | None = None,
) -> CorrectedEstimate:
    """Estimate the rate of A minus that of B, from two answers to each query.

    Where at least half of the labelled queries have labels of both answers, by PPI++ of the differences of the pairs,
    with the interval of Agresti and Min (2005) in place of that of Agresti and Coull; labels without a counterpart are
    left out and counted. Otherwise by two rates, with Newcombe's hybrid interval (1998) for independent ones: it is
    too wide rather than too narrow where answers to one query tend to pass together.

    Args:
        labels: those of A and of B: 0 or 1 for each query, NaN = not labelled.
        scores: the judge's scores of A and of B, 0 to 1; NaN = not scored, and the query is left out.
        strata: the stratum of each query.
        alpha: intervals are at 1 - alpha.
        power: λ; None estimates it.

    Returns:
        The difference, beside those by the labels alone and by the judge alone.

    Raises:
        DataError: lists of unequal length, or values outside 0 to 1.

    Example:
        >>> nan = float("nan")
        >>> labels = [1, 1, 0, 1, nan, nan, nan, nan], [0, 1, 0, 0, nan, nan, nan, nan]
        >>> scores = [1, 1, 0, 1, 1, 0, 1, 1], [0, 1, 0, 0, 0, 0, 1, 0]
        >>> round(estimate_corrected_difference(labels, scores, ["G1_tool"] * 8).corrected.value, 2)
        0.5
    """
    y_a, y_b = (np.asarray(each, dtype=np.float64) for each in labels)
    f_a, f_b = (np.asarray(each, dtype=np.float64) for each in scores)
    _check_values([y_a, y_b, f_a, f_b], strata)
    scored = ~np.isnan(f_a) & ~np.isnan(f_b)
    f_a, f_b = np.where(scored, f_a, np.nan), np.where(scored, f_b, np.nan)
    labelled_a, labelled_b = ~np.isnan(y_a) & scored, ~np.isnan(y_b) & scored
    n_labels, n_both = int((~np.isnan([y_a, y_b])).sum()), int((labelled_a & labelled_b).sum())
    difference = (f_a - f_b)[scored]
    judge = UNDEFINED_VALUE
    if len(difference):
        interval, _ = compute_two_way_interval(difference[:, None], alpha=alpha)
        judge = ValueWithInterval(float(difference.mean()), interval)
    if 2 * n_both >= int((labelled_a | labelled_b).sum()):
        found = _estimate_mean(y_a - y_b, f_a - f_b, strata, judge, _DIFFERENCE, alpha, power)
        return replace(found, labels_left_out=n_labels - 2 * n_both, method="PPI++ of pairs")
    a = estimate_corrected_rate(y_a, f_a, strata, alpha=alpha, power=power)
    b = estimate_corrected_rate(y_b, f_b, strata, alpha=alpha, power=power)
    error = math.hypot(a.standard_error, b.standard_error)
    corrected, alone = _subtract_rates(a.corrected, b.corrected), _subtract_rates(a.labels, b.labels)
    width, width_alone = (each.interval.high - each.interval.low for each in (corrected, alone))
    return CorrectedEstimate(
        corrected=corrected,
        labels=alone,
        judge=judge,
        n_labelled=a.n_labelled + b.n_labelled,
        n_judged=int(scored.sum()),
        labels_left_out=a.labels_left_out + b.labels_left_out,
        power=math.nan,
        standard_error=error,
        variance_ratio=(width_alone / width) ** 2,
        joined_strata=tuple(dict.fromkeys((*a.joined_strata, *b.joined_strata))),
        method="PPI++ of two independent rates",
        reason=a.reason or b.reason,
    )


def _check_values(columns: Sequence[Array], strata: Sequence[str]) -> None:
    if any(column.shape != (len(strata),) for column in columns):
        found = ", ".join(str(len(column)) for column in columns)
        raise DataError("labels and scores", requested=f"one of each of {len(strata)} answers", found=found)
    if any(((column < 0) | (column > 1)).any() for column in columns):
        raise DataError("labels and scores", requested="values from 0 to 1, or NaN", found="others")


def _estimate_mean(
    y: Array,
    f: Array,
    strata: Sequence[str],
    judge: ValueWithInterval,
    kind: _Kind,
    alpha: float,
    power: float | None,
) -> CorrectedEstimate:
    scored = ~np.isnan(f)
    labelled = scored & ~np.isnan(y)
    n_labelled, left_out = int(labelled.sum()), int((~np.isnan(y) & ~scored).sum())
    if n_labelled < MIN_LABELS:
        return CorrectedEstimate(
            corrected=UNDEFINED_VALUE,
            labels=UNDEFINED_VALUE,
            judge=judge,
            n_labelled=n_labelled,
            n_judged=int(scored.sum()),
            labels_left_out=left_out,
            power=math.nan,
            standard_error=math.nan,
            variance_ratio=math.nan,
            reason=f"fewer than {MIN_LABELS} labels of answers that the judge scored",
        )
    names = np.asarray(strata, dtype=object)
    groups, joined = _group_strata(names[scored], labelled[scored])
    parts = [_describe_stratum(y[scored][group], f[scored][group]) for group in groups]
    parts = [replace(part, share=part.share / int(scored.sum())) for part in parts]
    weight = _choose_power(parts) if power is None else power
    corrected, error, added_error = _compute_estimate(parts, weight, kind, alpha)
    alone, _, added_alone = _compute_estimate(parts, 0.0, kind, alpha)
    return CorrectedEstimate(
        corrected=corrected,
        labels=alone,
        judge=judge,
        n_labelled=n_labelled,
        n_judged=int(scored.sum()),
        labels_left_out=left_out,
        power=weight,
        standard_error=error,
        variance_ratio=(added_alone / added_error) ** 2,
        joined_strata=joined,
    )


def _group_strata(names: Array, labelled: BoolArray) -> tuple[list[BoolArray], tuple[str, ...]]:
    """Return the answers of each stratum as masks, with the strata joined that have too few labels, and their names."""
    counts = {str(name): int(labelled[names == name].sum()) for name in sorted(set(names))}
    order = sorted(counts, key=lambda name: counts[name])
    joined = [name for name in order if counts[name] < MIN_LABELS]
    if joined and sum(counts[name] for name in joined) < MIN_LABELS:
        joined = order[: len(joined) + 1]
    groups = [[name] for name in counts if name not in joined] + ([joined] if joined else [])
    return [np.isin(names, group) for group in groups], tuple(sorted(joined))


def _describe_stratum(y: Array, f: Array) -> _Stratum:
    """Describe a stratum; its `share` is its number of answers."""
    labelled = ~np.isnan(y)
    rest = f[~labelled]
    mean = float(rest.mean()) if len(rest) else 0.0
    return _Stratum(float(len(y)), y[labelled], f[labelled], len(rest), mean, float(f.var(ddof=1)))


def _choose_power(parts: Sequence[_Stratum]) -> float:
    """Return the λ of the smallest variance; 0 where no answer is without a label, or the scores do not vary."""
    shared = variance = 0.0
    for part in parts:
        if part.n_unlabelled:
            n = len(part.labels)
            covariance = float(np.cov(part.labels, part.scores)[0, 1])
            shared += part.share**2 * covariance / n
            variance += part.share**2 * part.score_variance * (1 / n + 1 / part.n_unlabelled)
    return min(1.0, max(0.0, shared / variance)) if variance > 0 else 0.0


def _compute_estimate(
    parts: Sequence[_Stratum], power: float, kind: _Kind, alpha: float
) -> tuple[ValueWithInterval, float, float]:
    """Return the estimate with its interval, its standard error, and that with the added answers."""
    normal = float(scipy.special.ndtri(1 - alpha / 2)) ** 2
    estimate = center = variance = widened = 0.0
    for part in parts:
        weight = power if part.n_unlabelled else 0.0  # a stratum that is labelled as a whole needs no judge
        rest = part.labels - weight * part.scores
        n, mean, squares = len(rest), float(rest.mean()), float(((rest - rest.mean()) ** 2).sum())
        by_judge = weight**2 * part.score_variance / max(1, part.n_unlabelled)
        # The added answers are spread over the strata by their shares.
        added, added_mean = kind.added * normal * part.share, kind.added_mean[0] + kind.added_mean[1] * weight
        total = n + added
        added_squares = added * (1 + weight**2) * kind.added_variance + n * added / total * (mean - added_mean) ** 2
        estimate += part.share * (mean + weight * part.unlabelled_mean)
        center += part.share * ((n * mean + added * added_mean) / total + weight * part.unlabelled_mean)
        variance += part.share**2 * (squares / (n - 1) / n + by_judge)
        widened += part.share**2 * ((squares + added_squares) / (total - 1) / total + by_judge)
    degrees_of_freedom = sum(len(part.labels) for part in parts) - len(parts)
    half = float(scipy.special.stdtrit(degrees_of_freedom, 1 - alpha / 2)) * math.sqrt(widened)
    # The disjoint sums can leave the range by a little.
    value = min(max(estimate, kind.limit.low), kind.limit.high)
    low, high = max(kind.limit.low, center - half), min(kind.limit.high, center + half)
    interval = Interval(min(low, value), max(high, value))
    return ValueWithInterval(value, interval), math.sqrt(variance), math.sqrt(widened)


def _subtract_rates(a: ValueWithInterval, b: ValueWithInterval) -> ValueWithInterval:
    """Subtract two independent rates, with Newcombe's hybrid interval (1998, Statistics in Medicine 17, method 10)."""
    value = a.value - b.value
    below = math.hypot(a.value - a.interval.low, b.interval.high - b.value)
    above = math.hypot(a.interval.high - a.value, b.value - b.interval.low)
    return ValueWithInterval(value, Interval(max(-1.0, value - below), min(1.0, value + above)))
