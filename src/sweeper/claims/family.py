"""The claims of one report together: Holm's correction of verdicts on both sides."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sweeper.claims.sample_size import make_unknown_sample_size
from sweeper.statistics.multiple_testing import holm_step_down

if TYPE_CHECKING:
    from sweeper.claims.kinds.base import VerdictLabel
    from sweeper.claims.verdict import Verdict


@dataclass(frozen=True)
class FamilyResult:
    """A claim's p-values over all claims of a report."""

    p_adjusted: float
    """Of support; NaN where it is not decidable."""
    p_refuted_adjusted: float
    holds: bool
    """Whether the claim's own verdict, supported or refuted, stands at its alpha over all claims."""


def holm_adjusted(p_values: Sequence[float], alpha: float) -> list[float]:
    """Return Holm's adjusted p-values. A claim that is not decidable (NaN) was registered, so it counts as 1.

    Args:
        p_values: one per claim; NaN counts as 1.
        alpha: family-wise error level.

    Returns:
        Adjusted p-values.

    Example:
        >>> [round(p, 3) for p in holm_adjusted([0.01, 0.04], 0.05)]
        [0.02, 0.04]
    """
    adjusted = holm_step_down([1.0 if math.isnan(p) else p for p in p_values], alpha).adjusted
    return [math.nan if math.isnan(p) else float(q) for p, q in zip(p_values, adjusted, strict=True)]


def judge_family(
    labels: Sequence[VerdictLabel], p_values: Sequence[float], p_refuted: Sequence[float], alphas: Sequence[float]
) -> list[FamilyResult]:
    """Correct the verdicts of several claims by Holm's method (1979), supports and refutations apart.

    Args:
        labels: each claim's own verdict.
        p_values: smallest level at which it would be supported; NaN where it is not decidable.
        p_refuted: probability, at most, of so strong a contradiction of a true claim.
        alphas: its level.

    Returns:
        One result per claim. A refutation without a p-value, such as a verdict that reverses with the judge, stands.

    Example:
        >>> both = judge_family(["supported", "refuted"], [0.01, 1.0], [1.0, 0.04], [0.05, 0.05])
        >>> [result.holds for result in both]
        [True, False]
    """
    if not labels:
        return []
    adjusted, adjusted_refuted = (holm_adjusted(values, min(alphas)) for values in (p_values, p_refuted))
    results = []
    for label, p, p_contrary, alpha in zip(labels, adjusted, adjusted_refuted, alphas, strict=True):
        holds = (label == "supported" and p <= alpha) or (label == "refuted" and not p_contrary > alpha)
        results.append(FamilyResult(p, p_contrary, holds))
    return results


def adjust_verdicts(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Return the verdicts as they hold together: one that does not stand over all claims is inconclusive.

    Args:
        verdicts: of all claims of a report.

    Returns:
        The verdicts, in the same order, with their adjusted p-values.
    """
    results = judge_family(
        [verdict.own_label for verdict in verdicts],
        [verdict.p for verdict in verdicts],
        [verdict.p_refuted for verdict in verdicts],
        [verdict.alpha for verdict in verdicts],
    )
    return [_apply_family(verdict, result, len(verdicts)) for verdict, result in zip(verdicts, results, strict=True)]


def _apply_family(verdict: Verdict, result: FamilyResult, n_claims: int) -> Verdict:
    verdict = replace(
        verdict,
        p_adjusted=result.p_adjusted,
        p_refuted_adjusted=result.p_refuted_adjusted,
        holds_in_family=result.holds,
    )
    if result.holds or verdict.own_label == "inconclusive":
        return verdict
    is_support = verdict.own_label == "supported"
    p, adjusted = (verdict.p, result.p_adjusted) if is_support else (verdict.p_refuted, result.p_refuted_adjusted)
    reason = (
        f"{verdict.own_label.capitalize()} on its own (p = {p:.2g}), but not over the {n_claims} claims of this report "
        f"(Holm-adjusted p = {adjusted:.2g}). {verdict.reason}"
    )
    settled = make_unknown_sample_size("Decided on its own: only the correction over all claims leaves it open.")
    return replace(verdict, label="inconclusive", reason=reason, required_sample_size=settled)
