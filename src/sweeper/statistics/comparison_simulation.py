"""A planned comparison of two arms, and the intervals of simulated ones. The model is that of `statistics.power`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from sweeper.errors import UsageError
from sweeper.statistics.aliases import Array
from sweeper.statistics.independent_seeds import estimate_independent_variance
from sweeper.statistics.intervals import clopper_pearson_interval
from sweeper.statistics.paired import MIN_DISCORDANT_QUERIES, estimate_two_way_variance

_MAX_CELLS = 4_000_000
PowerTest = Literal["superior", "no-better"]


@dataclass(frozen=True)
class ComparisonDesign:
    """A paired comparison of two arms as planned, with what is assumed about its data.

    Raises:
        UsageError: a value out of range.
    """

    n_queries: int
    n_seeds: int = 2
    discordance: float = 0.2
    """Share of queries on which two runs of equally good arms differ."""
    seed_sd: float = 0.0
    """Standard deviation over seeds of one arm's true pass rate, as a rate."""
    alpha: float = 0.05
    test: PowerTest = "superior"
    """`superior`: the interval lies above 0; `no-better`: it lies below `margin`."""
    margin: float = math.nan
    """Of `no-better`, as a rate."""
    correlation: float = 0.0
    """Correlation of a query's difference between two seeds."""
    sd_ratio: float | None = None
    """Of arms with independent seeds: the largest ratio of standard deviations that the interval allows for. None:
    seeds are matched."""

    def __post_init__(self) -> None:
        ranges = {
            "n_queries": (self.n_queries, self.n_queries >= 1, "1 or more"),
            "n_seeds": (self.n_seeds, self.n_seeds >= 1, "1 or more"),
            "discordance": (self.discordance, 0 <= self.discordance <= 1, "from 0 to 1"),
            "seed_sd": (self.seed_sd, 0 <= self.seed_sd < 1, "from 0 to below 1"),
            "alpha": (self.alpha, 0 < self.alpha < 1, "between 0 and 1"),
            "correlation": (self.correlation, 0 <= self.correlation <= 1, "from 0 to 1"),
            "margin": (self.margin, math.isnan(self.margin) or 0 < self.margin < 1, "between 0 and 1"),
            "sd_ratio": (self.sd_ratio, self.sd_ratio is None or self.sd_ratio >= 1, "1 or more"),
            "test": (self.test, self.test in get_args(PowerTest), "superior or no-better"),
        }
        for name, (value, is_valid, requirement) in ranges.items():
            if not is_valid:
                raise UsageError("power", requested=f"`{name}` {requirement}", found=f"{value}")

    def require_margin(self) -> None:
        """Raise UsageError for a `no-better` design without a margin."""
        if self.test == "no-better" and math.isnan(self.margin):
            raise UsageError("power", requested="`margin` between 0 and 1", found="a `no-better` test without one")


def simulate_intervals(
    effect: float, design: ComparisonDesign, simulations: int, seed: int
) -> list[tuple[Array, Array]]:
    """Simulate comparisons and compute their intervals.

    Args:
        effect: the first arm's true pass rate minus the second's.
        design: queries, seeds and their assumed spreads.
        simulations: number of comparisons.
        seed: of the random numbers; the same numbers are used for every effect.

    Returns:
        Lower and upper ends, in blocks that fit into memory.
    """
    rng = np.random.default_rng(seed)
    block = max(1, _MAX_CELLS // (design.n_queries * design.n_seeds))
    ends = []
    for start in range(0, simulations, block):
        drawn = _simulate_arms(effect, design, min(block, simulations - start), rng)
        ends.append(compute_intervals(*drawn, design))
    return ends


def _simulate_arms(
    effect: float, design: ComparisonDesign, studies: int, rng: np.random.Generator
) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
    """Simulate comparisons: passes 0 or 1 of each arm (studies, queries, seeds)."""
    shape = (studies, design.n_queries, design.n_seeds)
    shifts = rng.standard_normal((studies, 1, design.n_seeds)) * (math.sqrt(2) * design.seed_sd)
    effects = np.clip(effect + shifts, -1, 1)
    share = np.maximum(design.discordance, np.abs(effects))
    luck = rng.random(shape, dtype=np.float32)
    if design.correlation > 0 and design.n_seeds > 1:
        # Each cell copies its query's draw with probability sqrt(correlation): two do with the correlation itself.
        copied = rng.random(shape, dtype=np.float32) < math.sqrt(design.correlation)
        luck = np.where(copied, rng.random((*shape[:2], 1), dtype=np.float32), luck)
    better = luck >= 1 - (share + effects) / 2
    worse = luck < (share - effects) / 2
    if design.sd_ratio is None:
        return better.astype(np.int8), worse.astype(np.int8)
    # Where the arms agree, both pass or both fail, by a coin of the query and what both arms' seeds have in common:
    # with half of their difference, each arm's own seed has the standard deviation `seed_sd`.
    common = rng.standard_normal((studies, 1, design.n_seeds)) * (design.seed_sd / math.sqrt(2))
    agreed = np.clip(0.5 + common / np.maximum(1e-9, 1 - share), 0, 1)
    pass_both = ~better & ~worse & (rng.random((*shape[:2], 1), dtype=np.float32) < agreed)
    return (better | pass_both).astype(np.int8), (worse | pass_both).astype(np.int8)


def compute_intervals(
    first: NDArray[np.int8], second: NDArray[np.int8], design: ComparisonDesign
) -> tuple[Array, Array]:
    """Compute the intervals of many comparisons at once, as a report does.

    Args:
        first: passes, 0 or 1, of the first arm (studies, queries, seeds).
        second: passes of the second arm. With matched seeds only the differences matter.
        design: their level, and whether seeds are independent.

    Returns:
        Lower and upper ends, (studies,).
    """
    differences, alpha = first - second, design.alpha
    n_queries, mean = differences.shape[1], differences.mean(axis=(1, 2))
    if design.sd_ratio is None or design.n_seeds < 2:
        half = estimate_two_way_variance(differences).compute_half_width(alpha)
    else:
        half = estimate_independent_variance(first, second, design.sd_ratio).compute_half_width(alpha)
    low, high = np.maximum(-1.0, mean - half), np.minimum(1.0, mean + half)
    # The first seed alone clears most studies, at a fraction of the time.
    sparse = np.flatnonzero((differences[:, :, 0] != 0).sum(axis=1) < MIN_DISCORDANT_QUERIES)
    sparse = sparse[(differences[sparse] != 0).any(axis=2).sum(axis=1) < MIN_DISCORDANT_QUERIES]
    if len(sparse):
        bounds = np.array(
            [
                clopper_pearson_interval(k, n_queries, alpha).high
                for k in range(min(MIN_DISCORDANT_QUERIES, n_queries + 1))
            ]
        )
        better = (differences[sparse] > 0).any(axis=2).sum(axis=1)
        worse = (differences[sparse] < 0).any(axis=2).sum(axis=1)
        low[sparse] = np.minimum(low[sparse], -bounds[worse])
        high[sparse] = np.maximum(high[sparse], bounds[better])
    return low, high
