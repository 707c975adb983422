"""Before the run: the minimum detectable effect of a claim, and the seeds that its margin needs."""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sweeper.statistics.aliases import ArmValue
from sweeper.statistics.comparison_simulation import ComparisonDesign, PowerTest
from sweeper.statistics.power import find_minimum_detectable_effect, find_required_seeds

if TYPE_CHECKING:
    from sweeper.config import Claim

MAX_SEEDS = 200
"""Largest number of seeds tried."""
SEED_GRID = (3, 4, 5, 6, 8, 10, 15, 20, 30, 50, 100, MAX_SEEDS)
"""Numbers of seeds tried for designs without a closed form."""
ROUGH_SIMULATIONS = 500
"""Simulations for the seeds that an underpowered design needs; a power of 0.8 is then known to 0.02."""
NO_QUERIES = "no figure: the test queries are not available"
NO_EVALUATION = "no figure: no agent is evaluated"
NO_LOSS_POWER = "no figure: how much a loss spreads over seeds is not assumed"


@dataclass(frozen=True)
class ClaimDesign:
    """What a planned study gives one claim."""

    n_seeds: int
    """Seeds on which arms are compared."""
    query_counts: Mapping[str, int] | None
    """Subset -> test queries; None where they are not available, {} where nothing is evaluated."""
    rows: Sequence[Mapping[str, object]]
    """The claim's planned trials."""
    axes: tuple[str, ...]
    """The sweep's axes, the seed included."""
    rng: np.random.Generator
    collapse_rate: float = 0.0
    """Share of runs that collapse, in the power of the claim as a whole."""

    @property
    def n_queries(self) -> int:
        """All test queries."""
        return sum((self.query_counts or {}).values())

    def order_arms(self, axis: str) -> list[ArmValue]:
        """Return the arms of an axis, ascending: models by their parameters, other arms by their value."""
        column = "parameters" if axis == "model" else axis
        places: dict[ArmValue, object] = {row[axis]: row.get(column) for row in self.rows}  # type: ignore[misc]
        known = {arm: float(place) for arm, place in places.items() if isinstance(place, int | float)}
        return sorted(known, key=lambda arm: known[arm])

    def count_run_pairs(self, axis: str | None) -> int:
        """Return the number of runs that differ in more than `axis`: each is one pair of runs in a comparison."""
        return len({tuple(row[name] for name in self.axes if name != axis) for row in self.rows})


@dataclass(frozen=True)
class ClaimPower:
    """What a design can establish about a claim if the claim's assumptions hold."""

    detectable_effect: float | None = None
    """Smallest effect established with a power of 0.8, as a rate; None where there is none."""
    required_seeds: int | None = None
    """Seeds that establish the claim's margin; None where not computed, or more than MAX_SEEDS."""
    is_underpowered: bool | None = None
    """Whether the effect exceeds the margin; None where no figure exists."""
    reason: str = ""
    """Why there is no figure, or why it is not enough."""


def estimate_comparison_power(claim: Claim, design: ClaimDesign, test: PowerTest) -> ClaimPower:
    """Estimate the power of a claim by that of one paired comparison of two arms, the one that needs most data."""
    if design.query_counts is None:
        return ClaimPower(reason=NO_QUERIES)
    if not design.n_queries:
        return ClaimPower(reason=NO_EVALUATION)
    planned = ComparisonDesign(
        n_queries=design.n_queries,
        n_seeds=design.n_seeds,
        discordance=claim.assumed_discordance,
        seed_sd=claim.assumed_seed_sd,
        alpha=claim.alpha,
        test=test,
        margin=claim.margin if test == "no-better" else math.nan,
        sd_ratio=claim.sd_ratio,
    )
    effect = find_minimum_detectable_effect(planned, rng=design.rng).effect
    detectable = effect if math.isfinite(effect) else None
    if detectable is not None and detectable <= claim.margin:
        return ClaimPower(detectable, is_underpowered=False)
    seeds = find_required_seeds(
        claim.margin if test == "superior" else 0.0,
        planned,
        limit=MAX_SEEDS,
        rng=design.rng,
        simulations=ROUGH_SIMULATIONS,
    ).seeds
    return ClaimPower(detectable, seeds, True, describe_shortfall(claim, seeds))


def search_required_seeds(
    claim: Claim, n_seeds: int, compute_effect: Callable[[int], float], *, target: str = ""
) -> ClaimPower:
    """Compare a design's effect with the claim's margin, and find the seeds of SEED_GRID that would do.

    Args:
        n_seeds: seeds of the design.
        compute_effect: seeds -> minimum detectable effect, NaN for none.
        target: what the margin is of, where it is not the pass rate.
    """
    effect = compute_effect(n_seeds)
    detectable = effect if math.isfinite(effect) else None
    if effect <= claim.margin:
        return ClaimPower(detectable, is_underpowered=False)
    more_seeds = [seeds for seeds in SEED_GRID if seeds > n_seeds]
    place = bisect.bisect_left(more_seeds, True, key=lambda seeds: compute_effect(seeds) <= claim.margin)
    enough = more_seeds[place] if place < len(more_seeds) else None
    return ClaimPower(detectable, enough, True, describe_shortfall(claim, enough, target))


def describe_shortfall(claim: Claim, required_seeds: int | None, target: str = "") -> str:
    """Describe why a design is underpowered, and how many seeds it needs."""
    needed = f"{required_seeds} seeds" if required_seeds else f"more than {MAX_SEEDS} seeds"
    return f"underpowered: detecting {100 * claim.margin:g} points{target and ' ' + target} needs {needed}"
