"""Registered looks: the seeds that a claim is decided on at each of them, and the level that it may spend there.

A claim with looks is decided at the first that decides it. Each look tests at its own share of alpha and the shares sum
to alpha, so that the probability of a false verdict at any look is at most alpha, whatever the test (Bonferroni). A
comparison that is established keeps its result, and its arms need no further seeds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sweeper.claims.comparison import Comparison
from sweeper.statistics.aliases import ArmValue
from sweeper.statistics.paired import equals_value

if TYPE_CHECKING:
    import pandas as pd

    from sweeper.config import Claim


@dataclass(frozen=True)
class Look:
    """One registered look of a claim."""

    number: int
    """From 1."""
    n_looks: int
    n_seeds: int
    """The first seeds of the sweep, on which it decides."""
    level: float
    """Two-sided level that it may spend."""
    alpha: float
    """Two-sided level over all looks of the claim."""


@dataclass(frozen=True)
class SettledComparison:
    """A comparison that was established at an earlier look."""

    comparison: Comparison
    n_seeds: int
    """Seeds of that look."""


@dataclass(frozen=True)
class LookProgress:
    """How far a claim's looks have come."""

    look: Look
    settled: tuple[SettledComparison, ...] = ()
    open_arms: tuple[ArmValue, ...] = ()
    """Arms of the comparisons that are not settled; all arms are open at the first look."""
    p: float = math.nan
    """Smallest p-value of earlier looks; NaN without one."""
    p_refuted: float = math.nan


def start_looks(claim: Claim) -> LookProgress | None:
    """Return the first look of a claim; None for one that is looked at once, on all seeds."""
    looks = list_looks(claim)
    return LookProgress(looks[0]) if looks else None


def list_looks(claim: Claim) -> list[Look]:
    """Return the registered looks of a claim."""
    levels = claim.look_levels
    return [
        Look(number, len(levels), seeds, level, claim.alpha)
        for number, (seeds, level) in enumerate(zip(claim.looks, levels, strict=True), start=1)
    ]


def advance_looks(
    claim: Claim,
    progress: LookProgress,
    comparisons: Sequence[Comparison],
    p_values: tuple[float, float],
    n_claims: int,
) -> LookProgress | None:
    """Return the next look of a claim that this one left open; None after the last one.

    A comparison is settled if it stands whatever the other claims turn out to be: at alpha over their number, the
    strictest level of Holm's method.

    Args:
        claim: the claim.
        progress: the look that was taken.
        comparisons: its deciding comparisons.
        p_values: the claim's, of support and of refutation.
        n_claims: claims of the report.
    """
    look = progress.look
    if look.number == look.n_looks:
        return None
    before = [each.comparison for each in progress.settled]
    still_open = [each for each in comparisons if not any(each.tests_the_same(other) for other in before)]
    new = [each for each in still_open if each.is_established and each.p <= look.alpha / n_claims]
    arms = [arm for each in still_open if each not in new for arm in (each.first, each.second)]
    return LookProgress(
        list_looks(claim)[look.number],
        (*progress.settled, *(SettledComparison(each, look.n_seeds) for each in new)),
        tuple(dict.fromkeys(arms)),
        *p_values,
    )


def select_look_rows(claim: Claim, rows: pd.DataFrame, progress: LookProgress) -> pd.DataFrame:
    """Return the runs that a look needs: the first seeds of every arm that is still compared.

    Args:
        claim: the claim.
        rows: its planned runs, in the order of the sweep.
        progress: the look.

    Returns:
        The rows; those of an arm without an open comparison are the seeds of the look that settled it.
    """
    seeds = list(dict.fromkeys(rows["seed"]))
    is_needed = rows["seed"].isin(seeds[: progress.look.n_seeds])
    closed: dict[ArmValue, int] = {}
    for each in progress.settled:
        for arm in (each.comparison.first, each.comparison.second):
            if arm not in progress.open_arms:
                closed[arm] = max(closed.get(arm, 0), each.n_seeds)
    for arm, count in closed.items():
        is_needed &= ~equals_value(rows[str(claim.axis)], arm) | rows["seed"].isin(seeds[:count])
    return rows[is_needed]


def apply_look(comparisons: Sequence[Comparison], progress: LookProgress) -> tuple[Comparison, ...]:
    """Return the comparisons of a look: those that an earlier one settled, and the others with their p-values divided
    by the share of alpha that the look may spend.

    The probability that such a p-value is at most `p` at any look is then at most `p`.
    """
    factor = progress.look.alpha / progress.look.level
    return tuple(
        next(
            (each.comparison for each in progress.settled if each.comparison.tests_the_same(comparison)),
            replace(comparison, p=min(1.0, factor * comparison.p), p_refuted=min(1.0, factor * comparison.p_refuted)),
        )
        for comparison in comparisons
    )
