"""`best-of`: the candidate is the best value of its axis, in the sense of `reading`."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from sweeper.claims.bracket import find_bracket
from sweeper.claims.comparison import ComparisonTest, Hypothesis
from sweeper.claims.kinds.base import (
    ARM_FIELDS,
    ESTIMAND_FIELDS,
    LOOK_FIELDS,
    PASS_RATE_OR_LOSS,
    SEED_FIELDS,
    ClaimKind,
    ComparisonSet,
)
from sweeper.claims.minimum_detectable import TRUE_RATE
from sweeper.claims.planned_power import ClaimPower, estimate_comparison_power
from sweeper.claims.simulated_power import AssumedTruth
from sweeper.claims.tables import order_arms
from sweeper.statistics.intervals import Interval

if TYPE_CHECKING:
    from sweeper.claims.planned_power import ClaimDesign
    from sweeper.claims.tables import ClaimTables
    from sweeper.config import Claim
    from sweeper.statistics.aliases import ArmValue


class BestOf(ClaimKind):
    """The candidate against the smaller and the larger arms."""

    metrics = PASS_RATE_OR_LOSS
    required_fields = ARM_FIELDS
    optional_fields = LOOK_FIELDS | SEED_FIELDS | ESTIMAND_FIELDS | {"reading", "protocol"}
    interpretations = {
        "beats-smaller": "superior to every smaller arm, and no larger one better by the margin",
        "interior": "superior to both neighbors",
        "smallest-non-inferior": "no arm better by the margin, and every smaller arm worse by more than it",
    }
    can_simulate = True

    def build_comparisons(self, claim: Claim, tables: ClaimTables) -> ComparisonSet:
        """Compare the candidate with each arm that the interpretation names."""
        axis, candidate = str(claim.axis), claim.candidate
        order, problem = order_arms(claim, tables.rows)
        if problem:
            return ComparisonSet((), problem, tables.rows)
        smaller = [arm for arm in order if order[arm] < order[candidate]]
        larger = [arm for arm in order if order[arm] >= order[candidate] and arm != candidate]
        sides = choose_sides(claim, smaller, larger)
        comparisons = tuple(
            tables.compare_arms(
                claim, Hypothesis(test=test, axis=axis, first=a, second=b, margin=claim.margin), len(sides)
            )
            for test, a, b in sides
        )
        missing = [name for name, arms in (("smaller", smaller), ("larger", larger)) if not arms]
        problem = f"no {' and no '.join(missing)} arm is planned" if missing else ""

        def compute_interval(larger: ArmValue, smaller: ArmValue, alpha: float) -> Interval:
            interval = tables.estimate_arm_difference(claim, larger, smaller).compute_interval(alpha)
            return Interval(-interval.high, -interval.low) if claim.is_about_loss else interval

        bracket = find_bracket(tuple(order), compute_interval, claim.alpha)
        return ComparisonSet(comparisons, problem, tables.rows, bracket=bracket)

    def assume_truth(self, claim: Claim, design: ClaimDesign) -> AssumedTruth | None:
        """Assume the candidate at the middle of all rates, ahead of every arm that it must beat, and level with others.

        It leads by the margin, or by twice the margin where it must be better by it.
        """
        order = design.order_arms(str(claim.axis))
        if claim.candidate not in order:
            return None
        place = order.index(claim.candidate)
        sides = choose_sides(claim, order[:place], order[place + 1 :])
        lead = {"superior": claim.margin, "superior-by": 2 * claim.margin}
        behind = {second: lead[test] for test, _, second in sides if test in lead}
        rates = tuple(TRUE_RATE - behind.get(arm, 0.0) for arm in order)
        return AssumedTruth(rates, tuple((test, order.index(a), order.index(b)) for test, a, b in sides))

    def estimate_power(self, claim: Claim, design: ClaimDesign) -> ClaimPower:
        """Estimate the power of being superior to one smaller arm."""
        return estimate_comparison_power(claim, design, "superior")


def choose_sides(
    claim: Claim, smaller: list[ArmValue], larger: list[ArmValue]
) -> list[tuple[ComparisonTest, ArmValue, ArmValue]]:
    """Return the test and both sides of every comparison of the claim's interpretation."""
    candidate = claim.candidate
    match claim.reading:
        case "beats-smaller":
            return [
                *(("superior", candidate, arm) for arm in smaller),
                *(("no-better", arm, candidate) for arm in larger),
            ]
        case "interior":
            return [("superior", candidate, arm) for arm in (*smaller[-1:], *larger[:1])]
        case "smallest-non-inferior":
            return [
                *(("superior-by", candidate, arm) for arm in smaller),
                *(("no-better", arm, candidate) for arm in larger),
            ]
        case _:
            assert_never(claim.reading)


KIND = BestOf()
