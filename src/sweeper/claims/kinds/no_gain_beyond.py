"""`no-gain-beyond`: no arm beyond the candidate beats it by the margin."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from sweeper.claims.comparison import Hypothesis
from sweeper.claims.kinds.base import (
    ARM_FIELDS,
    ESTIMAND_FIELDS,
    LOOK_FIELDS,
    PASS_RATE_OR_LOSS,
    SEED_FIELDS,
    ClaimKind,
    ComparisonSet,
)
from sweeper.claims.losses import LOSSES
from sweeper.claims.minimum_detectable import TRUE_RATE
from sweeper.claims.planned_power import ClaimPower, estimate_comparison_power
from sweeper.claims.protocols import extract_metric
from sweeper.claims.simulated_power import AssumedTruth
from sweeper.claims.tables import order_arms
from sweeper.config.axes import format_arm_name

if TYPE_CHECKING:
    from sweeper.claims.planned_power import ClaimDesign
    from sweeper.claims.tables import ClaimTables
    from sweeper.config import Claim


class NoGainBeyond(ClaimKind):
    """Every arm beyond the candidate, not better by the margin (non-inferiority of the candidate)."""

    metrics = PASS_RATE_OR_LOSS
    required_fields = ARM_FIELDS
    optional_fields = LOOK_FIELDS | SEED_FIELDS | ESTIMAND_FIELDS | {"overfitting"}
    can_simulate = True

    def list_missing_arms(self, claim: Claim, axes: Mapping[str, object]) -> Iterable[tuple[str, str]]:
        """Return the axis if it has no value beyond the candidate.

        Models are ordered by parameters, which are counted when the trials are planned.
        """
        values, candidate = axes[str(claim.axis)], claim.candidate
        if not isinstance(values, list):
            return
        beyond = [value for value in values if value != candidate]
        if claim.axis != "model":
            beyond = [value for value in beyond if value is not None and value > candidate]
        if not beyond:
            yield f"arms beyond {claim.axis} = {candidate!r}", f"the axis has {values}"

    def build_comparisons(self, claim: Claim, tables: ClaimTables) -> ComparisonSet:
        """Compare every arm beyond the candidate with it; with `overfitting` also by validation loss."""
        axis, candidate = str(claim.axis), claim.candidate
        order, problem = order_arms(claim, tables.rows)
        if problem:
            return ComparisonSet((), problem, tables.rows)
        beyond = [arm for arm in order if order[arm] >= order[candidate] and arm != candidate]
        comparisons = [
            tables.compare_arms(
                claim,
                Hypothesis(test="no-better", axis=axis, first=arm, second=candidate, margin=claim.margin),
                len(beyond),
            )
            for arm in beyond
        ]
        if claim.overfitting:
            losses = extract_metric(tables.rows, "val_loss").where(tables.rows["status"] == "COMPLETE")
            by_run = dict(zip(tables.rows["fingerprint"], losses, strict=True))
            comparisons += [
                tables.compare_run_values(
                    claim,
                    Hypothesis(
                        test="superior",
                        axis=axis,
                        first=arm,
                        second=candidate,
                        margin=claim.margin,
                        metric=LOSSES["val_loss"],
                        is_deciding=False,
                    ),
                    by_run,
                )
                for arm in beyond
            ]
        problem = "" if beyond else f"no arm beyond {format_arm_name(axis, candidate)} is planned"
        return ComparisonSet(tuple(comparisons), problem, tables.rows)

    def assume_truth(self, claim: Claim, design: ClaimDesign) -> AssumedTruth | None:
        """Assume equal rates."""
        order = design.order_arms(str(claim.axis))
        if claim.candidate not in order:
            return None
        place = order.index(claim.candidate)
        beyond = range(place + 1, len(order))
        rates = (TRUE_RATE,) * len(order)
        return AssumedTruth(rates, tuple(("no-better", arm, place) for arm in beyond))

    def estimate_power(self, claim: Claim, design: ClaimDesign) -> ClaimPower:
        """Estimate the power of one equal arm being no better by the margin."""
        return estimate_comparison_power(claim, design, "no-better")


KIND = NoGainBeyond()
