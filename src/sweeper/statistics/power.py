"""Power of one paired comparison before it is run: minimum detectable effect and required seeds.

The model of a comparison. Arms differ on a query of a run by chance: with probability `discordance` one passes where
the other fails. A true `effect` (first arm's rate minus the second's) shifts that share to one side: better with
(discordance + effect) / 2, worse with (discordance - effect) / 2. A discordance below the effect is raised to it.
`seed_sd` is the standard deviation of one arm's true rate between training seeds; arms are trained independently, so
their difference has sqrt(2) times it. `correlation` is that of a query's difference between two seeds: at 0 every seed
draws anew which queries differ, so seeds average this noise away; at 1 the same queries differ in every seed and only
more queries help. 0 is optimistic where arms differ in kind, such as in size.

All rates are 0..1: an effect of 0.04 is 4 points.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import scipy

from sweeper.errors import UsageError
from sweeper.statistics.aliases import Array
from sweeper.statistics.comparison_simulation import ComparisonDesign, simulate_intervals
from sweeper.statistics.independent_seeds import IndependentVariance
from sweeper.statistics.paired import VarianceEstimate, combine_crossed_variances

SIMULATIONS = 2000
"""Simulated comparisons; a power of 0.8 then has a Monte-Carlo standard error of 0.009."""
_QUADRATURE_NODES = 500


@dataclass(frozen=True)
class PowerEstimate:
    """The simulated power of a comparison."""

    power: float
    standard_error: float
    """Monte-Carlo."""
    approximate: float
    """What `approximate_power` gives."""


@dataclass(frozen=True)
class DetectableEffect:
    """The minimum detectable effect of a comparison, as a rate; NaN where no effect reaches the target power."""

    effect: float
    standard_error: float
    """Monte-Carlo: that of the power over its slope. With 2,000 simulations about 1 % of the effect."""
    power: float
    """As simulated at the effect."""
    approximate: float
    """The closed form's effect."""


@dataclass(frozen=True)
class RequiredSeeds:
    """The fewest seeds with the target power."""

    seeds: int | None
    """None where the limit is not enough."""
    power: float
    """With that many seeds, or with the limit."""
    standard_error: float
    """Monte-Carlo."""


def simulate_power(
    effect: float, design: ComparisonDesign, *, rng: np.random.Generator, simulations: int = SIMULATIONS
) -> PowerEstimate:
    """Estimate the probability that the comparison is established.

    At an effect of 0 (`superior`), or of the margin (`no-better`), this is the error rate: at most alpha / 2 from two
    seeds on. With one seed the power is that of the comparison alone: a verdict needs two.

    Args:
        effect: the first arm's true pass rate minus the second's.
        design: queries, seeds and their assumed spreads.
        rng: source of the random draws.
        simulations: simulated comparisons.

    Returns:
        The power with its standard error.

    Raises:
        UsageError: a value out of range.

    Example:
        >>> design = ComparisonDesign(n_queries=300, n_seeds=4, seed_sd=0.02)
        >>> simulate_power(0.1, design, rng=np.random.default_rng(0)).power > 0.9
        True
    """
    design.require_margin()
    _check_effect(effect)
    power = _estimate_power(effect, design, simulations, _draw_seed(rng))
    error = math.sqrt(power * (1 - power) / simulations)
    return PowerEstimate(power, error, _integrate_power(effect, design))


def approximate_power(effect: float, design: ComparisonDesign) -> float:
    """Approximate `simulate_power` without simulation.

    The mean is taken as normal and the seeds' variance estimate (with one seed the queries') as chi-square about the
    truth; the probability is integrated over it. With one seed and no `seed_sd` it differs from Connor (1987,
    Biometrics 43) only in using the variance under the effect on both sides, as the interval does, and in its degrees
    of freedom. It is off by a few hundredths where a correlation near 1 meets a `seed_sd`, which breaks it, and with
    fewer than MIN_DISCORDANT_QUERIES discordant queries, where the interval is widened.

    Args:
        effect: the first arm's true pass rate minus the second's.
        design: queries, seeds and their assumed spreads.

    Returns:
        The probability that the comparison is established, 0 to 1.

    Raises:
        UsageError: a value out of range.

    Example:
        >>> design = ComparisonDesign(n_queries=300, n_seeds=4, seed_sd=0.02)
        >>> round(approximate_power(0.1, design), 2)
        0.92
    """
    design.require_margin()
    _check_effect(effect)
    return _integrate_power(effect, design)


