from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sweeper.errors import DataError
from sweeper.statistics import (
    cohen_kappa,
    fleiss_kappa,
    gwet_ac1,
    krippendorff_alpha,
    measure_agreement,
    raw_agreement,
    wilson_interval,
)
from sweeper.statistics.judge_agreement import AgreementStatistic

N = None
KRIPPENDORFF = pd.DataFrame(
    {
        "A": [1, 2, 3, 3, 2, 1, 4, 1, 2, N, N, N],
        "B": [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, N, 3],
        "C": [N, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, N],
        "D": [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, N],
    }
)
"""Krippendorff's four observers (2011); Gwet's `cac.raw4raters`."""
SIX_RATERS = [
    [0, 0, 0, 6, 0],
    [0, 3, 0, 0, 3],
    [0, 1, 4, 0, 1],
    [0, 0, 0, 0, 6],
    [0, 3, 0, 3, 0],
    [2, 0, 4, 0, 0],
    [0, 0, 4, 0, 2],
    [2, 0, 3, 1, 0],
    [2, 0, 0, 4, 0],
    [0, 0, 0, 0, 6],
    [1, 0, 0, 5, 0],
    [1, 1, 0, 4, 0],
    [0, 3, 3, 0, 0],
    [1, 0, 0, 5, 0],
    [0, 2, 0, 3, 1],
]
"""Psychiatric diagnoses (items by categories): `distrib.6raters` of Gwet's irrCAC, with its published results."""
ABSTRACTORS = [[13, 0, 0], [0, 20, 7], [0, 4, 56]]
"""Two raters (rows, columns): `cont3x3abstractors` of irrCAC."""
FOURTEEN_RATERS = [
    [0, 0, 0, 0, 14],
    [0, 2, 6, 4, 2],
    [0, 0, 3, 5, 6],
    [0, 3, 9, 2, 0],
    [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0],
    [3, 2, 6, 3, 0],
    [2, 5, 3, 2, 2],
    [6, 5, 2, 1, 0],
    [0, 2, 2, 3, 7],
]
"""The worked example of Wikipedia's article on Fleiss' kappa: 0.210."""
SHORT = pd.DataFrame({"a": [1, 1, 0, 1, 1], "b": [1, 1, 0, 1, 0]})


def generator() -> np.random.Generator:
    return np.random.default_rng(0)


def from_counts(counts: list[list[int]]) -> pd.DataFrame:
    return pd.DataFrame([np.repeat([*"vwxyz"[: len(row)]], row) for row in counts])


def from_table(table: Any) -> pd.DataFrame:
    counts = np.asarray(table)
    return pd.DataFrame(
        {
            name: np.repeat(side.ravel(), counts.ravel())
            for name, side in zip("ab", np.indices(counts.shape), strict=True)
        }
    )


def every(labels: pd.DataFrame, draws: int = 50) -> dict[str, Any]:
    return measure_agreement(labels, rng=generator(), draws=draws).to_json()


def half_width(found: dict[str, Any]) -> float:
    low, high = found["interval"]
    return float(high - low) / 2


def test_agreement_matches_hand_computed_values() -> None:
    """Four of five agree. AC1: prevalence 0.7, chance 2 * 0.7 * 0.3 = 0.42. Alpha: 1 - 9 * 2 / (2 * 7 * 3)."""
    found = every(SHORT)
    wilsons = wilson_interval(4, 5, 0.05)
    assert found["n"] == 5
    assert found["raw"] == {"value": 0.8, "interval": pytest.approx([wilsons.low, wilsons.high])}
    assert found["gwet_ac1"]["value"] == pytest.approx((0.8 - 0.42) / 0.58) == pytest.approx(0.65517, abs=1e-5)
    assert found["krippendorff_alpha"]["value"] == pytest.approx(1 - 18 / 42)
    assert found["cohen_kappa"]["value"] == pytest.approx((0.8 - 0.56) / 0.44)
    assert found["fleiss_kappa"]["value"] == pytest.approx((0.8 - 0.58) / 0.42)


def test_agreement_matches_krippendorffs_four_observers() -> None:
    """irrCAC 1.0: alpha 0.74342; percent agreement 0.8181818; AC1 0.77544 from 0.46081 to (cut) 1."""
    found = every(KRIPPENDORFF)
    assert found["n"] == 11 and found["cohen_kappa"] is None
    assert found["krippendorff_alpha"]["value"] == pytest.approx(0.74342, abs=5e-6)
    assert found["raw"]["value"] == pytest.approx(0.8181818, abs=5e-8)
    assert found["gwet_ac1"]["value"] == pytest.approx(0.77544, abs=5e-6)
    assert found["gwet_ac1"]["interval"] == pytest.approx([0.46081, 1.0], abs=1e-5)


