"""`judge-independent`: judges agree above the reference and give the same pass rate, within the margin.

The sweep's other claims must also reach the same verdict under every judge.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import scipy

from sweeper.claims.comparison import Comparison, Hypothesis, Metric, make_comparison
from sweeper.claims.interval_estimates import (
    IntervalEstimate,
    estimate_score_difference,
    make_undefined_estimate,
)
from sweeper.claims.kinds.base import ClaimKind, ComparisonSet, LabelsByJudge, VerdictLabel, require_reference
from sweeper.claims.planned_power import ClaimPower
from sweeper.statistics.intervals import UNDEFINED_INTERVAL, Interval
from sweeper.statistics.judge_agreement import gwet_ac1
from sweeper.statistics.paired import Exclusions
from sweeper.statistics.pass_matrix import build_pass_matrix

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sweeper.claims.planned_power import ClaimDesign
    from sweeper.claims.tables import ClaimTables
    from sweeper.config import Claim
    from sweeper.statistics.aliases import Array

JACKKNIFE_BLOCKS = 40
"""Blocks of queries left out in turn for the standard error of an agreement."""
AGREEMENT = Metric(
    "agreement",
    "agreement",
    unit="coefficient",
    observations="answers",
    value_sentence="Gwet's AC1 of {first} is {value}",
    hypothesis=("agreement of the judges above {bound}", "agreement of the judges below {bound}"),
)


class JudgeIndependent(ClaimKind):
    """The judges against each other."""

    metrics = ("agreement",)
    required_fields = frozenset({"reference"})
    rests_on_pass_rate = False
    compares_judges = True

    def check_field(self, name: str, value: object, fields: Mapping[str, object]) -> None:
        """Refuse a reference of 1 or more."""
        if name == "reference" and isinstance(value, float) and value >= 1:
            raise ValueError("should be below 1: agreement is a coefficient, not percent")

    def build_comparisons(self, claim: Claim, tables: ClaimTables) -> ComparisonSet:
        """Compare all judges by agreement, and each with the first by pass rate."""
        judges = [] if tables.outcomes.empty else list(dict.fromkeys(tables.outcomes["judge"].astype(str)))
        if len(judges) < 2:
            available = f"one judge only ({judges[0]})" if judges else "no judged outcome"
            return ComparisonSet((), f"{available}: agreement needs two judges on the same answers", tables.rows)
        # A diverged run's zeros are not a judge's decision: judges would agree on them without looking.
        rows = tables.rows[tables.rows["status"] == "COMPLETE"]
        outcomes = tables.outcomes[tables.outcomes["fingerprint"].isin(set(rows["fingerprint"]))]
        names = outcomes["judge"].astype(str)
        matrices = {judge: build_pass_matrix(rows, outcomes[names == judge]) for judge in judges}
        runs = [run for run in tables.list_runs(rows) if all(run[1] in matrix.columns for matrix in matrices.values())]
        if not runs:
            return ComparisonSet((), "no run was judged by every judge", tables.rows)
        index = matrices[judges[0]].index
        for matrix in matrices.values():
            index = index.union(matrix.index)
        fingerprints = [name for _, name in runs]
        passes = {
            judge: matrix.reindex(index)[fingerprints].to_numpy(dtype=float) for judge, matrix in matrices.items()
        }
        seeds = [seed for seed, _ in runs]
        comparisons = compare_judges(claim, passes, seeds)
        n_lost = len(rows) - len(runs)
        note = f" {n_lost} finished runs were not judged by every judge." if n_lost else ""
        return ComparisonSet(comparisons, "", tables.rows, note, needs_outcomes=False)

    def estimate_power(self, claim: Claim, design: ClaimDesign) -> ClaimPower:
        """Return no figure."""
        return ClaimPower(reason="no figure: how often judges differ is unknown before they have judged")

    def combine_judge_labels(
        self, label: VerdictLabel, reason: str, labels_by_judge: LabelsByJudge
    ) -> tuple[VerdictLabel, str]:
        """Refute the claim where another claim is supported under one judge and refuted under another."""
        claims = list(next(iter(labels_by_judge.values())))
        by_claim = {claim: {judge: own[claim] for judge, own in labels_by_judge.items()} for claim in claims}
        changed = {claim: labels for claim, labels in by_claim.items() if len(set(labels.values())) > 1}
        listed = "; ".join(
            f"{claim}: {', '.join(f'{word} under {judge}' for judge, word in labels.items())}"
            for claim, labels in changed.items()
        )
        if any({"supported", "refuted"} <= set(labels.values()) for labels in changed.values()):
            return "refuted", f"The verdict of another claim reverses with the judge ({listed}). {reason}"
        if changed and label == "supported":
            return "inconclusive", f"The verdict of another claim depends on the judge ({listed}). {reason}"
        if changed:
            return label, f"{reason} The verdict of another claim depends on the judge ({listed})."
        n_decided = sum("inconclusive" not in labels.values() for labels in by_claim.values())
        return label, (
            f"{reason} Claims with the same verdict under every judge: {len(by_claim)}, of which {n_decided} decided."
        )


def compare_judges(claim: Claim, passes: Mapping[str, Array], seeds: Sequence[int]) -> tuple[Comparison, ...]:
    """Compare judges, each with its passes (queries, runs); `seeds` of the runs."""
    judges, reference = list(passes), require_reference(claim)
    agreement = Hypothesis(
        test="exceeds",
        axis="judge",
        first=" and ".join(judges),
        second=reference,
        margin=reference,
        metric=AGREEMENT,
        labels=(" and ".join(judges), f"{reference:g}"),
    )
    estimate = estimate_agreement(passes, len(set(seeds)))
    comparisons = [make_comparison(agreement, estimate, alpha=claim.alpha, n_comparisons=len(judges))]
    for judge in judges[1:]:
        score = Hypothesis(
            test="about",
            axis="judge",
            first=judge,
            second=judges[0],
            margin=claim.margin,
            labels=(f"judge {judge}", f"judge {judges[0]}"),
            preposition="under",
            observations="answers",
        )
        difference = estimate_score_difference(passes[judge], passes[judges[0]], seeds)
        comparisons.append(make_comparison(score, difference, alpha=claim.alpha, n_comparisons=len(judges)))
    return tuple(comparisons)


def estimate_agreement(passes: Mapping[str, Array], n_seeds: int) -> IntervalEstimate:
    """Estimate Gwet's AC1 of pass or fail.

    Its standard error is a jackknife over blocks of queries, since the answers to one query are not independent.

    Args:
        passes: judge -> passes (queries, runs), NaN where not scored.
        n_seeds: seeds of those runs.
    """
    import pandas as pd

    queries, runs = next(iter(passes.values())).shape
    labels = pd.DataFrame({judge: values.ravel() for judge, values in passes.items()})
    query = np.repeat(np.arange(queries), runs)
    is_judged = (labels.notna().sum(axis=1) >= 2).to_numpy()
    labels, query = labels[is_judged], query[is_judged]
    distinct = np.unique(query)
    if len(distinct) < 2:
        return make_undefined_estimate(Exclusions(), "fewer than two queries judged by two judges")
    value = gwet_ac1(labels, categories=2).value
    blocks = min(len(distinct), JACKKNIFE_BLOCKS)
    block = np.searchsorted(distinct, query) % blocks
    without_block = np.asarray([gwet_ac1(labels[block != b], categories=2).value for b in range(blocks)])
    error = math.sqrt((blocks - 1) / blocks * float(((without_block - without_block.mean()) ** 2).sum()))
    # Without any disagreement the spread cannot be estimated: the lower end is Wilson's, on one answer per query.
    first_answers = labels.iloc[np.unique(query, return_index=True)[1]]
    is_perfect = bool((labels.nunique(axis=1) == 1).all())

    def compute_interval(alpha: float) -> Interval:
        if is_perfect:
            return Interval(gwet_ac1(first_answers, alpha=alpha, categories=2).interval.low, 1.0)
        half = float(scipy.special.stdtrit(blocks - 1, 1 - alpha / 2)) * error
        return Interval(max(-1.0, value - half), min(1.0, value + half))

    def predict_interval(n: float, _: float, alpha: float) -> Interval:
        half = float(scipy.special.stdtrit(max(min(n, JACKKNIFE_BLOCKS) - 1, 1), 1 - alpha / 2)) * error
        half *= math.sqrt(len(distinct) / n)
        return UNDEFINED_INTERVAL if is_perfect else Interval(max(-1.0, value - half), min(1.0, value + half))

    return IntervalEstimate(
        estimate=value,
        compute_interval=compute_interval,
        predict_interval=predict_interval,
        n_queries=len(distinct),
        n_seeds=n_seeds,
        n_runs=runs,
        exclusions=Exclusions(queries=queries - len(distinct), outcomes=int((~is_judged).sum())),
        method="Gwet's AC1, jackknife over blocks of queries",
    )


KIND = JudgeIndependent()
