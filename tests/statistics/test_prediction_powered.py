"""Prediction-powered rates and differences: against ppi_py, by simulation, and at their edges."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest

from sweeper.errors import DataError
from sweeper.statistics import CorrectedEstimate, estimate_corrected_difference, estimate_corrected_rate
from sweeper.statistics.aliases import Array

NAN = math.nan
# ppi_mean_pointestimate and ppi_mean_ci of ppi-python 0.2.3, alpha = 0.05. Inputs: labelled answers by (label, score),
# unlabelled ones by score. Results: lambda, estimate, interval; estimates at lambda 0, 0.5 and 1.
PPI_PY = [
    (
        {(0, 0): 11, (0, 1): 6, (1, 0): 4, (1, 1): 19},
        (280, 445),
        (0.46191624594302166, 0.5698233524161558, 0.4346159420287872, 0.7050307628035244),
        (0.575, 0.569396551724138, 0.5637931034482758),
    ),
    (
        {(0, 0): 520, (0, 1): 90, (1, 0): 60, (1, 1): 330},
        (5200, 2800),
        (0.6428824174170954, 0.3449982307808034, 0.322087736875984, 0.36790872468562275),
        (0.39, 0.355, 0.32),
    ),
    (
        {(0, 0): 30, (0, 1): 20, (1, 0): 28, (1, 1): 22},
        (300, 365),
        (0.034868845483370686, 0.5044936241472553, 0.40656521031988885, 0.6024220379746218),
        (0.5, 0.5644360902255638, 0.6288721804511278),
    ),
]


def list_answers(labelled: Mapping[tuple[int, int], int], unlabelled: tuple[int, int]) -> tuple[Array, Array]:
    labels = np.repeat([float(label) for label, _ in labelled], list(labelled.values()))
    scores = np.repeat([float(score) for _, score in labelled], list(labelled.values()))
    rest = np.repeat([0.0, 1.0], unlabelled)
    return np.concatenate([labels, np.full(len(rest), NAN)]), np.concatenate([scores, rest])


def estimate(labels: Array, scores: Array, power: float | None = None) -> CorrectedEstimate:
    return estimate_corrected_rate(labels, scores, ["s"] * len(labels), power=power)


@pytest.mark.parametrize(("labelled", "unlabelled", "found", "fixed"), PPI_PY)
def test_one_stratum_agrees_with_ppi_py(
    labelled: dict[tuple[int, int], int],
    unlabelled: tuple[int, int],
    found: tuple[float, float, float, float],
    fixed: tuple[float, float, float],
) -> None:
    labels, scores = list_answers(labelled, unlabelled)
    n = sum(labelled.values())
    power, value, low, high = found
    # ppi_py divides the covariance by n, here it is by n - 1.
    assert estimate(labels, scores).power * (n - 1) / n == pytest.approx(power, rel=1e-12)
    for weight, expected in zip((power, 0.0, 0.5, 1.0), (value, *fixed), strict=True):
        assert estimate(labels, scores, weight).corrected.value == pytest.approx(expected, rel=1e-12)
    # ppi_py divides variances by n, and takes that of the scores from the unlabelled answers alone.
    by_judge = power**2 * scores[n:].var() / sum(unlabelled)
    rest = ((high - low) / 2 / 1.959963984540054) ** 2 - by_judge
    expected = math.sqrt(rest * n / (n - 1) + power**2 * scores.var(ddof=1) / sum(unlabelled))
    assert estimate(labels, scores, power).standard_error == pytest.approx(expected, rel=1e-12)
    interval = estimate(labels, scores).corrected.interval
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=0.3 / n)


def test_strata_are_weighted_by_their_answers() -> None:
    labels = np.array([1, 1, 1, 0, *[NAN] * 6, 0, 0, 0, 1, *[NAN] * 26])
    scores = np.array([1, 1, 1, 0, *[1] * 6, 0, 0, 1, 1, *[0] * 26])
    strata = ["a"] * 10 + ["b"] * 30
    found = estimate_corrected_rate(labels, scores, strata, power=1.0)
    assert found.labels.value == pytest.approx(0.25 * 0.75 + 0.75 * 0.25)
    # a: 1 + (0.75 - 0.75); b: 0 + (0.25 - 0.5)
    assert found.corrected.value == pytest.approx(0.25 * 1 - 0.75 * 0.25)
    assert found.joined_strata == ()
    ours = estimate_corrected_rate(labels, scores, strata)
    parts = [estimate(labels[:10], scores[:10]), estimate(labels[10:], scores[10:])]
    assert min(part.power for part in parts) <= ours.power <= max(part.power for part in parts)


def test_labels_alone_have_the_interval_of_agresti_and_coull() -> None:
    labels, scores = list_answers({(1, 1): 40, (0, 1): 160}, (0, 500))
    found = estimate(labels, scores)
    assert found.power == 0.0, "a constant judge"
    assert found.corrected == found.labels
    squared = 1.959963984540054**2
    middle = (40 + squared / 2) / (200 + squared)
    half = 1.959963984540054 * math.sqrt(middle * (1 - middle) / (200 + squared))
    assert (found.labels.interval.low, found.labels.interval.high) == pytest.approx(
        (middle - half, middle + half), abs=1e-3
    )
    assert found.variance_ratio == 1.0


@pytest.mark.parametrize("label", [0, 1])
def test_constant_labels_and_a_judge_without_errors_leave_a_width(label: int) -> None:
    found = estimate(*list_answers({(label, label): 20}, (50, 50)))
    assert found.corrected.value == label
    assert found.corrected.interval.high - found.corrected.interval.low > 0.1
    perfect = estimate(*list_answers({(0, 0): 10, (1, 1): 10}, (50, 50)))
    assert perfect.corrected.value == 0.5
    assert perfect.corrected.interval.high - perfect.corrected.interval.low > 0.15


def test_answers_that_are_all_labelled_need_no_judge() -> None:
    labels, scores = list_answers({(0, 0): 5, (0, 1): 20, (1, 1): 15}, (0, 0))
    found = estimate(labels, scores)
    assert (found.power, found.corrected) == (0.0, found.labels)
    assert found.corrected.value == 15 / 40
    assert found.corrected.interval.low < 15 / 40 < found.corrected.interval.high


@pytest.mark.parametrize("n", [0, 1])
def test_without_two_labels_there_is_no_rate_but_a_reason(n: int) -> None:
    found = estimate(*list_answers({(1, 1): n}, (30, 70)))
    assert (found.n_labelled, found.n_judged) == (n, 100 + n)
    assert math.isnan(found.corrected.value) and math.isnan(found.corrected.interval.low)
    assert math.isnan(found.labels.value) and math.isnan(found.power)
    assert found.judge.value == pytest.approx((70 + n) / (100 + n))
    assert found.reason == "fewer than 2 labels of answers that the judge scored"


def test_no_answers_at_all() -> None:
    found = estimate_corrected_rate([], [], [])
    assert (found.n_judged, math.isnan(found.judge.value)) == (0, True)


def test_strata_with_too_few_labels_are_joined_and_named() -> None:
    labels = np.array([1, 0, 1, 0, NAN, 1, NAN, NAN, 0, NAN, 1, 1, NAN])
    scores = np.array([1, 0, 1, 1, 1, 1, 0, 1, 0, 0, 1, 1, 0], dtype=float)
    strata = ["a"] * 5 + ["b"] * 3 + ["c"] * 2 + ["d"] * 3
    assert estimate_corrected_rate(labels, scores, strata).joined_strata == ("b", "c")
    labels[8] = NAN
    assert estimate_corrected_rate(labels, scores, strata).joined_strata == ("b", "c", "d"), "with the next smallest"
    labels[5], labels[6] = NAN, NAN
    found = estimate_corrected_rate(labels, scores, strata)
    assert found.joined_strata == ("b", "c", "d")
    assert math.isfinite(found.corrected.value)


def test_labels_without_a_score_are_counted() -> None:
    found = estimate(np.array([1, 0, 1, NAN]), np.array([1, 0, NAN, NAN]))
    assert (found.n_labelled, found.n_judged, found.labels_left_out) == (2, 2, 1)


def test_other_values_and_lengths_are_refused() -> None:
    with pytest.raises(DataError, match="0 to 1"):
        estimate(np.array([2.0]), np.array([1.0]))
    with pytest.raises(DataError, match="one of each"):
        estimate_corrected_rate([1.0], [1.0, 0.0], ["a"])


def test_difference_of_pairs_and_of_rates() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random((2, 300)) < np.array([[0.7], [0.5]])
    scores = np.where(rng.random((2, 300)) < 0.85, truth, ~truth).astype(float)
    labelled = np.arange(300) < 60
    labels = np.where(labelled, truth, NAN)
    strata = [f"s{k % 3}" for k in range(300)]
    pairs = estimate_corrected_difference((labels[0], labels[1]), (scores[0], scores[1]), strata)
    assert (pairs.method, pairs.n_labelled, pairs.n_judged) == ("PPI++ of pairs", 60, 300)
    assert pairs.labels.value == pytest.approx(labels[0][:60].mean() - labels[1][:60].mean())
    assert pairs.judge.value == pytest.approx(scores[0].mean() - scores[1].mean())
    assert pairs.corrected.interval.low < pairs.corrected.value < pairs.corrected.interval.high
    assert pairs.variance_ratio > 1
    labels[1][:3] = NAN
    assert estimate_corrected_difference((labels[0], labels[1]), (scores[0], scores[1]), strata).labels_left_out == 3
    apart = np.where(np.arange(300) >= 240, truth[1], NAN)
    found = estimate_corrected_difference((labels[0], apart), (scores[0], scores[1]), strata)
    assert (found.method, found.n_labelled) == ("PPI++ of two independent rates", 120)
    a, b = (estimate_corrected_rate(y, f, strata) for y, f in zip((labels[0], apart), scores, strict=True))
    assert found.corrected.value == pytest.approx(a.corrected.value - b.corrected.value)
    assert found.standard_error == pytest.approx(math.hypot(a.standard_error, b.standard_error))
    assert math.isnan(found.power)


def test_difference_without_labels_is_undefined() -> None:
    none = np.full(10, NAN)
    found = estimate_corrected_difference((none, none), (np.ones(10), np.zeros(10)), ["a"] * 10)
    assert (found.judge.value, math.isnan(found.corrected.value)) == (1.0, True)
    assert found.reason


def test_intervals_cover_with_few_labels() -> None:
    """255 answers in each of three subsets, labels in proportion. 500 draws: the standard error at 95 % is 0.01."""
    rng = np.random.default_rng(3)
    strata = np.repeat(["a", "b", "c"], 255)
    for n, rate, sensitivity, specificity in (
        (30, 0.1, 0.95, 0.95),
        (30, 0.7, 0.6, 0.95),
        (51, 0.9, 0.8, 0.8),
        (201, 0.5, 0.9, 0.7),
    ):
        covered = 0
        for _ in range(500):
            truth = rng.random(765) < rate
            scores = np.where(truth, rng.random(765) < sensitivity, rng.random(765) >= specificity).astype(float)
            # The answers are in no order, so the first of each subset are a random part.
            labels = np.where(np.tile(np.arange(255) < n // 3, 3), truth, NAN)
            interval = estimate_corrected_rate(labels, scores, strata).corrected.interval
            covered += interval.low <= rate <= interval.high
        assert covered / 500 > 0.95 - 3 * 0.01, (n, rate)
