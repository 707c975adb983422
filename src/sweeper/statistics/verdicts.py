"""Claim + tables -> verdict. A claim is decided by comparisons of two arms, every one of which must be shown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from sweeper.statistics.intervals import Interval
from sweeper.statistics.outcomes import AXES, COUNTED, arm_name, pass_matrix
from sweeper.statistics.paired import DRAWS, Estimate, Excluded, equals, match_runs, paired_difference

if TYPE_CHECKING:
    import pandas as pd

    from sweeper.spec import Claim

Word = Literal["supported", "refuted", "inconclusive"]
Test = Literal["superior", "no-better"]


@dataclass(frozen=True)
class Component:
    """One comparison: rate of `first` minus rate of `second`.

    `superior` wants a difference above 0: shown when the whole interval is, contradicted when it is all below 0.
    `no-better` wants a difference below the margin: shown when the whole interval is, contradicted when it is above.
    """

    test: Test
    axis: str
    first: str | float
    second: str | float
    margin: float
    estimate: Estimate
    refuted: bool
    """Contradicted at the level that is corrected for the number of comparisons."""

    @property
    def names(self) -> tuple[str, str]:
        """Both arms in words."""
        return arm_name(self.axis, self.first), arm_name(self.axis, self.second)

    @property
    def shown(self) -> bool:
        """Whether this comparison says what the claim says."""
        return self.slack > 0

    @property
    def slack(self) -> float:
        """Distance from the interval to what would not be shown, as a rate; negative where not shown, NaN undefined."""
        return self.estimate.low if self.test == "superior" else self.margin - self.estimate.high

    @property
    def against(self) -> float:
        """Distance by which the interval contradicts the claim; negative where it does not."""
        return -self.estimate.high if self.test == "superior" else self.estimate.low - self.margin

    @property
    def word(self) -> Literal["shown", "contradicted", "open"]:
        """The comparison's result in one word."""
        return "contradicted" if self.refuted else "shown" if self.shown else "open"


@dataclass(frozen=True)
class Verdict:
    """The claim's result. `estimate`, `interval` and the counts are those of `binding`, the comparison that decides:
    the one closest to failing when supported, the most violated when refuted, the furthest from shown otherwise."""

    claim_id: str
    text: str
    verdict: Word
    estimate: float
    interval: Interval
    n: int
    n_queries: int
    n_seeds: int
    components: tuple[Component, ...]
    binding: Component | None
    excluded: Excluded
    incomplete: tuple[str, ...]
    reason: str
    alpha: float


def decide(
    claim: Claim,
    trials: pd.DataFrame,
    outcomes: pd.DataFrame,
    *,
    rng: np.random.Generator,
    axes: Sequence[str] = AXES,
    matrix: pd.DataFrame | None = None,
    draws: int = DRAWS,
) -> Verdict:
    """Decide one claim. `trials`: one row per planned trial; `outcomes`: one per (trial, query, judge, vote).

    Supported needs all comparisons (an intersection-union test: each at alpha, no correction; the two-sided interval
    at 1 - alpha spends only alpha / 2 on the side that matters, which is conservative). Refuted needs one, so that
    side is corrected by Bonferroni to alpha over all of them. Never more than inconclusive: with a planned run
    of the compared arms not finished, an arm or a side of the candidate missing, or one seed only, since then the
    spread between training runs is unknown (in simulation such intervals cover as little as 56 % of the time).
    Raises DataError for tables that break their contract.
    """
    matrix = pass_matrix(trials, outcomes) if matrix is None else matrix
    rows = trials
    for name, value in claim.where.items():
        rows = rows.loc[equals(rows[name], value)]
    comparisons, problem = _comparisons(claim, rows)
    components = tuple(
        _component(claim, rows, matrix, comparison, len(comparisons), rng, axes, draws) for comparison in comparisons
    )
    incomplete = _incomplete(rows, matrix)
    word, reason = _word(components, problem, incomplete, rows)
    binding = _binding(components, word)
    found = binding.estimate if binding else None
    return Verdict(
        claim_id=claim.id,
        text=claim.text,
        verdict=word,
        estimate=found.estimate if found else math.nan,
        interval=Interval(found.low, found.high) if found else Interval(math.nan, math.nan),
        n=found.n if found else 0,
        n_queries=found.n_queries if found else 0,
        n_seeds=found.n_seeds if found else 0,
        components=components,
        binding=binding,
        excluded=found.excluded if found else Excluded(),
        incomplete=incomplete,
        reason=reason,
        alpha=claim.alpha,
    )