def test_agreement_matches_a_published_example_of_six_raters() -> None:
    """irrCAC 1.0: AC1 0.4448007 with standard error 0.08418757; Fleiss 0.4139265; alpha 0.4204384; raw 0.5511111."""
    found = every(from_counts(SIX_RATERS))
    assert found["raw"]["value"] == pytest.approx(0.5511111, abs=5e-8)
    assert found["gwet_ac1"]["value"] == pytest.approx(0.4448007, abs=5e-8)
    assert half_width(found["gwet_ac1"]) == pytest.approx(0.08418757 * stats.t.ppf(0.975, 14), abs=1e-7)
    assert found["fleiss_kappa"]["value"] == pytest.approx(0.4139265, abs=5e-8)
    assert found["krippendorff_alpha"]["value"] == pytest.approx(0.4204384, abs=5e-8)


def test_agreement_matches_a_published_example_of_two_raters() -> None:
    """irrCAC 1.0: kappa 0.7964094 (standard error 0.05891072), AC1 0.8493305 (0.04321747), alpha 0.7972585.

    For a table of two raters irrCAC divides AC1's variance by n, for raw ratings, as here, by n - 1.
    """
    labels = from_table(ABSTRACTORS)
    found = measure_agreement(labels, rng=generator(), alpha=0.1, draws=20).to_json()
    assert found["cohen_kappa"]["value"] == pytest.approx(0.7964094, abs=5e-8)
    assert half_width(found["cohen_kappa"]) == pytest.approx(0.05891072 * stats.norm.ppf(0.95), abs=1e-7)
    assert found["gwet_ac1"]["value"] == pytest.approx(0.8493305, abs=5e-8)
    error = 0.04321747 * math.sqrt(100 / 99)
    assert half_width(found["gwet_ac1"]) == pytest.approx(error * stats.t.ppf(0.95, 99), abs=1e-7)
    assert found["krippendorff_alpha"]["value"] == pytest.approx(0.7972585, abs=5e-8)


def test_agreement_matches_a_published_example_of_fourteen_raters() -> None:
    found = fleiss_kappa(from_counts(FOURTEEN_RATERS), rng=generator(), draws=200).to_json()
    assert found["value"] == pytest.approx(0.210, abs=5e-4)
    assert found["interval"][0] < 0.210 < found["interval"][1]


def test_kappa_is_low_and_ac1_high_at_high_prevalence() -> None:
    """Feinstein and Cicchetti's paradox: agreement on 90 of 100, kappa below 0, AC1 near 0.9."""
    found = every(from_table([[90, 5], [5, 0]]), draws=5)
    assert found["raw"]["value"] == 0.9
    assert found["cohen_kappa"]["value"] < 0 and found["fleiss_kappa"]["value"] < 0
    assert found["gwet_ac1"]["value"] == pytest.approx((0.9 - 0.095) / 0.905)


def test_kappa_of_constant_ratings_is_undefined() -> None:
    found = every(pd.DataFrame({"a": ["solved"] * 20, "b": ["solved"] * 20}))
    for name in ("cohen_kappa", "fleiss_kappa", "krippendorff_alpha"):
        assert math.isnan(found[name]["value"]) and all(math.isnan(end) for end in found[name]["interval"]), name
    low = wilson_interval(20, 20, 0.05).low
    for name in ("raw", "gwet_ac1"):
        assert found[name]["value"] == 1.0 and found[name]["interval"] == pytest.approx([low, 1.0]), name


def test_full_agreement_has_an_interval_with_width() -> None:
    """Twenty items, both categories alike: chance is 1/2, so the lower end is 2 * (Wilson's) - 1."""
    found = every(pd.DataFrame({"a": ["x", "y"] * 10, "b": ["x", "y"] * 10}))
    low = wilson_interval(20, 20, 0.05).low
    for name in ("cohen_kappa", "fleiss_kappa", "krippendorff_alpha", "gwet_ac1"):
        assert found[name]["value"] == 1.0 and found[name]["interval"] == pytest.approx([2 * low - 1, 1.0]), name


def test_agreement_without_items_rated_twice_is_undefined() -> None:
    for labels in (pd.DataFrame({"a": ["x", None], "b": [None, "y"]}), pd.DataFrame({"a": [], "b": []})):
        found = every(labels)
        assert found["n"] == 0
        for name in ("raw", "cohen_kappa", "fleiss_kappa", "krippendorff_alpha", "gwet_ac1"):
            assert math.isnan(found[name]["value"]) and math.isnan(found[name]["interval"][0]), name


def test_agreement_leaves_out_missing_ratings() -> None:
    labels = pd.DataFrame({"a": ["x", "x", "y", "x", None], "b": ["x", "y", "y", None, None], "c": [*"xxyx", math.nan]})
    found = every(labels)
    assert found["n"] == 4
    assert found["raw"]["value"] == pytest.approx((1 + 1 / 3 + 1 + 1) / 4)
    assert found["fleiss_kappa"] == every(labels.head(3))["fleiss_kappa"], "only what all three rated"
    pair = labels[["a", "b"]]
    assert cohen_kappa(pair) == cohen_kappa(pair.head(3))
    assert gwet_ac1(pair) != gwet_ac1(pair.head(3)), "an item rated once informs the prevalence"
    assert gwet_ac1(pair).value == pytest.approx((2 / 3 - 15 / 32) / (17 / 32)), "prevalence 5/8: chance 15/32"


