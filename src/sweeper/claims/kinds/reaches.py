"""`reaches`: an arm's pass rate, or loss, is at least, at most or about a reference, within the margin."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from sweeper.claims.comparison import Hypothesis, make_comparison
from sweeper.claims.interval_estimates import estimate_reference_gap
from sweeper.claims.kinds.base import (
    ARM_FIELDS,
    ESTIMAND_FIELDS,
    LOOK_FIELDS,
    PASS_RATE_OR_LOSS,
    ClaimKind,
    ComparisonSet,
    list_missing_values,
    require_direction,
    require_reference,
)
from sweeper.claims.losses import LOSSES, estimate_loss_gap
from sweeper.claims.minimum_detectable import SingleArmModel, estimate_detectable_margin
from sweeper.claims.planned_power import NO_EVALUATION, NO_QUERIES, ClaimPower, search_required_seeds
from sweeper.claims.simulated_power import AssumedTruth
from sweeper.claims.tables import select_single_arm
from sweeper.statistics.paired import estimate_two_way_variance

if TYPE_CHECKING:
    from sweeper.claims.planned_power import ClaimDesign
    from sweeper.claims.tables import ClaimTables
    from sweeper.config import Claim


class Reaches(ClaimKind):
    """The pass rate, or the loss, of one arm against a fixed number."""

    metrics = PASS_RATE_OR_LOSS
    required_fields = frozenset({"reference", "direction"})
    optional_fields = LOOK_FIELDS | ARM_FIELDS | ESTIMAND_FIELDS
    can_simulate = True

    def check_field(self, name: str, value: object, fields: Mapping[str, object]) -> None:
        """Refuse a pass rate of 1 or more as reference, and a margin that every pass rate keeps."""
        if fields.get("metric") in LOSSES:
            return
        if name == "reference" and isinstance(value, float) and value >= 1:
            raise ValueError("should be below 1: pass rates are shares, not percent")
        reference = fields.get("reference")
        if name == "margin" and isinstance(value, float) and isinstance(reference, float):
            if value >= reference:
                raise ValueError(f"should be below the reference, {reference:g}: a pass rate of 0 would do")
            if fields.get("direction") == "at-most" and value >= 1 - reference:
                raise ValueError(f"should be below {1 - reference:g}: a pass rate of 1 would be at most {reference:g}")

    def list_missing_arms(self, claim: Claim, axes: Mapping[str, object]) -> Iterable[tuple[str, str]]:
        """Return the axes that vary although the claim is about one arm."""
        return list_missing_values(claim, axes)

    def build_comparisons(self, claim: Claim, tables: ClaimTables) -> ComparisonSet:
        """Compare the arm with the reference."""
        rows, name, problem = select_single_arm(claim, tables)
        if problem:
            return ComparisonSet((), problem, tables.rows if rows.empty else rows)
        reference = require_reference(claim)
        shown = f"{reference:g} nats" if claim.is_about_loss else f"{100 * reference:g} %"
        hypothesis = Hypothesis(
            test=require_direction(claim),
            axis=claim.axis or "model",
            first=claim.candidate or str(rows["model"].iloc[0]),
            second=reference,
            margin=claim.margin,
            labels=(name, f"the reference {shown}"),
            observations="outcomes",
            is_reference=True,
        )
        if claim.is_about_loss:
            hypothesis = replace(hypothesis, metric=LOSSES[claim.metric], observations="runs")
            gap = estimate_loss_gap(claim, tables.leave_out(rows), reference)
        else:
            gap = estimate_reference_gap(tables.matrix, tables.list_runs(rows), reference)
        return ComparisonSet((make_comparison(hypothesis, gap, alpha=claim.alpha, n_comparisons=1),), "", rows)

    def assume_truth(self, claim: Claim, design: ClaimDesign) -> AssumedTruth | None:
        """Assume the reference itself."""
        return AssumedTruth((require_reference(claim),), model=make_model(claim))

    def estimate_power(self, claim: Claim, design: ClaimDesign) -> ClaimPower:
        """Simulate studies whose true rate is the reference."""
        if design.query_counts is None:
            return ClaimPower(reason=NO_QUERIES)
        if not design.n_queries:
            return ClaimPower(reason=NO_EVALUATION)
        model = make_model(claim)
        return search_required_seeds(
            claim,
            design.n_seeds,
            lambda seeds: estimate_detectable_margin(
                claim, model, n_queries=design.n_queries, n_seeds=seeds, rng=design.rng
            ),
        )


def make_model(claim: Claim) -> SingleArmModel:
    """Return the model of simulated studies."""
    reference = require_reference(claim)
    return SingleArmModel(
        rate=reference,
        limits=(-reference, 1 - reference),
        split=lambda passed: (passed,),
        estimate=lambda samples: (samples[0].mean(axis=(1, 2)) - reference, estimate_two_way_variance(samples[0])),
        estimate_reported=lambda matrix, runs: estimate_reference_gap(matrix, runs, reference),
    )


KIND = Reaches()