def find_minimum_detectable_effect(
    design: ComparisonDesign,
    *,
    rng: np.random.Generator,
    target_power: float = 0.8,
    simulations: int = SIMULATIONS,
) -> DetectableEffect:
    """Find the smallest effect that is established with the target power.

    For `no-better` it is the smallest margin below which two equal arms are established to lie; the design's own margin
    is not used. The search bisects simulated power, starting from the closed form. Every effect uses the same random
    numbers, so power increases with the effect except for ties; the rest is made monotone (the highest so far) and
    interpolated.

    Args:
        design: queries, seeds and their assumed spreads.
        rng: source of the random draws.
        target_power: power to reach, 0 to 1.
        simulations: simulated comparisons per effect.

    Returns:
        The effect, as a rate (NaN where none has the power), and the power that was simulated there.

    Raises:
        UsageError: a value out of range.

    Example:
        >>> import numpy as np
        >>> design = ComparisonDesign(n_queries=300, n_seeds=4, seed_sd=0.02)
        >>> found = find_minimum_detectable_effect(design, rng=np.random.default_rng(0), simulations=200)
        >>> 0.02 < found.effect < 0.12
        True
    """
    if not 0 < target_power < 1:
        raise UsageError("power", requested="`target_power` between 0 and 1", found=f"{target_power}")
    start = _approximate_effect(design, target_power)
    seed = _draw_seed(rng)
    if design.test == "no-better":
        high = np.concatenate([ends[1] for ends in simulate_intervals(0.0, design, simulations, seed)])
        effect = float(np.quantile(high, target_power, method="higher"))
        effect = effect if effect < 1 else math.nan
        power = float((high <= effect).mean()) if effect == effect else math.nan
    else:
        effect, power = _bisect_effect(design, target_power, start, simulations, seed)
    return DetectableEffect(effect, _approximate_effect_error(effect, design, target_power, simulations), power, start)


def find_required_seeds(
    effect: float,
    design: ComparisonDesign,
    *,
    limit: int,
    rng: np.random.Generator,
    target_power: float = 0.8,
    simulations: int = SIMULATIONS,
) -> RequiredSeeds:
    """Find the fewest seeds, from 2 (a verdict needs two) to `limit`, that establish the effect with the target power.

    Starts at the closed form's answer and steps through simulated power; the design's own number of seeds is not used.
    Within two standard errors of the target, a seed more or less is a matter of chance.

    Args:
        effect: the first arm's true pass rate minus the second's.
        design: queries, seeds and their assumed spreads.
        limit: the most seeds to consider.
        rng: source of the random draws.
        target_power: power to reach, 0 to 1.
        simulations: simulated comparisons per effect.

    Returns:
        The number of seeds, None above the limit, and the power reached.

    Raises:
        UsageError: a value out of range.

    Example:
        >>> import numpy as np
        >>> design = ComparisonDesign(n_queries=300, n_seeds=2, seed_sd=0.02)
        >>> found = find_required_seeds(0.1, design, limit=10, rng=np.random.default_rng(0), simulations=200)
        >>> 2 <= found.seeds <= 10
        True
    """
    design.require_margin()
    _check_effect(effect)
    if limit < 2:
        raise UsageError("power", requested="`limit` of 2 seeds or more", found=f"{limit}")
    random_seed = _draw_seed(rng)

    def simulate(n_seeds: int) -> float:
        return _estimate_power(effect, replace(design, n_seeds=n_seeds), simulations, random_seed)

    counts = range(2, limit + 1)
    place = bisect_left(counts, target_power, key=lambda n: _integrate_power(effect, replace(design, n_seeds=n)))
    seeds = counts[min(place, len(counts) - 1)]
    power = simulate(seeds)
    if power >= target_power:
        while seeds > 2 and (with_fewer := simulate(seeds - 1)) >= target_power:
            seeds, power = seeds - 1, with_fewer
    else:
        while seeds < limit and power < target_power:
            seeds += 1
            power = simulate(seeds)
    error = math.sqrt(power * (1 - power) / simulations)
    return RequiredSeeds(seeds if power >= target_power else None, power, error)


def _check_effect(effect: float) -> None:
    if not -1 <= effect <= 1:
        raise UsageError("power", requested="an effect from -1 to 1", found=f"{effect}")


def _draw_seed(rng: np.random.Generator) -> int:
    """Draw the seed that all simulations of one search share."""
    return int(rng.integers(2**63))