def test_unused_categories_lower_chance_agreement() -> None:
    assert gwet_ac1(SHORT, categories=2) == gwet_ac1(SHORT)
    assert gwet_ac1(SHORT, categories=3).value == pytest.approx((0.8 - 0.21) / 0.79)
    with pytest.raises(DataError, match="2 in the labels"):
        gwet_ac1(SHORT, categories=1)


def test_agreement_refuses_too_few_or_too_many_raters() -> None:
    with pytest.raises(DataError, match="at least two"):
        every(SHORT[["a"]])
    with pytest.raises(DataError, match="two raters"):
        cohen_kappa(KRIPPENDORFF)


@st.composite
def rated(draw: st.DrawFn) -> pd.DataFrame:
    raters = draw(st.integers(2, 4))
    category = st.sampled_from(["solved", "unsolved", "unsure", None])
    rows = draw(st.lists(st.lists(category, min_size=raters, max_size=raters), min_size=1, max_size=12))
    return pd.DataFrame(rows, columns=[f"r{i}" for i in range(raters)], dtype=object)


def flat(found: dict[str, Any], *, intervals: bool) -> list[float]:
    parts = [part for part in found.values() if isinstance(part, dict)]
    ends = [end for part in parts for end in part["interval"]] if intervals else []
    return [part["value"] for part in parts] + ends


@given(rated(), st.randoms(use_true_random=False))
@settings(max_examples=20, deadline=None)
def test_agreement_ignores_order_and_names(labels: pd.DataFrame, random: Any) -> None:
    found = every(labels, draws=10)
    raters = list(labels.columns)
    random.shuffle(raters)
    assert flat(every(labels[raters], draws=10), intervals=True) == pytest.approx(
        flat(found, intervals=True), nan_ok=True, abs=1e-9
    )
    names: dict[Any, Any] = {"solved": 7, "unsolved": "b", "unsure": (1, 2)}
    renamed = pd.DataFrame([[names.get(label) for label in row] for row in labels.to_numpy()], dtype=object)
    shuffled = renamed.sample(frac=1, random_state=random.randrange(1000))
    assert flat(every(shuffled, draws=2), intervals=False) == pytest.approx(
        flat(found, intervals=False), nan_ok=True, abs=1e-9
    )


@given(rated())
@settings(max_examples=20, deadline=None)
def test_agreement_ignores_unrated_items(labels: pd.DataFrame) -> None:
    more = pd.concat([labels, pd.DataFrame([[None] * labels.shape[1]], columns=labels.columns, dtype=object)])
    assert flat(every(more, draws=5), intervals=True) == pytest.approx(
        flat(every(labels, draws=5), intervals=True), nan_ok=True, abs=1e-12
    )


@given(rated())
@settings(max_examples=20, deadline=None)
def test_agreement_lies_in_its_interval_and_range(labels: pd.DataFrame) -> None:
    for name, compute in (("raw", raw_agreement), ("ac1", gwet_ac1)):
        found = compute(labels)
        low, high = found.interval.low, found.interval.high
        if not math.isnan(low):
            assert (0 if name == "raw" else -1) <= low <= found.value + 1e-9 and found.value - 1e-9 <= high <= 1


JOINT = np.array([[0.70, 0.07], [0.05, 0.18]])
"""Probabilities of two raters' labels, at the paper's prevalence: raw agreement 0.88."""
PREVALENCE = np.array([0.76, 0.24])


def coverage(compute: Callable[[pd.DataFrame], AgreementStatistic], truth: float, runs: int, n: int) -> float:
    random, covered = np.random.default_rng(3), 0
    for _ in range(runs):
        interval = compute(from_table(random.multinomial(n, JOINT.ravel()).reshape(2, 2))).interval
        covered += interval.low <= truth <= interval.high
    return covered / runs


@pytest.mark.slow
def test_analytic_agreement_intervals_cover_the_truth() -> None:
    chance = 2 * PREVALENCE[0] * PREVALENCE[1]
    by_margins = float(JOINT.sum(axis=1) @ JOINT.sum(axis=0))
    assert 0.9 < coverage(gwet_ac1, (0.88 - chance) / (1 - chance), 150, 120) < 0.99
    assert 0.9 < coverage(cohen_kappa, (0.88 - by_margins) / (1 - by_margins), 150, 120) < 0.99
    assert 0.9 < coverage(raw_agreement, 0.88, 150, 120) < 0.99


@pytest.mark.slow
def test_bootstrap_agreement_intervals_cover_the_truth() -> None:
    chance = float((PREVALENCE**2).sum())
    truth = (0.88 - chance) / (1 - chance)
    for compute in (fleiss_kappa, krippendorff_alpha):
        random = generator()
        found = coverage(lambda labels, c=compute, r=random: c(labels, rng=r, draws=60), truth, 60, 100)
        assert found > 0.95 - 3 * math.sqrt(0.95 * 0.05 / 60), compute.__name__
