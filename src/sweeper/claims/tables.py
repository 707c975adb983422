"""The tables that claims are decided from, and the runs and arms in them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from sweeper.claims.comparison import Comparison, Hypothesis, make_comparison
from sweeper.claims.interval_estimates import (
    IntervalEstimate,
    estimate_independent_difference,
    estimate_pass_rate_difference,
)
from sweeper.claims.losses import adapt_hypothesis, estimate_loss_difference, match_run_values
from sweeper.claims.run_intervals import estimate_run_mean_difference
from sweeper.config.axes import format_arm_name
from sweeper.statistics.aliases import ArmValue, Array, QueryKey
from sweeper.statistics.paired import Pairing, equals_value, group_arm_runs, match_runs
from sweeper.statistics.pass_matrix import DEFAULT_AXES

if TYPE_CHECKING:
    import pandas as pd

    from sweeper.config import Claim


@dataclass(frozen=True)
class StudyEvidence:
    """The tables of a study that claims are decided from."""

    trials: pd.DataFrame
    """One row per planned trial."""
    outcomes: pd.DataFrame
    """One row per (trial, query, judge, vote)."""
    axes: Sequence[str] = DEFAULT_AXES
    """Columns of `trials` that distinguish arms, besides the seed."""
    matrix: pd.DataFrame | None = None
    """The pass matrix of the outcomes; built where it is not given."""
    histories: Mapping[str, pd.DataFrame] | None = None
    """Fingerprint -> logged steps."""
    leaked_queries: Iterable[QueryKey] | None = None
    """Test queries that training may have seen; None: not audited."""
    solvable_queries: Iterable[QueryKey] | None = None
    """Queries that can be solved; None: as the votes on the tasks decide."""
    query_clusters: Mapping[str, Mapping[QueryKey, str]] | None = None
    """`tool` and `category` -> query -> what it is about; None: not known."""


@dataclass(frozen=True)
class ClaimTables:
    """The tables that one claim is decided from."""

    rows: pd.DataFrame
    """The claim's planned trials."""
    matrix: pd.DataFrame
    """The pass matrix."""
    outcomes: pd.DataFrame
    """The outcomes, of every judge."""
    axes: tuple[str, ...]
    histories: Mapping[str, pd.DataFrame] | None
    left_out_runs: frozenset[str] = frozenset()
    """Runs that pass rates are not about, by the claim's estimand."""
    query_clusters: Mapping[str, Mapping[QueryKey, str]] | None = None
    """As in the evidence."""
    cached_differences: dict[tuple[ArmValue, ArmValue], IntervalEstimate] = field(default_factory=dict)
    """Differences of two arms already estimated: several interpretations share them."""

    def list_clusters(self, name: str) -> list[str] | None:
        """Return what each query of the matrix is about, by tool or category; None where that is not known.

        A query that the clusters lack is one by itself.
        """
        if self.query_clusters is None or name not in self.query_clusters:
            return None
        known = self.query_clusters[name]
        keys = [(str(subset), str(query)) for subset, query in self.matrix.index]
        return [known.get(key, f"{key}") for key in keys]

    def list_runs(self, rows: pd.DataFrame) -> list[tuple[int, str]]:
        """Return (seed, fingerprint) of the runs that pass rates are about."""
        rows = self.leave_out(rows)
        return [(int(seed), str(name)) for seed, name in zip(rows["seed"], rows["fingerprint"], strict=True)]

    def leave_out(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the rows without `left_out_runs`."""
        return rows[~rows["fingerprint"].isin(self.left_out_runs)] if self.left_out_runs else rows

    def match_arm_runs(self, axis: str, first: ArmValue, second: ArmValue) -> Pairing:
        """Pair the runs of two arms that agree in seed and all other axes."""
        return match_runs(self.rows, axis, first, second, self.axes)

    def estimate_arm_difference(self, claim: Claim, first: ArmValue, second: ArmValue) -> IntervalEstimate:
        """Estimate the difference in pass rate, or in the claim's loss, of two arms of its axis."""
        if (first, second) not in self.cached_differences:
            axis = str(claim.axis)
            if claim.is_about_loss:
                difference = estimate_loss_difference(claim, self, first, second)
            elif claim.sd_ratio is None:
                pairing = match_runs(self.leave_out(self.rows), axis, first, second, self.axes)
                difference = estimate_pass_rate_difference(self.matrix, pairing)
            else:
                runs = group_arm_runs(self.leave_out(self.rows), axis, first, second, self.axes)
                difference = estimate_independent_difference(self.matrix, runs, claim.sd_ratio)
            self.cached_differences[first, second] = difference
        return self.cached_differences[first, second]

    def compare_arms(self, claim: Claim, hypothesis: Hypothesis, n_comparisons: int) -> Comparison:
        """Compare two arms by pass rate, or by the claim's loss."""
        difference = self.estimate_arm_difference(claim, hypothesis.first, hypothesis.second)
        if claim.is_about_loss:
            hypothesis = adapt_hypothesis(claim, hypothesis)
        elif claim.sd_ratio is not None:
            hypothesis = replace(hypothesis, observations="outcomes")
        return make_comparison(hypothesis, difference, alpha=claim.alpha, n_comparisons=n_comparisons)

    def compare_run_values(self, claim: Claim, hypothesis: Hypothesis, values: Mapping[str, float]) -> Comparison:
        """Compare one number per run (fingerprint -> value) between two arms."""
        pairing = self.match_arm_runs(hypothesis.axis, hypothesis.first, hypothesis.second)
        first, second, seeds, n_dropped = match_run_values(pairing, values)
        difference = estimate_run_mean_difference(first, second, seeds, pairing.unmatched_runs + n_dropped)
        return make_comparison(hypothesis, difference, alpha=claim.alpha, n_comparisons=1)


def order_arms(claim: Claim, rows: pd.DataFrame) -> tuple[dict[ArmValue, float], str]:
    """Return arm -> place on the claim's axis, ascending, and what is missing ('' for nothing).

    Models are ordered by parameters, other arms by their value.
    """
    axis = str(claim.axis)
    if not equals_value(rows[axis], claim.candidate).any():
        return {}, f"{format_arm_name(axis, claim.candidate)} is not among the planned trials"
    column = "parameters" if axis == "model" else axis
    places = dict(zip(rows[axis], rows[column], strict=True))
    known = {arm: math.nan if place is None else float(place) for arm, place in places.items()}
    unknown = [format_arm_name(axis, arm) for arm, place in known.items() if math.isnan(place)]
    if unknown:
        return {}, f"the size of {', '.join(unknown)} is unknown, so arms cannot be ordered"
    return dict(sorted(known.items(), key=lambda item: item[1])), ""


def select_single_arm(claim: Claim, tables: ClaimTables) -> tuple[pd.DataFrame, str, str]:
    """Return the runs of the one arm that a claim is about, its name, and what is missing ('' for nothing)."""
    rows = tables.rows
    if claim.axis is not None:
        rows = rows[equals_value(rows[claim.axis], claim.candidate)]
    if rows.empty:
        return rows, "", "the arm is not among the planned trials"
    varying = [axis for axis in tables.axes if axis in rows.columns and rows[axis].nunique(dropna=False) > 1]
    named = [axis for axis in dict.fromkeys(["model", *claim.where, claim.axis or ""]) if axis in rows.columns]
    name = ", ".join(format_arm_name(axis, rows[axis].iloc[0]) for axis in named if axis != "seed")
    problem = f"more than one arm: {', '.join(varying)} varies, so name a value of it" if varying else ""
    return rows, name, problem


def list_unplanned_arms(rows: pd.DataFrame, axis: str, arms: Iterable[ArmValue]) -> list[str]:
    """Return the arms without a planned trial, in words."""
    return [format_arm_name(axis, arm) for arm in arms if not equals_value(rows[axis], arm).any()]


def group_values_by_cell(
    rows: pd.DataFrame, values: Mapping[str, float], axes: Sequence[str]
) -> dict[tuple[object, ...], Array]:
    """Return cell of `axes` -> the values of its runs, NaN where a run has none."""
    cells: dict[tuple[object, ...], list[float]] = {}
    columns = [[None if item != item else item for item in rows[name]] for name in axes if name in rows.columns]
    for fingerprint, *cell in zip(rows["fingerprint"], *columns, strict=True):
        cells.setdefault(tuple(cell), []).append(values.get(str(fingerprint), math.nan))
    return {cell: np.asarray(numbers, dtype=np.float64) for cell, numbers in cells.items()}
