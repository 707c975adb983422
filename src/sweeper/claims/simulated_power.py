"""The power of a whole claim before the run, and the seeds that its looks take, on simulated studies.

A claim needs all of its comparisons, so its power is below that of each. Simulated studies hold what the claim says as
clearly as its margin does; many are drawn and tested at once, at every look.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from sweeper.claims.comparison import ComparisonTest, make_decision_bounds
from sweeper.claims.kinds.base import CLAIM_KINDS
from sweeper.claims.looks import list_looks
from sweeper.claims.minimum_detectable import SingleArmModel, compute_established_margins, simulate_passes
from sweeper.claims.reasons import MIN_SEEDS
from sweeper.statistics.comparison_simulation import ComparisonDesign, compute_intervals

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sweeper.claims.planned_power import ClaimDesign
    from sweeper.config import Claim
    from sweeper.statistics.aliases import Array, BoolArray

SIMULATED_STUDIES = 400
"""Simulated studies; a power of 0.8 then has a standard error of 0.02."""
_MAX_CELLS = 4_000_000


@dataclass(frozen=True)
class AssumedTruth:
    """True pass rates under which a claim holds as clearly as its margin says, and the comparisons that it needs."""

    rates: tuple[float, ...]
    """Of each arm."""
    comparisons: tuple[tuple[ComparisonTest, int, int], ...] = ()
    """Test, and the places of both arms; none for a claim about one arm."""
    model: SingleArmModel | None = None
    """Of a claim about one arm."""


@dataclass(frozen=True)
class SimulatedPower:
    """How a design decides a claim that holds as clearly as its margin says."""

    power: float
    """Share of studies that support it, alone and at its looks."""
    stopping: tuple[tuple[int, float], ...]
    """Seeds of each look -> share of studies that it decides; the last one has the undecided ones too."""
    fixed_seeds: int | None
    """Seeds that have the same power without looks; None where more than those of the design would be needed."""

    @property
    def expected_seeds(self) -> float:
        """Mean number of seeds at which a study stops."""
        return sum(seeds * share for seeds, share in self.stopping)


def simulate_claim_power(
    claim: Claim, design: ClaimDesign, *, studies: int = SIMULATED_STUDIES
) -> SimulatedPower | None:
    """Simulate a design, with the claim's assumed discordance and standard deviation over seeds.

    Runs collapse independently at the design's rate. Of the mean over all runs they pass nothing; a claim about trained
    runs has fewer of them, on average and rounded down.

    Args:
        claim: the claim, of protocol `identical`.
        design: what the planned study gives it.
        studies: simulated studies.

    Returns:
        Its power; None for a claim that rests on more than pass rates, without test queries, and with one seed.
    """
    truth = None if claim.is_about_loss else CLAIM_KINDS.load(claim.kind).assume_truth(claim, design)
    seeds = design.n_seeds
    if truth is None or not design.n_queries or seeds < MIN_SEEDS:
        return None
    looks = [(look.n_seeds, look.level) for look in list_looks(claim) if look.n_seeds <= seeds] or [
        (seeds, claim.alpha)
    ]
    if looks[0][0] > seeds:
        return None
    fixed_counts = range(MIN_SEEDS, looks[-1][0] + 1) if claim.looks else ()
    supported: list[BoolArray] = []
    stopped: list[NDArray[np.int64]] = []
    fixed: dict[int, list[BoolArray]] = {count: [] for count in fixed_counts}
    block = max(1, _MAX_CELLS // (design.n_queries * len(truth.rates) * seeds))
    for start in range(0, studies, block):
        shape = (min(block, studies - start), design.n_queries, len(truth.rates) * seeds)
        rates = np.repeat(truth.rates, seeds)
        drawn = simulate_passes(rates, shape, claim.assumed_discordance, claim.assumed_seed_sd, design.rng)
        if design.collapse_rate and claim.estimand == "mean":
            collapses = design.rng.random((shape[0], 1, shape[2])) < design.collapse_rate
            drawn = np.where(collapses, np.zeros((), drawn.dtype), drawn)
        decide = _make_decision(claim, truth, drawn.reshape(*shape[:2], len(truth.rates), seeds))
        if design.collapse_rate and claim.estimand == "trained-runs":
            decide = _leave_out_collapsed(decide, design.collapse_rate)
        found, at = _decide_at_looks(decide, looks)
        supported.append(found)
        stopped.append(at)
        for count in fixed_counts:
            fixed[count].append(np.asarray(decide(count, claim.alpha)[0].all(axis=1)))
    power, at_look = float(np.concatenate(supported).mean()), np.concatenate(stopped)
    enough = [count for count in fixed_counts if np.concatenate(fixed[count]).mean() >= power]
    shares = tuple((count, float((at_look == k).mean())) for k, (count, _) in enumerate(looks))
    return SimulatedPower(power, shares, enough[0] if enough else None)


Decision = Callable[[int, float], tuple["BoolArray", "BoolArray"]]
"""Seeds and level -> (studies, comparisons): which are established, and which are contradicted."""


def _leave_out_collapsed(decide: Decision, collapse_rate: float) -> Decision:
    """Return the decision on the runs that are left, on average: with fewer than two there is none."""

    def decide_trained(count: int, level: float) -> tuple[BoolArray, BoolArray]:
        left = int(count * (1 - collapse_rate))
        shown, contradicted = decide(max(left, MIN_SEEDS), level)
        return (shown, contradicted) if left >= MIN_SEEDS else (shown & False, contradicted & False)

    return decide_trained


def _decide_at_looks(decide: Decision, looks: Sequence[tuple[int, float]]) -> tuple[BoolArray, NDArray[np.int64]]:
    """Return which studies support the claim, and the place of the look that decides each.

    A comparison that a look establishes stays established.
    """
    established, is_open, supported, at = None, None, None, None
    for k, (count, level) in enumerate(looks):
        shown, contradicted = decide(count, level)
        if established is None or is_open is None or supported is None or at is None:
            established, is_open = np.zeros_like(shown), np.ones(len(shown), dtype=bool)
            supported, at = np.zeros(len(shown), dtype=bool), np.full(len(shown), len(looks) - 1)
        established |= shown
        supports = is_open & established.all(axis=1)
        refutes = is_open & ~supports & (contradicted & ~established).any(axis=1)
        at[supports | refutes] = k
        supported |= supports
        is_open &= ~(supports | refutes)
    if supported is None or at is None:
        raise ValueError("no look")
    return supported, at


def _make_decision(claim: Claim, truth: AssumedTruth, passed: Array) -> Decision:
    """Return the decision on simulated passes (studies, queries, arms, seeds)."""
    arms = passed.astype(np.int8)

    def decide_one_arm(count: int, level: float) -> tuple[BoolArray, BoolArray]:
        own = claim.model_copy(update={"alpha": level})
        margins = compute_established_margins(own, truth.model, passed[:, :, 0, :count])  # type: ignore[arg-type]
        shown = (margins < claim.margin)[:, None]
        return shown, np.zeros_like(shown)

    def decide_arms(count: int, level: float) -> tuple[BoolArray, BoolArray]:
        n = len(truth.comparisons)
        design = ComparisonDesign(passed.shape[1], count, alpha=level, sd_ratio=claim.sd_ratio)
        refuting = replace(design, alpha=2 * level / n) if n > 2 else design
        shown: list[BoolArray] = []
        contradicted: list[BoolArray] = []
        for test, first, second in truth.comparisons:
            bounds = make_decision_bounds(test, claim.margin)
            pair = arms[:, :, first, :count], arms[:, :, second, :count]
            low, high = compute_intervals(*pair, design)
            shown.append(np.asarray((low > bounds.support_low) & (high < bounds.support_high)))
            low, high = (low, high) if refuting is design else compute_intervals(*pair, refuting)
            contradicted.append(np.asarray((high < bounds.refute_below) | (low > bounds.refute_above)))
        return np.stack(shown, axis=1), np.stack(contradicted, axis=1)

    return decide_arms if truth.model is None else decide_one_arm
