"""`cheaper`: the candidate's cost per solved query, divided by another arm's, is below the reference.

Its pass rate may be lower by less than the margin.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import numpy as np

from sweeper.claims.available_cases import select_available_scores
from sweeper.claims.comparison import Hypothesis, Metric, make_comparison
from sweeper.claims.interval_estimates import (
    UNWIDENED,
    IntervalEstimate,
    SeedAssumption,
    TwoWayMean,
    estimate_two_way_mean,
    make_undefined_estimate,
)
from sweeper.claims.kinds.base import ARM_FIELDS, SEED_FIELDS, ClaimKind, ComparisonSet, require_reference
from sweeper.claims.planned_power import ClaimPower
from sweeper.claims.protocols import extract_metric
from sweeper.claims.tables import list_unplanned_arms
from sweeper.statistics.intervals import Interval, clopper_pearson_interval
from sweeper.statistics.paired import MIN_DISCORDANT_QUERIES, Exclusions, average_by_key, equals_value
from sweeper.statistics.pass_matrix import QUERY_COLUMNS

if TYPE_CHECKING:
    import pandas as pd

    from sweeper.claims.planned_power import ClaimDesign
    from sweeper.claims.tables import ClaimTables
    from sweeper.config import Claim
    from sweeper.statistics.aliases import ArmValue, Array

COST_PER_SOLVED = Metric(
    "cost_per_solved",
    "cost per solved query",
    unit="ratio",
    value_sentence="A solved query of {first} costs {value} times as much as one of {second}",
    hypothesis=(
        "a solved query of {first} at less than {bound} times the cost of {second}",
        "a solved query of {first} at more than {bound} times the cost of {second}",
    ),
)
HARDWARE_COLUMNS = ("engine", "cpus", "gpus")
"""Columns of the trials table that hold what a run occupied."""


class Cheaper(ClaimKind):
    """The candidate against one other arm, by cost per solved query and by pass rate."""

    metrics = ("cost_per_solved",)
    required_fields = ARM_FIELDS | {"against", "reference"}
    optional_fields = SEED_FIELDS | {"price_per_hour", "amortised_over", "protocol"}

    def check_field(self, name: str, value: object, fields: Mapping[str, object]) -> None:
        """Refuse several arms to compare with, and prices that lack an arm."""
        if name == "against" and isinstance(value, list) and len(value) != 1:
            raise ValueError(f"`kind: cheaper` takes exactly one arm to compare with, not {len(value)}")
        if name == "price_per_hour" and isinstance(value, dict) and value:
            arms = [fields.get("candidate"), *cast("list[ArmValue]", fields.get("against", []))]
            unpriced = [str(arm) for arm in arms if not value.get(format_price_key(arm), 0) > 0]
            if unpriced:
                raise ValueError(f"no price above 0 for {unpriced}")

    def build_comparisons(self, claim: Claim, tables: ClaimTables) -> ComparisonSet:
        """Compare the costs and the pass rates of both arms."""
        axis, candidate, other, rows = str(claim.axis), claim.candidate, claim.against[0], tables.rows
        if unplanned := list_unplanned_arms(rows, axis, (candidate, other)):
            return ComparisonSet((), f"{', '.join(unplanned)} is not among the planned trials", rows)
        rows = rows[equals_value(rows[axis], candidate) | equals_value(rows[axis], other)]
        ratio, problem = estimate_claim_ratio(claim, tables, rows)
        cost = Hypothesis(
            test="stays-below",
            axis=axis,
            first=candidate,
            second=other,
            margin=require_reference(claim),
            metric=COST_PER_SOLVED,
        )
        quality = Hypothesis(test="no-better", axis=axis, first=other, second=candidate, margin=claim.margin)
        comparisons = (
            make_comparison(cost, ratio, alpha=claim.alpha, n_comparisons=2),
            tables.compare_arms(claim, quality, 2),
        )
        unit = "price" if claim.price_per_hour else "time"
        spread = f"{claim.amortised_over:,} queries" if claim.amortised_over else "the suite's queries"
        note = f" Cost is {unit} of training, spread over {spread}, and of evaluation."
        return ComparisonSet(comparisons, problem, rows, note)

    def estimate_power(self, claim: Claim, design: ClaimDesign) -> ClaimPower:
        """Return no figure."""
        return ClaimPower(reason="no figure: how costs spread is unknown before a run")


def estimate_claim_ratio(claim: Claim, tables: ClaimTables, rows: pd.DataFrame) -> tuple[IntervalEstimate, str]:
    """Estimate the ratio of costs, and return what is missing for it ('' for nothing)."""
    varying = [name for name in HARDWARE_COLUMNS if name in rows.columns and rows[name].nunique(dropna=False) > 1]
    pairing = tables.match_arm_runs(str(claim.axis), claim.candidate, claim.against[0])
    pairs = [p for p in pairing.pairs if p[1] in tables.matrix.columns and p[2] in tables.matrix.columns]
    costs = compute_query_costs(claim, tables, rows)
    unknown = [name for _, a, b in pairs for name in (a, b) if math.isnan(costs.get(name, math.nan))]
    excluded = Exclusions(runs=pairing.unmatched_runs + 2 * (len(pairing.pairs) - len(pairs)))
    if varying and not claim.price_per_hour:
        problem = f"the arms ran on different hardware ({', '.join(varying)}), so their times need a `price_per_hour`"
        return make_undefined_estimate(excluded, "time on different hardware"), problem
    if unknown:
        problem = f"{len(unknown)} runs have no `train_seconds` or no `eval_seconds`"
        return make_undefined_estimate(excluded, "no matched runs of known cost"), problem
    if not pairs:
        return make_undefined_estimate(excluded, "no matched runs of known cost"), ""
    ratio = _estimate_paired_ratio(tables, pairs, costs, claim.sd_ratio)
    return ratio, ratio.method if math.isnan(ratio.estimate) else ""


def _estimate_paired_ratio(
    tables: ClaimTables, pairs: Sequence[tuple[int, str, str]], costs: Mapping[str, float], sd_ratio: float | None
) -> IntervalEstimate:
    sides = [a for _, a, _ in pairs], [b for _, _, b in pairs]
    first, second = (tables.matrix[names].to_numpy(dtype=float) for names in sides)
    first_costs, second_costs = (np.asarray([costs[name] for name in names], dtype=np.float64) for names in sides)
    return estimate_cost_ratio(first, second, (first_costs, second_costs), [seed for seed, _, _ in pairs], sd_ratio)


def compute_query_costs(claim: Claim, tables: ClaimTables, rows: pd.DataFrame) -> dict[str, float]:
    """Return fingerprint -> cost of one query, in seconds or at the claim's price; NaN where unknown.

    It is the query's share of training plus its evaluation.
    """
    n_queries: dict[str, int] = {}
    if not tables.outcomes.empty:
        queries = tables.outcomes[["fingerprint", *QUERY_COLUMNS]].drop_duplicates()
        n_queries = {str(name): int(count) for name, count in queries["fingerprint"].value_counts().items()}
    train, evaluation = extract_metric(rows, "train_seconds"), extract_metric(rows, "eval_seconds")
    costs = {}
    for row, trained, evaluated in zip(rows.to_dict("records"), train, evaluation, strict=True):
        name, price = str(row["fingerprint"]), 1.0
        if claim.price_per_hour:
            price = claim.price_per_hour[format_price_key(row[str(claim.axis)])] / 3600
        if row["status"] == "DIVERGED" and name not in n_queries:
            # It was never evaluated, which took no time.
            per_query = 0.0
        else:
            per_query = evaluated / n_queries[name] if name in n_queries else math.nan
        served = claim.amortised_over or n_queries.get(name) or len(tables.matrix)
        costs[name] = price * (trained / served + per_query) if served else math.nan
    return costs


def estimate_cost_ratio(
    first: Array, second: Array, costs: tuple[Array, Array], seeds: Sequence[int], sd_ratio: float | None = None
) -> IntervalEstimate:
    """Estimate the cost per solved query of the first arm over that of the second.

    The log ratio, linearized at the means, has the interval of a two-way mean; with few solved queries it is widened to
    exact bounds on the rates, each at half the level. Undefined where an arm solves nothing.

    Args:
        first: passes of the first arm (queries, runs).
        second: passes of the second arm.
        costs: cost of one query in each of those runs, by arm.
        seeds: seeds of the runs.
        sd_ratio: of independent seeds, the largest ratio of standard deviations to allow for; None for matched ones.
    """
    scores = select_available_scores([first, second], 0)
    excluded = scores.exclusions
    if scores.is_empty:
        return make_undefined_estimate(excluded, "no query scored in each arm")
    passed = [average_by_key(values, seeds) for values in scores.sides]
    spent = [average_by_key(values[None, :], seeds)[0] for values in costs]
    rates, means = [float(p.mean()) for p in passed], [float(c.mean()) for c in spent]
    if min(rates) == 0 or not min(means) > 0:
        return make_undefined_estimate(excluded, "an arm solves nothing, so its cost per solved query is undefined")
    ratio = means[0] / rates[0] / (means[1] / rates[1])
    parts = [c[None, :] / mean - p / rate for c, mean, p, rate in zip(spent, means, passed, rates, strict=True)]
    counted = [average_by_key(values, seeds) for values in scores.plain_sides]
    ever = [float((p > 0).any(axis=1).sum()) for p in counted]
    always = [float((p == 1).all(axis=1).sum()) for p in counted]
    log_price = math.log(means[0] / means[1])

    def compute_bounds(share: float, n: float, alpha: float) -> Interval:
        if min(ever) * share >= MIN_DISCORDANT_QUERIES:
            return UNWIDENED
        low = [clopper_pearson_interval(min(count * share, n), n, alpha / 2).low for count in always]
        high = [clopper_pearson_interval(min(count * share, n), n, alpha / 2).high for count in ever]
        # Around the log ratio, as the linearized values are.
        down = log_price + math.log(low[1] / high[0]) if low[1] > 0 else -math.inf
        up = log_price + math.log(high[1] / low[0]) if low[0] > 0 else math.inf
        return Interval(down - math.log(ratio), up - math.log(ratio))

    is_sparse = min(ever) < MIN_DISCORDANT_QUERIES
    method = "Clopper-Pearson bounds" if is_sparse else "Banerjee's interval of the log ratio"
    log_mean = TwoWayMean(parts[0] - parts[1], (-math.inf, math.inf), compute_bounds, method)
    if sd_ratio is not None:
        log_mean = replace(log_mean, arms=(parts[0], parts[1]), sd_ratio=sd_ratio)
    log_ratio = estimate_two_way_mean(log_mean, len(seeds), excluded)

    def convert_to_ratio(interval: Interval) -> Interval:
        return Interval(ratio * math.exp(interval.low), ratio * math.exp(interval.high))

    return IntervalEstimate(
        estimate=ratio,
        compute_interval=lambda alpha: convert_to_ratio(log_ratio.compute_interval(alpha)),
        predict_interval=lambda n, s, alpha: convert_to_ratio(log_ratio.predict_interval(n, s, alpha)),
        n_queries=log_ratio.n_queries,
        n_seeds=log_ratio.n_seeds,
        n_runs=len(seeds),
        exclusions=excluded,
        method=log_ratio.method,
        seed_assumption=_convert_assumption(log_ratio.seed_assumption, convert_to_ratio),
    )


def _convert_assumption(
    assumption: SeedAssumption | None, convert: Callable[[Interval], Interval]
) -> SeedAssumption | None:
    if assumption is None:
        return None
    compute = assumption.compute_interval_without
    return replace(assumption, compute_interval_without=lambda alpha: convert(compute(alpha)))


def format_price_key(arm: object) -> str:
    """Format an arm as a key of `price_per_hour`: `1.0` is `1`."""
    try:
        return f"{float(str(arm)):g}"
    except ValueError:
        return str(arm)


KIND = Cheaper()
