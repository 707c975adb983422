"""Verdicts -> the claims of the document."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, cast

from sweeper.claims import Comparison, RobustnessCheck, Verdict, compute_probabilities
from sweeper.claims.collapse import BOUND_LEVEL, COLLAPSE_RATES
from sweeper.report.claim_document import (
    AssumptionEntry,
    BracketEntry,
    ChoiceEntry,
    ClaimEntry,
    CollapseEntry,
    ComparisonEntry,
    InterpretationEntry,
    LookEntry,
    LooksEntry,
    NeededEntry,
    ProbabilityEntry,
    SensitivityEntry,
)
from sweeper.report.formatting import format_estimate
from sweeper.report.text import (
    format_bracket,
    format_collapse,
    format_comparison,
    format_look,
    format_probabilities,
    format_requirement,
    format_seed_assumption,
    format_unregistered_looks,
    format_verdict,
)

if TYPE_CHECKING:
    from sweeper.config import Claim
    from sweeper.results.claim_registry import Registration


@dataclass(frozen=True)
class LookHistory:
    """The looks of a claim."""

    registered: Sequence[int]
    """Numbers of seeds; empty for a claim that is looked at once."""
    taken: Sequence[int]
    """Those on which it has been looked at before this report."""
    on_other_seeds: Sequence[Sequence[int]] = ()
    """Seeds of looks that were not the first ones of the sweep."""


def serialize_verdict(verdict: Verdict, registration: Registration, looks: LookHistory) -> ClaimEntry:
    """Write a verdict, when its claim was registered, and its looks, as the document holds it."""
    comparison, needed = verdict.binding_comparison, verdict.required_sample_size
    is_defined = comparison is not None and _has_finite_numbers(comparison)
    return {
        "id": verdict.claim_id,
        "text": verdict.text,
        "kind": verdict.kind,
        "metric": verdict.metric,
        "protocol": verdict.protocol,
        "verdict": verdict.label,
        "own_verdict": verdict.own_label,
        "sentence": format_verdict(verdict) if is_defined else verdict.reason,
        "estimate": verdict.estimate,
        "interval": [verdict.interval.low, verdict.interval.high],
        "unit": comparison.unit if comparison else None,
        "alpha": verdict.alpha,
        "levels": {
            "supported": verdict.alpha / 2,
            "refuted": verdict.alpha / (2 if sum(part.is_deciding for part in verdict.comparisons) <= 2 else 1),
        },
        "p": verdict.p,
        "p_adjusted": verdict.p_adjusted,
        "p_refuted": verdict.p_refuted,
        "p_refuted_adjusted": verdict.p_refuted_adjusted,
        "family": verdict.holds_in_family,
        "n": verdict.n,
        "n_queries": verdict.n_queries,
        "n_seeds": verdict.n_seeds,
        **_serialize_looks(verdict, looks),
        **_serialize_assumption(comparison),
        "estimand": verdict.estimand,
        "collapsed": _serialize_collapse(verdict),
        "probability": _serialize_probability(comparison),
        "bracket": _serialize_bracket(verdict, comparison),
        "excluded": asdict(verdict.exclusions) | {"trials": len(verdict.incomplete_runs)},
        "incomplete": list(verdict.incomplete_runs),
        "components": [serialize_comparison(part) for part in verdict.comparisons if part.is_deciding],
        "beside": [serialize_comparison(part) for part in verdict.comparisons if not part.is_deciding],
        "reading": verdict.interpretation or None,
        "readings": [cast(InterpretationEntry, asdict(reading)) for reading in verdict.other_interpretations],
        "choices": [cast(ChoiceEntry, asdict(choice)) for choice in verdict.choices],
        "by_judge": None
        if verdict.labels_by_judge is None
        else {judge: dict(labels) for judge, labels in verdict.labels_by_judge.items()},
        "sensitivity": [_serialize_robustness_check(check, comparison) for check in verdict.robustness_checks],
        "needed": cast(NeededEntry, asdict(needed)) if needed else None,
        "reason": verdict.reason,
        "registration": {
            "label": registration.label,
            "registered": registration.registered,
            "sha256": registration.sha256,
        },
    }


def _serialize_looks(verdict: Verdict, looks: LookHistory) -> LooksEntry:
    """Write at which look a verdict was reached, and how often the claim was looked at."""
    n_seeds = verdict.look.n_seeds if verdict.look else verdict.n_seeds
    earlier = {count for count in looks.registered if verdict.look and count < n_seeds}
    taken = sorted({*looks.taken, *earlier, n_seeds}) if verdict.is_decidable else list(looks.taken)
    unregistered = [count for count in taken if count not in looks.registered] if len(taken) > 1 else []
    look: LookEntry | None = None
    if verdict.look:
        look = {
            "number": verdict.look.number,
            "of": verdict.look.n_looks,
            "seeds": verdict.look.n_seeds,
            "level": verdict.look.level,
            "sentence": format_look(verdict.look),
        }
    return {
        "look": look,
        "looks_registered": list(looks.registered),
        "looks_taken": taken,
        "unregistered_looks": format_unregistered_looks(
            taken if unregistered else (), looks.on_other_seeds, verdict.alpha
        ),
    }


def _serialize_assumption(comparison: Comparison | None) -> AssumptionEntry:
    """Write what the deciding comparison assumes about seeds; all undefined where it assumes nothing."""
    assumption = None if comparison is None else comparison.seed_assumption
    if comparison is None or assumption is None:
        return {"assumption": None, "observed_sd_ratio": math.nan, "interval_without_assumption": [math.nan, math.nan]}
    without = assumption.compute_interval_without(comparison.estimate.alpha)
    return {
        "assumption": format_seed_assumption(comparison),
        "observed_sd_ratio": assumption.observed_ratio,
        "interval_without_assumption": [without.low, without.high],
    }


def _serialize_collapse(verdict: Verdict) -> CollapseEntry | None:
    """Write how many runs collapsed, and the estimate of the other estimand."""
    collapsed, other = verdict.collapsed, verdict.other_estimand
    if collapsed is None or other is None:
        return None
    return {
        "runs": len(collapsed.names),
        "of": collapsed.n_runs,
        "upper_bound": collapsed.upper_bound,
        "confidence": BOUND_LEVEL,
        "rule": collapsed.rule,
        "tolerated_rate": verdict.tolerated_collapse_rate,
        "rates_tried": list(COLLAPSE_RATES),
        "other_estimand": other.estimand,
        "other_verdict": other.label,
        "other_estimate": other.estimate,
        "other_interval": [other.interval.low, other.interval.high],
        "sentence": format_collapse(verdict),
    }


def _serialize_bracket(verdict: Verdict, comparison: Comparison | None) -> BracketEntry | None:
    bracket = verdict.bracket
    if bracket is None or comparison is None:
        return None
    return {
        "arms": list(bracket.arms),
        "below": bracket.below,
        "above": bracket.above,
        "two_sided": bracket.is_two_sided,
        "sentence": format_bracket(bracket, comparison.axis),
    }


def _serialize_probability(comparison: Comparison | None) -> ProbabilityEntry | None:
    probabilities = None if comparison is None else compute_probabilities(comparison)
    if comparison is None or probabilities is None:
        return None
    return {
        "better": probabilities.better,
        "equal": probabilities.equal,
        "worse": probabilities.worse,
        "prior": probabilities.prior,
        "sentence": format_probabilities(comparison, probabilities),
    }


def serialize_comparison(comparison: Comparison) -> ComparisonEntry:
    """Write a comparison as the document holds it."""
    effect = comparison.estimate
    return {
        "test": comparison.test,
        "metric": comparison.metric.name,
        "unit": comparison.unit,
        "first": comparison.first,
        "second": comparison.second,
        "names": list(comparison.names),
        "sentence": format_comparison(comparison) + "." if _has_finite_numbers(comparison) else None,
        "result": comparison.result,
        "wanted": format_requirement(comparison),
        "estimate": effect.estimate,
        "interval": [effect.low, effect.high],
        "level": effect.alpha,
        "shown": {
            "estimate": format_estimate(effect.estimate, comparison.unit),
            "interval": [format_estimate(end, comparison.unit) for end in (effect.low, effect.high)],
        },
        "margin": comparison.margin if comparison.test != "superior" else None,
        "p": comparison.p,
        "n": effect.n,
        "n_queries": effect.n_queries,
        "n_seeds": effect.n_seeds,
        "excluded": asdict(effect.exclusions),
        "method": effect.method,
    }


def group_protocol_variants(claims: Sequence[Claim]) -> list[list[str]]:
    """Group the ids of claims that differ in their protocol only; claims without such a variant are left out."""
    groups: dict[tuple[object, ...], list[Claim]] = {}
    for claim in claims:
        key = (claim.kind, claim.axis, claim.candidate, tuple(map(str, claim.against)), claim.reading)
        groups.setdefault(key, []).append(claim)
    variants = [group for group in groups.values() if len({claim.protocol for claim in group}) > 1]
    return [[claim.id for claim in group] for group in variants]


def _serialize_robustness_check(check: RobustnessCheck, binding: Comparison | None) -> SensitivityEntry:
    return {
        "name": check.name,
        "verdict": check.label,
        "comparison": None if binding is None else " − ".join(binding.names),
        "estimate": check.estimate,
        "interval": [check.interval.low, check.interval.high],
        "n_queries": check.n_queries,
        "reason": check.reason,
    }


def _has_finite_numbers(comparison: Comparison) -> bool:
    """Whether a sentence can be rendered: estimate, interval and n are defined."""
    effect = comparison.estimate
    return effect.n > 0 and all(math.isfinite(number) for number in (effect.estimate, effect.low, effect.high))