def _comparisons(claim: Claim, rows: pd.DataFrame) -> tuple[list[tuple[Test, Any, Any]], str]:
    """(test, first arm, second arm) of each comparison, and what is missing for a decision ('' for nothing)."""
    if not equals(rows[claim.axis], claim.candidate).any():
        return [], f"{arm_name(claim.axis, claim.candidate)} is not among the planned trials"
    order = _order(rows, claim.axis)
    if any(place != place for place in order.values()):
        unknown = [str(arm) for arm, place in order.items() if place != place]
        return [], f"the size of {', '.join(unknown)} is unknown, so arms cannot be ordered"
    here = order[claim.candidate]
    smaller = [arm for arm in order if order[arm] < here]
    beyond = [arm for arm in order if order[arm] >= here and arm != claim.candidate]
    no_better: list[tuple[Test, Any, Any]] = [("no-better", arm, claim.candidate) for arm in beyond]
    if claim.kind == "no-gain-beyond":
        return no_better, "" if beyond else f"no arm beyond {arm_name(claim.axis, claim.candidate)} is planned"
    superior: list[tuple[Test, Any, Any]] = [("superior", claim.candidate, arm) for arm in smaller]
    sides = [name for name, arms in (("smaller", smaller), ("larger", beyond)) if not arms]
    return superior + no_better, f"no {' and no '.join(sides)} arm is planned" if sides else ""


def _order(rows: pd.DataFrame, axis: str) -> dict[Any, float]:
    """Arm -> its place on the axis, ascending: parameters for models, else the value itself."""
    column = "parameters" if axis == "model" else axis
    places: dict[Any, Any] = dict(zip(rows[axis], rows[column], strict=True))
    known = {arm: math.nan if place is None else float(place) for arm, place in places.items()}
    return dict(sorted(known.items(), key=lambda item: item[1]))


def _component(
    claim: Claim,
    rows: pd.DataFrame,
    matrix: pd.DataFrame,
    comparison: tuple[Test, Any, Any],
    count: int,
    rng: np.random.Generator,
    axes: Sequence[str],
    draws: int,
) -> Component:
    test, first, second = comparison
    pairing = match_runs(rows, claim.axis, first, second, axes)
    estimate = paired_difference(matrix, pairing, alpha=claim.alpha, rng=rng, draws=draws)
    found = Component(test, claim.axis, first, second, claim.margin, estimate, refuted=False)
    # One side at alpha / count; a two-sided interval at 1 - alpha already gives alpha / 2.
    if count > 2 and found.against > 0:
        corrected = paired_difference(matrix, pairing, alpha=2 * claim.alpha / count, rng=rng, draws=draws)
        return replace(found, refuted=replace(found, estimate=corrected).against > 0)
    return replace(found, refuted=found.against > 0)


def _incomplete(rows: pd.DataFrame, matrix: pd.DataFrame) -> tuple[str, ...]:
    """Planned runs without a result, as `model, epochs, seed: status`; a run without outcomes is UNEVALUATED."""
    names = []
    for row in rows.to_dict("records"):
        status = row["status"]
        if status in COUNTED and row["fingerprint"] in matrix.columns:
            continue
        epochs = row.get("num_train_epochs", math.nan)
        what = "UNEVALUATED" if status in COUNTED else status
        names.append(f"{row['model']}, {arm_name('num_train_epochs', epochs)}, seed {row['seed']}: {what}")
    return tuple(names)


def _word(
    components: tuple[Component, ...], problem: str, incomplete: tuple[str, ...], rows: pd.DataFrame
) -> tuple[Word, str]:
    if problem and not any(c.refuted for c in components):
        return "inconclusive", f"Not decidable: {problem}."
    if incomplete:
        listed = "; ".join(incomplete[:4]) + ("; …" if len(incomplete) > 4 else "")
        return "inconclusive", f"Planned runs without a result: {len(incomplete)} of {len(rows)} ({listed})."
    if any(math.isnan(c.estimate.estimate) for c in components):
        return "inconclusive", "Some arms share no scored query."
    note = _note(components, rows)
    if min(c.estimate.n_seeds for c in components) < 2:
        return "inconclusive", "One seed: the spread between training runs is unknown, so no verdict." + note
    for component in components:
        if component.refuted:
            return "refuted", f"Contradicted: {describe(component, against=True)}." + note
    still_open = [c for c in components if not c.shown]
    if not still_open:
        every = {1: "Its one comparison shows", 2: "Both comparisons show"}
        return "supported", every.get(len(components), f"All {len(components)} comparisons show") + " it." + note
    return "inconclusive", f"Not shown: {'; '.join(describe(c) for c in still_open)}." + note


def describe(component: Component, *, against: bool = False) -> str:
    """What a comparison has to show, in words; `against`: the contrary, which contradicts the claim."""
    first, second = component.names
    if component.test == "superior":
        return f"{first} {'below' if against else 'above'} {second}"
    return f"{first} {'more' if against else 'less'} than {100 * component.margin:g} points above {second}"


def _note(components: tuple[Component, ...], rows: pd.DataFrame) -> str:
    diverged = int((rows["status"] == "DIVERGED").sum())
    text = f" Diverged runs count as passing nothing (here {diverged})." if diverged else ""
    left_out = max(c.estimate.excluded.queries for c in components)
    return text + (f" Up to {left_out} queries not scored in every compared run are left out." if left_out else "")


def _binding(components: tuple[Component, ...], word: Word) -> Component | None:
    if not components:
        return None
    if word == "refuted":
        return max((c for c in components if c.refuted), key=lambda c: c.against)
    return min(components, key=lambda c: -math.inf if math.isnan(c.slack) else c.slack)