def _estimate_power(effect: float, design: ComparisonDesign, simulations: int, seed: int) -> float:
    established = 0
    for low, high in simulate_intervals(effect, design, simulations, seed):
        established += int((low > 0).sum() if design.test == "superior" else (high < design.margin).sum())
    return established / simulations


def _integrate_power(effect: float, design: ComparisonDesign) -> float:
    gap = effect if design.test == "superior" else design.margin - effect
    n, seeds = design.n_queries, design.n_seeds
    each = max(design.discordance, abs(effect)) - effect**2
    same = design.correlation
    both = each * (1 - same) / (n * seeds)
    queries, between = each * same / n + both, 2 * design.seed_sd**2 / seeds
    true = queries + between
    if true <= 0:
        return 1.0 if gap > 0 else 0.0
    if seeds > 1 and design.sd_ratio is not None:
        combined = combine_crossed_variances(
            [(queries, both, max(1, n - 1))], (between + both) * _compute_chi_square_nodes(2 * (seeds - 1)), seeds - 1
        )
        spread: VarianceEstimate = IndependentVariance(combined.terms, n_seeds=(seeds, seeds), sd_ratio=design.sd_ratio)
    elif seeds > 1:
        spread = combine_crossed_variances(
            [(queries, both, max(1, n - 1))], (between + both) * _compute_chi_square_nodes(seeds - 1), seeds - 1
        )
    else:
        # With one seed its spread is not observed.
        spread = VarianceEstimate(((queries * _compute_chi_square_nodes(max(1, n - 1)), max(1, n - 1)),))
    return float(scipy.special.ndtr((gap - spread.compute_half_width(design.alpha)) / math.sqrt(true)).mean())


@lru_cache
def _compute_chi_square_nodes(degrees_of_freedom: int) -> Array:
    """Return equally likely values of a chi-square variable over its degrees of freedom."""
    found: Array = (
        2
        * scipy.special.gammaincinv(degrees_of_freedom / 2, (np.arange(_QUADRATURE_NODES) + 0.5) / _QUADRATURE_NODES)
        / degrees_of_freedom
    )
    return found


def _approximate_gap_power(gap: float, design: ComparisonDesign) -> float:
    """Approximate the power at an effect or, for `no-better`, of equal arms at a margin."""
    if design.test == "superior":
        return _integrate_power(gap, design)
    return _integrate_power(0.0, replace(design, margin=gap))


def _approximate_effect(design: ComparisonDesign, target: float) -> float:
    millionths = range(1, 10**6)
    if (
        _approximate_gap_power(millionths[0] * 1e-6, design) >= target
        or _approximate_gap_power(millionths[-1] * 1e-6, design) < target
    ):
        return math.nan
    return millionths[bisect_left(millionths, target, key=lambda i: _approximate_gap_power(i * 1e-6, design))] * 1e-6


def _approximate_effect_error(effect: float, design: ComparisonDesign, target: float, simulations: int) -> float:
    if math.isnan(effect):
        return math.nan
    step = 0.05 * effect
    above, below = min(1 - 1e-9, effect + step), effect - step
    slope = (_approximate_gap_power(above, design) - _approximate_gap_power(below, design)) / (above - below)
    return math.sqrt(target * (1 - target) / simulations) / slope if slope > 0 else math.nan


def _bisect_effect(
    design: ComparisonDesign, target: float, start: float, simulations: int, seed: int
) -> tuple[float, float]:
    """Find the effect with the target power; return it with the power there."""
    powers: dict[float, float] = {}

    def reached(effect: float) -> bool:
        powers[effect] = _estimate_power(effect, design, simulations, seed)
        return powers[effect] >= target

    middle = start if start == start else 0.5
    low, high = 0.95 * middle, min(1.0, 1.05 * middle)
    while low > 1e-4 and reached(low):
        low, high = low / 2, low
    while not reached(high):
        if high >= 1:
            return math.nan, math.nan
        low, high = high, min(1.0, 1.5 * high)
    # This close, power is a straight line, and the Monte-Carlo error is as large as the step.
    while high - low > 0.03 * high:
        middle = (low + high) / 2
        if reached(middle):
            high = middle
        else:
            low = middle
    effects = np.array(sorted(powers))
    highest = np.maximum.accumulate([powers[effect] for effect in effects])
    place = int(np.argmax(highest >= target))
    if place == 0 or highest[place] == highest[place - 1]:
        return float(effects[place]), float(highest[place])
    part = (target - highest[place - 1]) / (highest[place] - highest[place - 1])
    return float(effects[place - 1] + part * (effects[place] - effects[place - 1])), target
